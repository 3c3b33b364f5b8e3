"""Compose files as definitions: every service with a ``build`` section is a target.

https://github.com/compose-spec/compose-spec/blob/main/build.md
"""
