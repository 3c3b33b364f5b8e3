"""What a client remembers of a log: its name, its key, and the newest head it has seen.

The first head is believed on first use, or its key is given beforehand; from then on the log may
only grow. A head that does not follow the pinned one is a log that was rewritten, and the pin stays
as it is: the two heads together are the evidence.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from trust.errors import CheckpointError, LogProofError, TrustError
from trust.fields import FieldError, dump, members, parse, text
from trust.keys import PublicKey
from trust.transparency import checkpoint
from trust.transparency.checkpoint import MAX_CHECKPOINT, Checkpoint
from trust.transparency.entry import Entry
from trust.transparency.merkle import leaf_hash, verify_consistency, verify_inclusion

MAX_PIN: Final = 64 << 10

Consistency = Callable[[int, int], Sequence[bytes]]
"""Asks the log for the proof between two sizes."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One log as it was last seen. ``note`` is the signed head, byte for byte."""

    key: PublicKey
    note: bytes

    @classmethod
    def first(cls, note: bytes, key: PublicKey) -> Self:
        """Pin a log at its present head, believing its name.

        Raises:
            CheckpointError: ``key`` did not sign the head.
        """
        pin = cls(key, note)
        _ = pin.head
        return pin

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.note.partition(b"\n")[0].decode("utf-8", "replace")

    @property
    def head(self) -> Checkpoint:
        """The pinned head, verified; raises ``CheckpointError``."""
        return checkpoint.verify(self.note, origin=self.origin, key=self.key)

    def check(self, note: bytes) -> Checkpoint:
        """The head in ``note``, if this log's key signed it; raises ``CheckpointError``."""
        return checkpoint.verify(note, origin=self.origin, key=self.key)

    def advance(self, note: bytes, consistency: Consistency) -> Pin:
        """The pin moved on to ``note``, if the log only grew.

        Raises:
            CheckpointError: the head is not this log's.
            LogProofError: the log was rewritten, or shows an older state than it did.
        """
        old, new = self.head, self.check(note)
        if new.size < old.size:
            raise LogProofError(
                f"the log shows {new.size} entries and had {old.size}",
                where=self.origin,
                fix="ask again: a proxy may be stale; if it stays so, the log was cut back",
            )
        proof = consistency(old.size, new.size) if 0 < old.size < new.size else ()
        verify_consistency(old.size, new.size, old.root, new.root, proof)
        return replace(self, note=note)

    def to_json(self) -> bytes:
        """The bytes to keep on disk."""
        return dump(
            {
                "key": self.key.pem.decode(),
                "checkpoint": base64.b64encode(self.note).decode(),
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            found = members(
                parse(data, what="the pin", limit=MAX_PIN),
                required=("key", "checkpoint"),
                at="the pin",
            )
            key = PublicKey.from_pem(text(found["key"], at="key").encode(), where=where)
            note = base64.b64decode(text(found["checkpoint"], at="checkpoint"), validate=True)
            return cls.first(note[:MAX_CHECKPOINT], key)
        except (FieldError, ValueError, TrustError) as error:
            raise CheckpointError(
                f"what was remembered of this log is damaged: {error}",
                where=where,
                fix="remove the file to trust the log anew, or put the right one back",
            ) from error


def check_entry(
    data: bytes, *, number: int, proof: Sequence[bytes], head: Checkpoint, repository: str, tag: str
) -> Entry:
    """The entry in ``data``, if it is in the log under ``head`` and speaks of this tag.

    Raises:
        LogProofError: it is not there, or is about another tag.
    """
    verify_inclusion(leaf_hash(data), number, head.size, proof, head.root)
    entry = Entry.parse(data)
    if (entry.repository, entry.tag) != (repository, tag):
        raise LogProofError(
            f"the registry proved an entry about {entry.repository}:{entry.tag}",
            where=f"{repository}:{tag}",
            fix="keep the answer as evidence: the registry answers about something else",
        )
    return entry
