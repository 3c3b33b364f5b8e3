"""Watching a registry's transparency log: what was seen must stay, what is served must be in it.

Pins lie in ``<root>/trust/logs/<registry>.json``. A check fetches the head, proves that it goes on
from the pinned one, and moves the pin; for a tag it also proves the tag's last entry and compares
it with what the registry serves.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from images.client.errors import ProtocolError
from images.client.request import Repository
from images.durable import write_durably
from images.reference import Reference
from trust.errors import KeyStoreFault, LogProofError
from trust.keys import PublicKey
from trust.transparency.entry import Entry, Event
from trust.transparency.pin import MAX_PIN, Pin, check_entry

if TYPE_CHECKING:
    from images.client import RegistryClient

ANSWER_LIMIT: Final = 1 << 20
"""Bytes of one answer of the log."""

_LOG: Final = "/v2/_lading/log"


@dataclass(frozen=True, slots=True)
class Watched:
    """What a check found: the log's name and size, and how many entries came since the last check.

    ``first`` says that the log was not known before; ``entry`` is the proven one about a tag.
    """

    origin: str
    size: int
    new: int
    first: bool
    entry: Entry | None = None


class LogWatch:
    """The log of one registry, watched for the store at ``root``.

    ``key`` must be the log's; without it the first key that is shown is believed. Methods raise
    ``RegistryError`` for the registry's side, for instance that it keeps no log.
    """

    def __init__(
        self, client: RegistryClient, registry: str, root: Path, *, key: PublicKey | None = None
    ) -> None:
        self._client = client
        self._registry = registry
        self._key = key
        self._path = root / "trust" / "logs" / f"{registry.replace(':', '_')}.json"

    async def watch(self) -> Watched:
        """Check that the log only grew since it was last seen, and remember its head.

        Raises:
            LogProofError, CheckpointError: the log was rewritten, or is not the pinned one.
        """
        before, pin = await self._advance()
        self._keep(pin)
        return self._watched(before, pin)

    async def watch_tag(self, reference: Reference) -> Watched:
        """``watch``, and prove that what the tag serves is what the log says it points to.

        Raises likewise, and ``LogProofError`` when the tag serves something else.
        """
        tag = reference.tag or "latest"
        before, pin = await self._advance()
        served = await self._client.resolve(reference)
        path = f"/v2/{reference.repository}/_lading/log/{quote(tag)}"
        answer = await self._ask(path, reference.repository)
        note = str(answer.get("checkpoint", "")).encode()
        # The answer may be a moment newer than the head that was checked.
        pin = await self._move(pin, note)
        entry = check_entry(
            _bytes(answer.get("entry")),
            number=_count(answer.get("number")),
            proof=_hashes(answer.get("proof")),
            head=pin.head,
            repository=reference.repository,
            tag=tag,
        )
        if entry.event is Event.UNTAG or entry.digest != str(served.digest):
            raise LogProofError(
                f"the log says that the tag points to {entry.digest or 'nothing'}, "
                f"and the registry serves {served.digest}",
                where=str(reference),
                fix="ask again in a moment; if it stays so, it serves what it did not log",
            )
        self._keep(pin)
        return self._watched(before, pin, entry)

    async def entries(self, start: int) -> list[Entry]:
        """A page of the log from entry ``start`` on, as the registry tells it, unproven.

        Raises:
            LogProofError: an entry is damaged.
        """
        answer = await self._ask(f"{_LOG}/entries?start={start}")
        return [Entry.parse(_bytes(item)) for item in _list(answer.get("entries"))]

    async def _advance(self) -> tuple[Pin | None, Pin]:
        """What was pinned before, None for nothing, and what is to be pinned now."""
        note = await self._get(f"{_LOG}/checkpoint")
        known = self._pinned()
        if known is None:
            shown = PublicKey.from_pem(await self._get(f"{_LOG}/key"), where=self._registry)
            return None, Pin.first(note, self._key or shown)
        if self._key is not None and self._key != known.key:
            raise LogProofError(
                "the log was first seen with another key than the one given",
                where=self._registry,
                fix=f"compare both with the owner's; remove {self._path} to begin anew",
            )
        return known, await self._move(known, note)

    async def _move(self, pin: Pin, note: bytes) -> Pin:
        """``Pin.advance`` with the proof it will ask for."""
        old, new = pin.head.size, pin.check(note).size
        proof: Sequence[bytes] = ()
        if 0 < old < new:
            answer = await self._ask(f"{_LOG}/consistency?old={old}&new={new}")
            proof = _hashes(answer.get("proof"))
        return pin.advance(note, lambda *_: proof)

    def _watched(self, before: Pin | None, pin: Pin, entry: Entry | None = None) -> Watched:
        known = 0 if before is None else before.head.size
        size = pin.head.size
        return Watched(pin.origin, size, size - known, before is None, entry)

    async def _get(self, path: str, repository: str = "") -> bytes:
        place = Repository(self._registry, repository)
        return await self._client.get(place, path, what="the transparency log", limit=ANSWER_LIMIT)

    async def _ask(self, path: str, repository: str = "") -> dict[str, Any]:
        try:
            answer = json.loads(await self._get(path, repository))
        except ValueError as error:
            raise _nonsense() from error
        if not isinstance(answer, dict):
            raise _nonsense()
        return answer

    def _pinned(self) -> Pin | None:
        try:
            with self._path.open("rb") as file:
                return Pin.from_json(file.read(MAX_PIN + 1), where=str(self._path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault(error) from error

    def _keep(self, pin: Pin) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._path, pin.to_json())
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> KeyStoreFault:
        return KeyStoreFault(
            f"cannot remember the log: {error.strerror}",
            where=str(self._path),
            fix="check the owner, the mode and the free space of this folder",
        )


def _hashes(value: object) -> list[bytes]:
    return [_bytes(item) for item in _list(value)]


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _nonsense()
    return value


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _nonsense() from error


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _nonsense()
    return value


def _nonsense() -> ProtocolError:
    return ProtocolError("the registry's answer is none of a transparency log")
