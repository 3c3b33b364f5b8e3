"""Lint: the rules, the settings that choose among them, the check and its report."""
