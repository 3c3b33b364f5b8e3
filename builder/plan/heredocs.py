"""Here-documents as files: what they are called and what they hold."""

from __future__ import annotations

import os
from typing import Final

from builder.plan.config import ConfigError
from dockerfile_grammar import nodes

NAME_LIMIT: Final = 255
"""Bytes of a file name (NAME_MAX)."""


def file_name(doc: nodes.Heredoc) -> str:
    """The delimiter, which names the file that the body becomes.

    Raises:
        ConfigError: it would lead to another directory, or no file can have it.
    """
    name = doc.name
    if "/" in name or name in (".", "..") or len(os.fsencode(name)) > NAME_LIMIT:
        raise ConfigError(f"here-document <<{name[:80]}: its delimiter must be a plain file name")
    return name


def body(doc: nodes.Heredoc) -> str:
    """The text as a file: ``<<-`` takes leading tabs away."""
    if not doc.chomp:
        return doc.content
    return "".join(line.lstrip("\t") for line in doc.content.splitlines(keepends=True))


def summary_of(content: str) -> str:
    """The first line of a body, for a step's name."""
    lines = content.strip().splitlines()
    if not lines:
        return ""
    return lines[0] + ("..." if len(lines) > 1 else "")
