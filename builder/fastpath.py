"""Answering a whole build from one record, when nothing that could change it has changed.

The record's key is a fingerprint of the request: format version, Dockerfile and ignore file,
arguments, target, platform and the other options. It holds pins of the base images, the scan of the
context by file status, and the result. Everything is compared before the record is believed, and
everything doubtful means an ordinary build. This module is on the path of every build, so it
imports neither the grammar nor the planner.
"""

from __future__ import annotations

import hashlib
import json
import time
from _thread import allocate_lock
from collections.abc import Callable, Mapping

from builder.errors import BuildError
from builder.keys import key_of
from builder.request import Material
from builder.scan import FINE_TICK_NS, ContextScan, scan_context
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.platform import Platform
from images.reference import Reference
from records import Record, from_values, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from builder.bases import BaseResolver
    from builder.inputs import BuildInputs, LocalInputs
    from builder.keys import KeyField
    from builder.request import BuildRequest
    from builder.solver.common import CommonWork
    from builder.solver.records import BlobIndex, KeyValueStore

RECORD_FORMAT: Final = 5


class BuildRecord(Record):
    """A finished build. ``context`` is a scan's digest, None when the context was not read."""

    descriptor: Descriptor
    image_id: Digest
    blobs: tuple[str, ...]
    bases: tuple[tuple[str, str, str], ...]
    """Reference, platform and pin of each base."""
    context: str | None
    steps: tuple[str, ...]
    warnings: tuple[tuple[str, str], ...] = ()
    """What each says, and where: ``Dockerfile:3`` or empty."""
    base_layers: int = 0
    contexts: tuple[tuple[str, str], ...] = ()
    """Name and scan's digest of each named context that was read."""
    materials: tuple[Material, ...] = ()
    entitlements: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """As the bytes of a record."""
        return json.dumps(
            {
                "format": RECORD_FORMAT,
                "descriptor": self.descriptor.to_json(),
                "image": str(self.image_id),
                "blobs": self.blobs,
                "bases": self.bases,
                "context": self.context,
                "steps": self.steps,
                "warnings": self.warnings,
                "base_layers": self.base_layers,
                "contexts": self.contexts,
                "entitlements": self.entitlements,
                "materials": [values_of(material) for material in self.materials],
            }
        ).encode()

    @classmethod
    def decode(cls, raw: bytes) -> BuildRecord | None:
        """From the bytes of a record; None for another format."""
        document: dict[str, Any] = json.loads(raw)
        if document.get("format") != RECORD_FORMAT:
            return None
        return cls(
            descriptor=Descriptor.from_json(document["descriptor"]),
            image_id=Digest.parse(document["image"]),
            blobs=tuple(document["blobs"]),
            bases=tuple((base[0], base[1], base[2]) for base in document["bases"]),
            context=document["context"],
            steps=tuple(document["steps"]),
            warnings=tuple((text, where) for text, where in document["warnings"]),
            base_layers=document["base_layers"],
            entitlements=tuple(document["entitlements"]),
            contexts=tuple((name, digest) for name, digest in document["contexts"]),
            materials=tuple(from_values(Material, values) for values in document["materials"]),
        )


class ContextScans:
    """The scans of one build's contexts, each made when it is first asked for."""

    def __init__(
        self, inputs: BuildInputs, now_ns: Callable[[], int], common: CommonWork | None = None
    ) -> None:
        """``now_ns`` tells the time in nanoseconds since the epoch; ``common`` may have them."""

        def scans(local: LocalInputs | None) -> DirectoryScans:
            if common is None:
                return DirectoryScans(local, now_ns)
            return common.scans.get(local, lambda: DirectoryScans(local, now_ns))

        self.main = scans(inputs.main)
        self._named = {key: scans(local) for key, local in inputs.named.items()}

    def of(self, context: str | None) -> DirectoryScans:
        """The scans of the named context; None for the build context."""
        return self.main if context is None else self._named[context]

    def matches(self, record: BuildRecord) -> bool:
        """Whether every context that the recorded build read looks as it did then."""
        recorded: list[tuple[str | None, str]] = [*record.contexts]
        if record.context is not None:
            recorded.append((None, record.context))
        scans = ((self.of(key).latest(), digest) for key, digest in recorded)
        return all(scan is not None and scan.digest == digest for scan, digest in scans)


