"""What runs inside the zygote: a small process without secrets, with one thread, that starts every contained child.

Only the standard library, and of ours nothing but itself: it is started without site packages, and each of its
modules is copied into every child.

Never: reads a configuration or the environment, keeps a secret, or starts anything below the floor it was given at
its start.
"""
