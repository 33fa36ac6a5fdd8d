"""JSON-RPC 2.0 between the daemon and its clients, sans I/O.

Bytes go in, happenings come out; calls go in, bytes come out.  Nothing here opens a socket, reads a clock or draws a
random number, so the daemon under Trio, the blocking command line and the tests drive the same machine.

    states    the connection's life, as a drawn table        fields    the types of the fields
    jsonrpc   text <-> message, strict and bounded           params    what is asked        results   what is answered
    typed     struct <-> text, checked                       lines     a byte stream cut into texts
    errors    error codes <-> JSON-RPC numbers               methods   the one table of methods and notices
    events    what a session tells its subscribers
    peer      the machine: one connection, either end        happenings  what it tells its shell
    proof     what checking a proof can say                  pop       proof that the sender holds its token's key

Never: decides anything about authority.  ``pop`` says who holds a key; what that key may do is ``core``'s to say.

Import what you need, from the module that has it: this package imports nothing, and the command line starts faster for
it.
"""
