"""What the builds of one order share, so that what they have in common is done once.

Builds of several platforms, or of several targets, have steps with equal keys: the stages that run
on the machine itself, the files that each of them copies. Locks by key let one of them do such a
step; this adds what is no record: places for commands, caches to be emptied, work done anew, what
was read of contexts.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.bases import ResolvedBase
    from builder.fastpath import DirectoryScans
    from builder.hostfiles import HostFiles
    from builder.inputs import LocalInputs
    from dockerfile_grammar.nodes import Dockerfile
    from images.platform import Platform
    from images.reference import Reference

K = TypeVar("K")
V = TypeVar("V")

MINIMUM_COMMANDS: Final = 4
"""Commands run at the same time, even on a small machine: most of them wait."""


class OnceEach:
    """Says of each name once that it is new."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    def take(self, name: str) -> bool:
        """True the first time that ``name`` is asked for."""
        with self._lock:
            first = name not in self._seen
            self._seen.add(name)
            return first


class FreshSteps:
    """The keys of steps that were done anew: for the other builds they count as on record."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[bytes] = set()

    def add(self, key: bytes) -> None:
        """The step of ``key`` was done, and its layers are on record."""
        with self._lock:
            self._keys.add(key)

    def __contains__(self, key: bytes) -> bool:
        with self._lock:
            return key in self._keys


class MadeOnce(Generic[K, V]):
    """Things by key, each made by whoever asks first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[K, threading.Lock] = {}
        self._known: dict[K, V] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """What ``make`` gives, or gave before; raises what it raises, to each who asks."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._known:
                self._known[key] = make()
            return self._known[key]


class CommonWork:
    """Made by whoever starts the builds of an order; one build alone has one to itself.

    ``several`` says that there are more builds than one.
    """

    def __init__(self, *, several: bool = False) -> None:
        self.several = several
        self.slots = threading.Semaphore(max(MINIMUM_COMMANDS, os.cpu_count() or 1))
        """Bounds the commands that run."""
        self.resets = OnceEach()
        """Cache mounts that were emptied."""
        self.shown = OnceEach()
        """Vertices that are the same for all builds."""
        self.fresh = FreshSteps()
        self.bases: MadeOnce[tuple[Reference, Platform], ResolvedBase] = MadeOnce()
        self.definitions: MadeOnce[tuple[str, bytes], tuple[Dockerfile, Sequence[str]]] = MadeOnce()
        self.scans: MadeOnce[LocalInputs | None, DirectoryScans] = MadeOnce()
        """Walks of context directories,"""
        self.hosts: MadeOnce[LocalInputs, HostFiles] = MadeOnce()
        """and what was read of their files."""
        self.inspection = threading.Lock()
        """Held while somebody looks at a failed step."""
