"""The signer: the one process that opens ``user.key``.  It draws what is asked on the person's own terminal, and signs.

    __main__   the process: hardened first, then one request after the other
    protocol   what it may be asked, and how that is framed on its two pipes
    service    request -> reply
    screen     the person's terminal                   describe   a grant as text: what is shown is what is signed
    vault      the key file, sealed or plain           passphrases  typed, handed over, or none
    answering  answers to questions                    granting   grants beforehand, and revocations
    creation   the keys and statements of an install   identity   who this install is
    harden     no core dump, no debugger

Never: signs a digest, a text or a block that somebody else made, except the prompt that a person typed; talks to the
daemon; prints on its standard output; shows the key or the passphrase to anybody.

Source: protocol, "Keys and who holds them", N5, N6, N8, N11; architecture 4; threats 5, 6, 11, 46.
"""
