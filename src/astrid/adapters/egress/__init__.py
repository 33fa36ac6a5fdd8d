"""The one way out of a sandbox's empty network: a proxy that dials what a command's list names, and records it.

Never: decides what is on a list, looks inside TLS, answers a request itself, or reaches anything that was not recorded.
"""
