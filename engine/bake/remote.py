"""Targets of a definition from elsewhere: their paths are in the place where the definition is."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from engine.bake.entitlements import local_path
from engine.bake.functions.paths import clean
from engine.bake.resolve import Selection, clean_context
from records import Record, replace

if TYPE_CHECKING:
    from engine.bake.model import Target

HERE = "cwd://"
"""What a path begins with that is on this machine although the definition is not."""


class Origin(Record):
    """Where a definition is: its URL as it was given, and the directory that it was brought to.

    ``repository`` says that the URL is git's, so a directory in it has a URL too.
    """

    url: str
    directory: str
    repository: bool


def rebased(selection: Selection, origin: Origin) -> Selection:
    """Contexts as URLs of the repository, or as paths below the directory of an archive."""
    targets = {name: _target(target, origin) for name, target in selection.targets.items()}
    return replace(selection, targets=targets)


def _target(target: Target, origin: Origin) -> Target:
    contexts = {name: _context(text, origin) for name, text in (target.contexts or {}).items()}
    context = _context(target.context or ".", origin)
    return replace(target, context=context, contexts=contexts or None)


def _context(text: str, origin: Origin) -> str:
    if text.startswith(HERE):
        return clean_context(text)
    if local_path(text) is None or text.startswith("/"):
        return text
    path = clean(text)
    if origin.repository:
        return with_subdirectory(origin.url, path)
    return posixpath.normpath(posixpath.join(origin.directory, path))


def with_subdirectory(url: str, path: str) -> str:
    """The URL of a directory in a repository: after the colon of its fragment, or as ``subdir``.

    A directory that the URL has already is where the path begins.
    """
    base, _, fragment = url.partition("#")
    parts = urlsplit(base)
    query = parse_qs(parts.query)
    ref, _, before = fragment.partition(":")
    if not fragment and "subdir" in query:
        below = posixpath.normpath(posixpath.join(query["subdir"][0], path))
        changed = urlencode({**{key: found[0] for key, found in query.items()}, "subdir": below})
        return urlunsplit(parts._replace(query=changed))
    below = posixpath.normpath(posixpath.join(before, path))
    return url if path == "." else f"{base}#{ref}:{below}"
