"""Which entries of the build cache go: filters of a person, or a policy that keeps it in bounds.

The least recently used go first. Bounds are BuildKit's: the cache is brought down to
``max_used_space``, or further where less than ``min_free_space`` of the disk is left, but never
below ``reserved_space``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from builder.errors import BuildInputError
from builder.usage import INTERNAL, CacheEntry, entries, remove
from records import Record

if TYPE_CHECKING:
    from images.store import ImageStore

_FILTER = re.compile(r"([a-z-]+)(?:(==|=|!=|~=)(.*))?\Z", re.DOTALL)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TEXTS: dict[str, Callable[[CacheEntry], str]] = {
    "id": lambda entry: entry.id,
    "type": lambda entry: entry.type,
    "description": lambda entry: entry.description,
}
_STATES: dict[str, Callable[[CacheEntry], bool]] = {
    "shared": lambda entry: entry.shared,
    "private": lambda entry: not entry.shared,
    "inuse": lambda entry: entry.in_use,
    "mutable": lambda entry: entry.mutable,
    "immutable": lambda entry: not entry.mutable,
}

Predicate = Callable[[CacheEntry], bool]


class Bounds(Record):
    """Bytes; None sets no bound."""

    max_used_space: int | None = None
    reserved_space: int | None = None
    min_free_space: int | None = None

    def keep(self, used: int, free: int) -> int:
        """How much of ``used`` bytes may stay, where the disk has ``free`` bytes left."""
        if self == Bounds():
            return 0
        kept = used if self.max_used_space is None else self.max_used_space
        if self.min_free_space is not None and free < self.min_free_space:
            kept = min(kept, used - (self.min_free_space - free))
        elif self.max_used_space is None and self.min_free_space is None:
            kept = 0
        return max(kept, self.reserved_space or 0)


class Pruning(Record):
    """What went, and the bytes that were freed."""

    removed: tuple[CacheEntry, ...]
    freed: int


def prune(
    store: ImageStore,
    *,
    wanted: Predicate = lambda _: True,
    everything: bool = False,
    bounds: Bounds | None = None,
    grace: float = 0.0,
) -> Pruning:
    """Remove entries that are not in use; the disk is freed before this returns.

    Records and layers that images share are spared unless ``everything``: they free nothing, or
    next to it. ``grace`` (seconds) spares content that a build in progress may just have written.

    Raises:
        EnvironmentFault: the store is not writable.
    """
    import os

    found = entries(store)
    disk = os.statvfs(store.root)
    used = sum(entry.size for entry in found if not entry.shared)
    keep = (bounds or Bounds()).keep(used, disk.f_bavail * disk.f_frsize)
    removed: list[CacheEntry] = []
    freed = 0
    for entry in found:
        if bounds is not None and used - freed <= keep:
            break
        spared = not everything and (entry.shared or entry.type == INTERNAL)
        if entry.in_use or spared or not wanted(entry) or not remove(store, entry):
            continue
        removed.append(entry)
        freed += 0 if entry.shared else entry.size
    if removed:
        store.gc(grace=grace)
    return Pruning(tuple(removed), freed)


def parse_filters(texts: Sequence[str], now: float) -> Predicate:
    """``until=24h``, ``type=regular``, ``description~=make``, ``shared`` ...: all must hold.

    Raises:
        BuildInputError: malformed, or no such filter.
    """
    checks = [_parse_filter(text, now) for text in texts]
    return lambda entry: all(check(entry) for check in checks)


def _parse_filter(text: str, now: float) -> Predicate:
    match = _FILTER.match(text)
    name, operator, value = match.groups() if match else ("", None, None)
    if name in ("until", "unused-for") and value is not None and operator in ("=", "=="):
        limit = now - parse_duration(value)
        return lambda entry: entry.used < limit
    if name in _STATES and value in (None, "true", "false"):
        state, expected = _STATES[name], (value != "false") != (operator == "!=")
        return lambda entry: state(entry) == expected
    if name in _TEXTS and operator is not None and value is not None:
        return _text_check(_TEXTS[name], operator, value, prefix=name == "id")
    raise BuildInputError(
        f"invalid filter {text!r}",
        where="--filter",
        fix=f"use until=24h, {', '.join(f'{known}=...' for known in _TEXTS)}, "
        f"or one of {', '.join(_STATES)}",
    )


def _text_check(
    read: Callable[[CacheEntry], str], operator: str, value: str, *, prefix: bool
) -> Predicate:
    if operator == "~=":
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise BuildInputError(f"invalid pattern {value!r}", where="--filter") from error
        return lambda entry: pattern.search(read(entry)) is not None
    if operator == "!=":
        return lambda entry: read(entry) != value
    if prefix:
        return lambda entry: read(entry).startswith(value)
    return lambda entry: read(entry) == value


def parse_duration(text: str) -> float:
    """``24h``, ``1h30m``, ``7d`` as seconds.

    Raises:
        BuildInputError: malformed.
    """
    if not _DURATION.match(text):
        raise BuildInputError(f"invalid duration {text!r}", fix="write for example 24h or 1h30m")
    parts = re.findall(r"([0-9.]+)(ms|s|m|h|d)", text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
