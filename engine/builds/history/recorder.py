"""Writes down one build while it goes on; on the path of every build.

A build that is answered from the cache costs one small file, written once and not synced. As soon
as something really starts there is a journal, locked for as long as the process lives, so that a
build that was killed is told from one that runs. Trouble with the record is no trouble of the
build: it is given up silently.
"""

from __future__ import annotations

import os

from builder.progress.events import VertexOutput, VertexStarted
from engine.builds.history.document import (
    begin,
    fail,
    finish,
    fold,
    origin_of,
    patch_of,
    sounds_secret,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, Self

    from builder.progress.events import Event
    from engine.builds.history.document import Document, Mask
    from engine.builds.history.journal import Journal
    from engine.builds.order import BuildOrder, BuildOutcome

FOLDER: Final = "builder/history"
BUILDS: Final = "LADING_HISTORY_BUILDS"
DEFAULT_BUILDS: Final = 500
"""Builds that are remembered; with 0 none is."""
FILES_EACH: Final = 2
"""A record and perhaps a log."""
SLACK: Final = 50
"""Records above the limit before old ones are looked for."""
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
REF_LENGTH: Final = 25
"""As buildx's are."""


class Recorder:
    """A sink for the events of one build; ``random`` gives that many random bytes."""

    def __init__(
        self,
        order: BuildOrder,
        root: str,
        clock: Callable[[], float],
        *,
        limit: int = DEFAULT_BUILDS,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``root`` is the store's directory."""
        self._folder = os.path.join(root, FOLDER)
        self._clock = clock
        self._limit = limit
        self._mask = _mask(order)
        started = clock()
        self.ref = _ref(random(16))
        self._stem = os.path.join(self._folder, f"{int(started * 1000):013d}-{self.ref}")
        self.document: Document = begin(order, self.ref, started, self._mask)
        self._journal: Journal | None = None
        self._broken = limit < 1

    @classmethod
    def of(
        cls,
        order: BuildOrder,
        root: str,
        clock: Callable[[], float],
        environment: Mapping[str, str],
    ) -> Self:
        """With the limit that the environment sets; what is no number sets none."""
        text = environment.get(BUILDS, "")
        return cls(order, root, clock, limit=int(text) if text.isdecimal() else DEFAULT_BUILDS)

    def emit(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, VertexOutput):
            if self._journal is not None:
                self._attempt(self._journal.output, event)
            return
        if self._journal is None and isinstance(event, VertexStarted):
            self._attempt(self._open)
        patch = patch_of(event, self._mask)
        if patch is not None:
            fold(self.document, *patch)
            if self._journal is not None:
                self._attempt(self._journal.patch, *patch)

    def close(self) -> None:
        """The display closes; the record does with ``finished`` or ``failed``."""

    def finished(self, outcome: BuildOutcome) -> None:
        """The build ended well."""
        finish(self.document, outcome, self._clock(), self._mask)
        self._attempt(self._write)

    def failed(self, error: BaseException) -> None:
        """The build ended badly."""
        fail(self.document, error, self._clock(), self._mask)
        self._attempt(self._write)

    def _open(self) -> None:
        from engine.builds.history.journal import Journal

        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._journal = Journal(self._stem, self.document, self._mask)

    def _write(self) -> None:
        import json

        journal = self._journal
        if journal is not None:
            self.document["log"] = journal.close_log()
        text = json.dumps(self.document, separators=(",", ":")).encode()
        _write_file(self._folder, f"{self._stem}.json", text)
        if journal is not None:
            journal.discard()
        kept = len(os.listdir(self._folder))
        if kept > (FILES_EACH if journal is not None else self._ceiling):
            from engine.builds.history.archive import prune

            prune(self._folder, builds=self._limit)

    @property
    def _ceiling(self) -> int:
        return FILES_EACH * self._limit + SLACK

    def _attempt(self, action: Callable[..., None], *args: Any) -> None:
        if self._broken:
            return
        try:
            action(*args)
        except OSError:
            self._broken = True


def _write_file(folder: str, path: str, data: bytes) -> None:
    """Put a file in place whole; what a power loss takes is only history."""
    stage = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(stage, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(stage, flags, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.rename(stage, path)


def _mask(order: BuildOrder) -> Mask:
    """What takes secrets out of text; most builds have none, and need not import it."""
    request = order.request
    args = request.build_args.items()
    delicate = any(sounds_secret(name) or "@" in value for name, value in args)
    if delicate or request.secrets or "@" in origin_of(order):
        from engine.builds.history.masking import mask_for

        return mask_for(order.request)
    return _same


def _same(text: str) -> str:
    return text


def _ref(random: bytes) -> str:
    number, digits = int.from_bytes(random, "big"), ""
    for _ in range(REF_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return digits
