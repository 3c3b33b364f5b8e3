"""The station of statements: each image of a build gets what was asked to be stated about it."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from engine.attestations import manifests, spdx
from engine.attestations.statement import Statement, image_names, make
from engine.builds.attesting.options import INDEX, Attesting
from engine.builds.attesting.provenance import PREDICATE_TYPE, Facts, predicate
from engine.builds.attesting.redaction import Redactor, redactor
from images.packages.inventory import take_inventory
from images.platform import Platform
from records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.inputs import BuildInputs
    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest, BuildResult
    from dockerfile_grammar.nodes import Dockerfile
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference
    from images.store import Image, ImageStore

EPOCH: Final = "SOURCE_DATE_EPOCH"
_NAMELESS: Final = "image"


class Stated(Record):
    """What was stated about images: the manifests that an index is to list, by the image that each
    is about, and the statements for places that hold files alone.
    """

    listed: Mapping[Digest, Descriptor]
    beside_files: Mapping[Digest, Sequence[Statement]]


class Occasion(Record):
    """A build that is about to run: of which files, when, and under which number.

    ``started`` in seconds since the epoch. The Dockerfile is read before the build, so that a later
    edit is not stated.
    """

    inputs: BuildInputs
    started: float
    invocation: Callable[[], str] = lambda: str(uuid.uuid4())


def begin(request: BuildRequest, started: float) -> Occasion:
    """Remember what a build starts from.

    Raises:
        BuildInputError: a file is missing or unreadable.
    """
    from builder.inputs import read_inputs

    return Occasion(read_inputs(request), started)


def attest(
    images: Sequence[tuple[Platform, BuildResult]],
    wanted: Attesting,
    request: BuildRequest,
    occasion: Occasion,
    store: ImageStore,
    tracker: Tracker,
    *,
    names: Sequence[Reference] = (),
) -> Stated:
    """State what is wanted of each image.

    No manifests are to be listed where referrers hold the statements. The caller holds a lease.

    Raises:
        ImagesError: a layer is damaged, or the disk is full.
    """
    hiding = redactor(request, _parsed(occasion.inputs))
    listed: dict[Digest, Descriptor] = {}
    beside: dict[Digest, Sequence[Statement]] = {}
    inline = wanted.provenance is not None and wanted.provenance.inline_only
    for platform, result in images:
        image = store.image(result.descriptor)
        job = _Job(request, platform, result, image, occasion, hiding, store, tracker)
        statements = job.statements(wanted, names)
        beside[result.descriptor.digest] = [
            one for one in statements if not (inline and one.predicate_type == PREDICATE_TYPE)
        ]
        if wanted.form == INDEX:
            listed[result.descriptor.digest] = manifests.put_manifest(statements, store)
        else:
            manifests.put_referrers(statements, result.descriptor, store)
    return Stated(listed, beside)


class _Job(Record):
    """The statements about one image."""

    request: BuildRequest
    platform: Platform
    result: BuildResult
    image: Image
    occasion: Occasion
    hiding: Redactor
    store: ImageStore
    tracker: Tracker

    def statements(self, wanted: Attesting, names: Sequence[Reference]) -> list[Statement]:
        subject = self.result.descriptor.digest
        titles = image_names(names, self.platform)
        found: list[Statement] = []
        if wanted.sbom:
            with self.tracker.start(f"[{self.platform}] generating sbom"):
                document = self._sbom(names, wanted)
            found.append(make(spdx.PREDICATE_TYPE, document, subject, names=titles))
        if wanted.provenance is not None:
            with self.tracker.start(f"[{self.platform}] stating provenance"):
                facts = self._facts(dated=not wanted.provenance.reproducible)
                body = predicate(facts, wanted.provenance, self.hiding)
            found.append(make(PREDICATE_TYPE, body, subject, names=titles))
        return found

    def _sbom(self, names: Sequence[Reference], wanted: Attesting) -> Mapping[str, object]:
        inventory = take_inventory(self.image, self.store)
        layers = [
            dataclasses.replace(layer, created_by=self.hiding.text(layer.created_by))
            for layer in inventory.layers
        ]
        repeatable = wanted.provenance is not None and wanted.provenance.reproducible
        return spdx.document(
            dataclasses.replace(inventory, layers=tuple(layers)),
            self.result.descriptor,
            name=names[0].familiar if names else _NAMELESS,
            created=self._date(None if repeatable else self.tracker.now())
            or _seconds(self.image.config.created or ""),
            tool=f"lading-{program_version()}",
        )

    def _facts(self, *, dated: bool) -> Facts:
        dated = dated and EPOCH not in self.request.build_args
        return Facts(
            request=self.request,
            inputs=self.occasion.inputs,
            result=self.result,
            image=self.image,
            platform=self.platform,
            host=Platform.host(),
            version=program_version(),
            started=self._date(self.occasion.started if dated else None),
            finished=self._date(self.tracker.now() if dated else None),
            invocation=self.occasion.invocation() if dated else "",
        )

    def _date(self, seconds: float | None) -> str:
        """SOURCE_DATE_EPOCH wins; empty where there is no date at all."""
        epoch = self.request.build_args.get(EPOCH, "")
        moment = float(epoch) if epoch.isdigit() else seconds
        if moment is None:
            return ""
        return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def program_version() -> str:
    """lading's own."""
    try:
        return version("lading")
    except PackageNotFoundError:
        return "0"


def _seconds(text: str) -> str:
    """RFC 3339 text without fractions, as SPDX wants it."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        moment = datetime.fromtimestamp(0, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(inputs: BuildInputs) -> Dockerfile:
    from dockerfile_grammar.parser import parse

    return parse(inputs.dockerfile, filename=inputs.name)
