"""Dockerfile text to typed instructions with source ranges.

Pure stages, each usable by itself: ``lines`` (physical to logical lines, heredoc bodies),
``syntax`` (a lark grammar reads one logical line into a statement), ``instructions`` (statements to
typed nodes), ``parser`` (stages). ``cache.parse_cached`` is the entry that does not load the
grammar when it need not; ``expand`` and ``mounts`` give words their values once variables are
known.
"""
