"""Takes secrets out of what is written down: their values wherever they are, passwords in URLs.

A secret is what ``--secret`` gives, and the value of a build argument whose name sounds like one.
Short values are not searched for, since masking every "true" would hide more than it protects; an
argument's own value never shows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.builds.history.document import MASKED, sounds_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from builder.request import BuildRequest
    from engine.builds.history.document import Mask

SHORTEST: Final = 6
"""Characters of a value, or of a line of one, that are searched for."""
_TOKEN = re.compile(r"[^\s\"'=:,;{}]{16,}")
"""So long a word without a break is not one of prose."""
_PASSWORD = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]*(?=@)|(?<=://)[^/@\s:]{20,}(?=@)")
"""RFC 3986 3.2.1; a long name without a password is a token."""


def mask_for(request: BuildRequest) -> Mask:
    """What masks the secrets of a request."""
    values = sorted({*_values(request)}, key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, values))) if values else None

    def mask(text: str) -> str:
        if known is not None:
            text = known.sub(MASKED, text)
        return _PASSWORD.sub(MASKED, text) if "@" in text else text

    return mask


def _values(request: BuildRequest) -> Iterator[str]:
    for secret in request.secrets:
        text = secret.content.decode("utf-8", "replace")
        yield from _searched(text)
    for name, value in request.build_args.items():
        if sounds_secret(name):
            yield from _searched(value)


def _searched(text: str) -> Iterator[str]:
    """Its lines, because a log is masked line by line, and what in them looks like a token."""
    for line in map(str.strip, text.splitlines()):
        if len(line) >= SHORTEST:
            yield line
        yield from _TOKEN.findall(line)
