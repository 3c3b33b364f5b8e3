"""Paths inside an image: always absolute, cleaned by text alone, never looked at on disk."""

from __future__ import annotations

import posixpath


def clean(path: str) -> str:
    """``path`` from the root, without ``.``, ``..`` and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))


def join(directory: str, path: str) -> str:
    """``path`` seen from ``directory``, cleaned."""
    return clean(path if path.startswith("/") else f"{directory or '/'}/{path}")


def workdir(current: str, path: str) -> str:
    """WORKDIR's rule: like ``join``, but the slash left behind by an empty variable stays."""
    joined = join(current, path)
    return f"{joined}/" if path.endswith("/") and joined != "/" and "$" not in path else joined
