"""The whole runtime in virtual time, over fake edges that fail in every way there is.  See ``__main__``."""
