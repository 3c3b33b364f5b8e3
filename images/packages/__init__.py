"""What software an image holds: package databases in its layers, read without running anything.

Each format has a module of pure functions, bytes to packages. ``scan`` walks the layers, and
``inventory`` says what is there in the end, which layer brought it and how many bytes it takes.
"""
