"""A cache in front of other registries: what is asked for below a prefix is brought from there.

What was brought is ordinary content of its repository: leases, collections, gates and rights treat
it as if it had been pushed. Nothing of a client's request travels on but names.
"""
