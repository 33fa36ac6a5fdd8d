"""The box in which every program of an agent runs: what the kernel holds it to, whatever it is told to do.

``cage`` runs in a process of its own, the zygote, which starts each child inside its box; the rest asks it to.

Never: decides whether a program may run, or lets the one who asks for it choose the box.
"""
