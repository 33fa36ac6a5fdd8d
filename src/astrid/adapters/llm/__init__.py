"""Language models behind the ``Model`` port: a script, and Anthropic's.

Never: retries, reads a key or an address from the environment, or keeps a connection open between two calls.
"""
