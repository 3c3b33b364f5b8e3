"""Who may do what: users and robots, the tokens they get, the rules they stand under, the record.

``control`` answers every request's question; ``snapshot`` is what it answers from, read again when
a file changes; ``grants`` makes tokens; ``policy`` holds the rules, ``audit`` writes down what was
decided. Several processes serve one root: what changes is a file that each of them watches, or a
row that each of them asks for.
"""
