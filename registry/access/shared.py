"""Small numbers that all workers of a registry see, in memory they share since they were forked.

A table remembers the keys that were used last, in sets of a few slots, and forgets the eldest of a
set for a new one: what it takes is bounded, whoever tries to fill it. There is no lock. Two workers
that change one key in the same instant lose one of the changes, and a reader may see half of one:
a count is off by one then, which is nothing where patience is measured.
"""

from __future__ import annotations

import mmap
import secrets
import struct
from hashlib import blake2b
from typing import Final

_SLOT: Final = struct.Struct("<Qdd")
"""A key's tag, never 0 for a used slot; a number; when it was changed last."""
_WAYS: Final = 8
"""Slots of a set."""


class SharedPairs:
    """``key -> (number, seconds)`` of the most recently changed keys."""

    def __init__(self, slots: int) -> None:
        """``slots`` is how many keys there can be, rounded up to whole sets."""
        self._sets = -(-slots // _WAYS)
        self._memory = mmap.mmap(-1, self._sets * _WAYS * _SLOT.size)
        # Nobody outside can tell which keys share a set.
        self._secret = secrets.token_bytes(16)

    def get(self, *key: str) -> tuple[float, float] | None:
        """What is remembered of a key."""
        place, tag = self._find(key)
        found, number, when = _SLOT.unpack_from(self._memory, place)
        return (number, when) if found == tag else None

    def put(self, number: float, when: float, *key: str) -> None:
        """Remember; the key of this set that was not changed for longest gives way."""
        place, tag = self._find(key)
        _SLOT.pack_into(self._memory, place, tag, number, when)

    def pop(self, *key: str) -> None:
        """Forget a key."""
        place, tag = self._find(key)
        if _SLOT.unpack_from(self._memory, place)[0] == tag:
            _SLOT.pack_into(self._memory, place, 0, 0.0, 0.0)

    def __len__(self) -> int:
        return sum(1 for tag, _, _ in _SLOT.iter_unpack(self._memory) if tag)

    def _find(self, key: tuple[str, ...]) -> tuple[int, int]:
        """Where a key is, or would be put; and its tag."""
        name = "\0".join(key).encode("utf-8", "surrogateescape")
        tag = int.from_bytes(blake2b(name, digest_size=8, key=self._secret).digest(), "little") or 1
        start = tag % self._sets * _WAYS * _SLOT.size
        eldest, oldest = start, float("inf")
        for place in range(start, start + _WAYS * _SLOT.size, _SLOT.size):
            found, _, when = _SLOT.unpack_from(self._memory, place)
            if found == tag:
                return place, tag
            if not found:
                when = float("-inf")
            if when < oldest:
                eldest, oldest = place, when
        return eldest, tag
