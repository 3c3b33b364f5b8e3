"""From a file, the environment and flags to one frozen configuration, by reading its records.

``declare`` is how a room states its settings, ``document`` reads TOML and YAML with line numbers,
``build`` turns the tree into records and collects every problem, ``sources`` ranks the origins,
``schema`` and ``reference`` publish what there is.
"""
