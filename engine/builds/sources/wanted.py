"""What an order reads from elsewhere: told by its text alone, nothing is looked at or fetched."""

from __future__ import annotations

import os

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from builder.contexts import NamedContext

STDIN = "-"
_GITHUB = "github.com/"


class Sources(Record):
    """``context`` is ``-`` or a URL. ``dockerfile`` is ``-``, a URL, or a path inside a context
    from elsewhere. ``stdin`` is what ``-`` reads.
    """

    context: str | None = None
    dockerfile: str | None = None
    stdin: BinaryIO | None = None


def is_elsewhere(text: str) -> bool:
    """Whether a context is no directory: standard input or a URL. What exists is a path."""
    if text == STDIN or "://" in text:
        return True
    host, colon, _ = text.partition(":")
    remote = text.startswith(_GITHUB) or (colon and "@" in host and "/" not in host)
    return bool(remote) and not os.path.exists(text)


def find_sources(
    context: str | None,
    dockerfile: str | None,
    contexts: Iterable[NamedContext],
    stdin: BinaryIO | None,
) -> Sources | None:
    """What has to be brought in for a build; None where all of it is here.

    ``dockerfile`` as the flag says; an absolute path is one of this machine even when the context
    is not.
    """
    from builder.contexts import ImageContext, LocalContext

    far = context if context is not None and is_elsewhere(context) else None
    named = any(not isinstance(it, LocalContext | ImageContext) for it in contexts)
    special = dockerfile is not None and (dockerfile == STDIN or "://" in dockerfile)
    inside = far is not None and dockerfile is not None and not os.path.isabs(dockerfile)
    if far is None and not special and not named:
        return None
    return Sources(far, dockerfile if special or inside else None, stdin)
