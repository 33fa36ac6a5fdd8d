"""``astrid demo``: a hijacked agent is stopped, on real files with a real log.

Scripted are the model and the person.  Everything else is what ``astrid exec`` uses: the daemon, the gate, the log,
the tools, the signer and the signatures.

Never: touches the user's own home, keys or files; all of it happens in a folder that is thrown away.
"""
