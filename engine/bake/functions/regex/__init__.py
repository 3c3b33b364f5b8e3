"""Regular expressions in Go's syntax (RE2), matched in time proportional to pattern and text.

Python's own engine backtracks: a definition could keep it busy for ever with a short pattern.
"""
