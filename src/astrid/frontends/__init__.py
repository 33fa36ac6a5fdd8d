"""What a person uses: thin clients of the daemon, and the signer that holds their key.

Never: decides whether something may happen, runs a session, or reads the log's database.  ``user.key`` is opened by
``signer`` alone, which is a process of its own.

Source: architecture 2, 4; threats 5, 6.
"""
