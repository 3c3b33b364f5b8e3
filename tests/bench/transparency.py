"""The transparency log: proofs as it grows to a million entries, and what a push adds to it.

Proofs should cost O(log n): a step up in size by a thousand adds ten hashes. Each log is grown in
batches, as a busy registry grows it; only our own code is timed, as no peer keeps such a log.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from images.digest import Digest
from images.reference import Reference
from registry.transparency.store import LogStore, NewEntry
from tests.bench.harness import Case, main
from trust import bundle, cosign
from trust.keys import Algorithm, PrivateKey
from trust.transparency import checkpoint
from trust.transparency.checkpoint import Checkpoint
from trust.transparency.merkle import consistency_proof, inclusion_proof

BATCH = 10_000
QUICK, FULL = (1_000, 100_000), (1_000, 100_000, 1_000_000)


def grow(store: LogStore, key: PrivateKey, count: int) -> None:
    """Append ``count`` entries of a usual length."""

    def sign(size: int, root: bytes) -> bytes:
        return checkpoint.sign(Checkpoint("log", size, root), key)

    store.begin(b"key", sign(0, bytes(32)))
    for start in range(0, count, BATCH):
        entries = [
            NewEntry(b"%0200d" % number, "team/web", str(number))
            for number in range(start, min(start + BATCH, count))
        ]
        store.append(entries, after=start, position=start + len(entries), sign=sign)


def cases(quick: bool) -> Iterable[Case]:
    """Proofs in logs of each size, one more entry, and the signatures of one image."""
    key = PrivateKey.generate(Algorithm.ED25519)
    with ExitStack() as stack:
        for size in QUICK if quick else FULL:
            root = Path(tempfile.mkdtemp(prefix="bench-log-"))
            stack.callback(shutil.rmtree, root, ignore_errors=True)
            store = LogStore(root)
            stack.callback(store.close)
            grow(store, key, size)
            yield from _of(store, key, size)
    name, digest = Reference.parse("registry.example.com/team/web:1"), Digest.of(b"image")
    signer = PrivateKey.generate()
    yield Case(
        "sign in both of cosign's formats",
        {"lading": lambda: (cosign.sign(signer, name, digest), bundle.sign(signer, name, digest))},
        target="<= 50 ms",
    )


def _of(store: LogStore, key: PrivateKey, size: int) -> Iterator[Case]:
    chosen = random.Random(size)

    def include() -> None:
        inclusion_proof(store.node, chosen.randrange(size), size)

    def consist() -> None:
        consistency_proof(store.node, chosen.randrange(1, size), size)

    longest = len(inclusion_proof(store.node, 0, size))
    yield Case(f"inclusion in {size} entries ({longest} hashes)", {"lading": include})
    yield Case(f"consistency with {size} entries", {"lading": consist})
    grown = iter(range(size, size + 10_000))

    def append() -> None:
        number = next(grown)
        entry = NewEntry(b"%0200d" % number, "team/web", "latest")

        def sign(total: int, root: bytes) -> bytes:
            return checkpoint.sign(Checkpoint("log", total, root), key)

        store.append([entry], after=number, position=number + 1, sign=sign)

    yield Case(f"one entry more than {size}", {"lading": append})


if __name__ == "__main__":
    main(cases, __doc__ or "")
