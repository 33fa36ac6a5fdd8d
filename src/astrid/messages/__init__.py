"""What actors send each other, one module per recipient.  Frozen data, no behaviour.

What the gate itself is told and says is defined beside its machine (``core.gate_messages``); here is what the
shells add.

Never: carries a reference, a callable or an exception, or says who sent it (the kernel does).
"""
