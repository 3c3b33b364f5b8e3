"""The repositories that a caller may pull, a page at a time, out of an ordered listing of all.

Listing begins where names that match a rule can begin and skips what lies between, so a page costs
what it shows, unless rules start with a wildcard. Nothing of the rest is told, not even as a place
to go on from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from registry.access.policy import Rights

_BATCH: Final = 1000
_LAST_CHARACTER: Final = "\U0010ffff"

Read = Callable[[str, int], Awaitable[list[str]]]
"""Up to so many names after a name, ascending."""


async def visible(read: Read, rights: Rights, *, last: str, limit: int) -> list[str]:
    """Up to ``limit`` names after ``last`` that ``rights`` allow to pull, ascending."""
    if rights.everything("pull"):
        return await read(last, limit)
    found: list[str] = []
    for prefix in rights.prefixes("pull"):
        if len(found) >= limit:
            break
        if last > prefix and not last.startswith(prefix):
            continue  # all of these names come before ``last``
        after = max(last, _before(prefix))
        found += await _under(read, rights, prefix, after=after, limit=limit - len(found))
    return found


async def _under(read: Read, rights: Rights, prefix: str, *, after: str, limit: int) -> list[str]:
    found: list[str] = []
    batch = limit
    while len(found) < limit:
        names = await read(after, batch)
        for name in names:
            if not name.startswith(prefix):
                return found
            if rights.decide("pull", name).allowed:
                found.append(name)
                if len(found) == limit:
                    return found
        if len(names) < batch:
            return found
        after = names[-1]
        batch = _BATCH
    return found


def _before(prefix: str) -> str:
    """Something that sorts before every name with ``prefix``, and after all names before those."""
    return prefix and prefix[:-1] + chr(ord(prefix[-1]) - 1) + _LAST_CHARACTER
