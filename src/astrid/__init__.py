"""Astrid: an agent runtime in which a model only proposes and signatures decide."""

__version__ = "0.1.0"
