"""The workspace: the tools by which a model reads, searches and changes the files of one folder and runs commands in
it.

Never: decides.  ``tools.WorkspaceTools`` says what a call would touch, and performs exactly that once it is permitted.
"""
