"""The transparency log: takes events out of the index, answers with proofs.

Whoever asks for the head gets one over everything that was committed before: reading catches up
first. The key is Ed25519, made at the first start, sealed in the vault; a log never changes its
key, since clients pin it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from registry.errors import RegistryStartError
from registry.outbox import Change, Event, read_events
from registry.simple_signatures import ARTIFACT_TYPE as SIMPLE_SIGNATURE
from registry.sql.connection import Connection
from registry.transparency.store import LogStore, NewEntry, State
from registry.vault import Vault
from trust.errors import LogProofError
from trust.keys import Algorithm, PrivateKey, PublicKey
from trust.transparency import checkpoint, entry, merkle
from trust.transparency.checkpoint import Checkpoint

SIGNATURE_TYPES: Final = frozenset(
    {
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.cncf.notary.signature",
        "application/vnd.dev.cosign.artifact.sig.v1+json",
        SIMPLE_SIGNATURE,
    }
)
"""Artifact types of referrers that are signatures."""

_PLACE: Final = "transparency log"

Reader = Callable[[], Connection]
"""This thread's connection for reading the index."""


@dataclass(frozen=True, slots=True)
class Proven:
    """An entry with its proof under ``head``, a signed note."""

    number: int
    data: bytes
    proof: list[bytes]
    size: int
    head: bytes


class TransparencyLog:
    """One registry's log. Methods block; they may be called from any thread."""

    def __init__(self, store: LogStore, events: Reader, origin: str, key: PrivateKey) -> None:
        self._store = store
        self._events = events
        self._origin = origin
        self._key = key

    @classmethod
    def open(cls, store: LogStore, events: Reader, vault: Vault, *, origin: str) -> Self:
        """The log in ``store``, begun on first use.

        Raises:
            RegistryStartError: its key does not open, or the log has another name.
        """
        state = store.state()
        if state is None:
            key = PrivateKey.generate(Algorithm.ED25519)
            head = checkpoint.sign(Checkpoint(origin, 0, merkle.EMPTY_ROOT), key)
            store.begin(vault.seal_bytes(key.to_der(), _PLACE), head)
            state = store.state()
            assert state is not None
        try:
            key = PrivateKey.from_der(vault.unseal_bytes(state.key, _PLACE), where="log.db")
        except ValueError as error:
            raise RegistryStartError(
                "the key of the transparency log does not open",
                where="log.db",
                fix="put the master key back that was there when the log began",
            ) from error
        named = state.head.partition(b"\n")[0].decode("utf-8", "replace")
        if named != origin:
            raise RegistryStartError(
                f"the log is called {named!r}, the configuration says {origin!r}",
                where="transparency.origin",
                fix=f"set it to {named!r}: clients know the log by that name",
            )
        return cls(store, events, origin, key)

    @property
    def public_key(self) -> PublicKey:
        """What verifies the heads."""
        return self._key.public

    def close(self) -> None:
        """Release the files."""
        self._store.close()

    def catch_up(self) -> int:
        """Append what happened since; returns how many entries. Several processes may."""
        appended = 0
        while True:
            state = self._state()
            events = read_events(self._events(), after=state.position)
            if not events:
                return appended
            entries = [made for event in events if (made := _entry_of(event)) is not None]
            position = events[-1].id
            done = self._store.append(
                entries, after=state.position, position=position, sign=self._sign
            )
            appended += len(entries) if done else 0

    @property
    def position(self) -> int:
        """The last event that was taken."""
        return self._state().position

    def head(self) -> bytes:
        """The signed head over everything that was committed before the call."""
        self.catch_up()
        return self._state().head

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the log only grew; raises ``LogProofError`` for sizes it never had."""
        self._check_size(new)
        return merkle.consistency_proof(self._store.node, old, new)

    def inclusion(self, number: int, size: int) -> list[bytes]:
        """The proof that entry ``number`` is in the log of ``size``; raises ``LogProofError``."""
        self._check_size(size)
        return merkle.inclusion_proof(self._store.node, number, size)

    def entries(self, start: int, count: int) -> list[bytes]:
        """Up to ``count`` entries from ``start`` on."""
        self.catch_up()
        return self._store.entries(start, count)

    def latest(self, repository: str, tag: str) -> Proven | None:
        """The last entry about a tag, proven under the current head; None: there is none."""
        self.catch_up()
        state = self._state()
        found = self._store.latest(repository, tag, size=state.size)
        if found is None:
            return None
        number, data = found
        return Proven(number, data, self.inclusion(number, state.size), state.size, state.head)

    def _state(self) -> State:
        state = self._store.state()
        assert state is not None, "open() began the log"
        return state

    def _check_size(self, size: int) -> None:
        if size > self._state().size:
            raise LogProofError(f"the log has no {size} entries yet")

    def _sign(self, size: int, root: bytes) -> bytes:
        return checkpoint.sign(Checkpoint(self._origin, size, root), self._key)


def _entry_of(event: Event) -> NewEntry | None:
    """What the log says of an event; None for a pull, and a manifest that is no signature."""
    if event.change is Change.PULL:
        return None
    facts: dict[str, Any] = {"digest": event.digest, "tag": event.tag, "previous": event.previous}
    if event.change is Change.MANIFEST:
        if event.artifact_type not in SIGNATURE_TYPES:
            return None
        kind = entry.Event.SIGN
    elif event.change is Change.TAG:
        kind = entry.Event.TAG
        if (subject := _signed_by_tag(event.tag)) is not None:
            kind, facts["previous"] = entry.Event.SIGN, subject
    else:
        kind = entry.Event.UNTAG if event.change is Change.UNTAG else entry.Event.DELETE
    moment = datetime.fromtimestamp(event.moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = entry.Entry(kind, event.repository, moment, actor=event.actor, **facts)
    return NewEntry(made.data, event.repository, event.tag)


def _signed_by_tag(tag: str) -> str | None:
    """The digest that a ``sha256-<hex>.sig`` tag signs."""
    algorithm, dash, rest = tag.partition("-")
    hexadecimal = rest.removesuffix(".sig")
    known = algorithm == "sha256" and dash and len(hexadecimal) == 64 and rest.endswith(".sig")
    return f"{algorithm}:{hexadecimal}" if known else None