class DirectoryScans:
    """The scans of one directory. What is compared with a record need not be walked again to make
    the next one, since whatever is read is read after it. Builds that share them share the one that
    was settled, because they read the same files.
    """

    def __init__(self, inputs: LocalInputs | None, now_ns: Callable[[], int]) -> None:
        """``inputs`` are None where there is no directory."""
        self._inputs = inputs
        self._now_ns = now_ns
        self._lock = allocate_lock()
        self._latest: ContextScan | None = None
        self._settled: tuple[ContextScan | None] | None = None

    def latest(self) -> ContextScan | None:
        """The context as its ignore file shows it; None when it cannot be read."""
        with self._lock:
            return self._first()

    def settled(self) -> ContextScan | None:
        """One that a later scan can be compared with; None when files are changing just now."""
        with self._lock:
            if self._settled is None:
                self._settled = (self._settle(),)
            return self._settled[0]

    def _first(self) -> ContextScan | None:
        if self._latest is None:
            self._latest = self._scan()
        return self._latest

    def _settle(self) -> ContextScan | None:
        scan = self._first()
        if scan is None or scan.settled:
            return scan
        # Time has passed since, perhaps enough.
        wait_ns = scan.wait_ns - (self._now_ns() - scan.started_ns)
        if wait_ns > FINE_TICK_NS:
            return None
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        scan = self._latest = self._scan()
        return scan if scan is not None and scan.settled else None

    def _scan(self) -> ContextScan | None:
        inputs = self._inputs
        if inputs is None:
            return None
        ignored = prune = None
        if inputs.ignore is not None:
            from builder.ignore import IgnorePatterns

            patterns = IgnorePatterns.parse(inputs.ignore, filename=inputs.ignore_name)
            if patterns:
                ignored, prune = patterns.matches, patterns.may_prune
        started_ns = self._now_ns()
        try:
            return scan_context(inputs.path, now_ns=started_ns, ignored=ignored, may_prune=prune)
        except BuildError:
            # The ordinary build comes to it and says so.
            return None


def fingerprint(
    request: BuildRequest,
    inputs: BuildInputs,
    platform: Platform,
    secrets: Mapping[str, bytes] | None = None,
) -> bytes:
    """The key of the request: everything but bases and the context's files.

    ``secrets`` are the digests of those that count, by id.
    """
    limits = request.resources
    rare: list[KeyField] = []
    if request.contexts:
        kinds = {key: repr(context) for key, context in request.contexts.items()}
        named = {key: (local.path, local.ignore) for key, local in inputs.named.items()}
        rare += [("contexts", kinds), ("directories", named)]
    if request.materials:
        rare.append(("materials", repr(request.materials)))
    return key_of(
        "build",
        [
            ("context", inputs.context),
            ("name", inputs.name),
            ("dockerfile", hashlib.sha256(inputs.dockerfile).digest()),
            ("ignore", inputs.ignore),
            ("args", dict(request.build_args)),
            ("labels", dict(request.labels)),
            ("annotations", dict(request.annotations)),
            ("target", request.target),
            ("platform", str(platform)),
            ("network", request.network),
            ("hosts", request.extra_hosts),
            ("resources", repr(limits) if limits is not None else None),
            ("secrets", sorted(secret.id for secret in request.secrets)),
            ("ssh", sorted(request.ssh)),
            ("compression", request.compression),
            ("inline-cache", request.inline_cache),
            ("secret-digests", secrets or {}),
            ("precise-args", request.precise_args),
            ("rewrite", request.rewrite_timestamps),
            ("check-rules", request.check_rules),
            ("name-platform", request.name_platform),
            *rare,
        ],
    )


def find_record(
    key: bytes,
    *,
    values: KeyValueStore,
    blobs: BlobIndex,
    resolver: BaseResolver,
    scans: ContextScans,
) -> BuildRecord | None:
    """The recorded build, if all it rests on is unchanged and its blobs are still there."""
    raw = values.get(key)
    record = BuildRecord.decode(raw) if raw is not None else None
    if record is None or not all(blobs.has(Digest.parse(blob)) for blob in record.blobs):
        return None
    for reference, platform, pin in record.bases:
        if _pin(resolver, reference, platform) != pin:
            return None
    return record if scans.matches(record) else None


def pin_bases(
    resolver: BaseResolver, bases: list[tuple[str, str]]
) -> tuple[tuple[str, str, str], ...] | None:
    """The pins of all bases; None when one of them has none, so the build cannot be recorded."""
    pinned = []
    for reference, platform in bases:
        pin = _pin(resolver, reference, platform)
        if pin is None:
            return None
        pinned.append((reference, platform, pin))
    return tuple(pinned)


def _pin(resolver: BaseResolver, reference: str, platform: str) -> str | None:
    try:
        return resolver.pin(Reference.parse(reference), Platform.parse(platform))
    except ImagesError:
        # Whatever is wrong with this base, the ordinary build will say it properly.
        return None
