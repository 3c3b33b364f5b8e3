"""Where the result of ``lading build`` goes: flags into the order, answers into files."""

from __future__ import annotations

import os
import sys

from lading.errors import UsageError
from records import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from engine.access import Access
    from engine.builds.order import BuildOrder, BuildOutcome
    from images.store import ImageStore


def with_delivery(
    order: BuildOrder,
    *,
    outputs: tuple[str, ...],
    push: bool,
    load: bool,
    squash: bool,
    verify_reproducible: bool,
    annotations: tuple[str, ...],
) -> BuildOrder:
    """The order with the flags of this name.

    Raises:
        UsageError: a tar would go to a terminal.
        ImagesError: a value is malformed.
    """
    from engine.builds.delivery.annotations import MANIFEST, annotations_of, parse_annotations
    from engine.builds.delivery.outputs import STDOUT, parse_outputs

    wanted = parse_outputs(outputs, push=push, load=load)
    if sys.stdout.isatty() and any(output.dest == STDOUT for output in wanted):
        raise UsageError(
            "the result would go to the terminal",
            where="--output",
            fix="add dest=FILE, or redirect standard output",
        )
    levels = parse_annotations(annotations)
    only = order.targets[0] if not order.indexed else None
    request = replace(order.request, annotations=annotations_of(levels, MANIFEST, only))
    return replace(
        order,
        request=request,
        annotations=levels,
        outputs=wanted,
        squash=squash,
        verify=verify_reproducible,
    )


def write_files(
    outcome: BuildOutcome, store: ImageStore, *, iidfile: Path | None, metadata: Path | None
) -> None:
    """Write the image's id, and what buildx tells of a build, into the files that were named.

    Raises:
        EnvironmentFault: they cannot be written.
    """
    from lading.render.atomic import write_whole

    if iidfile is not None:
        write_whole(iidfile, str(outcome.image_id).encode())
    if metadata is not None:
        from engine.builds.delivery.metadata import describe, encode, warnings_of

        told = describe(outcome, os.environ, store) | warnings_of([outcome], os.environ)
        write_whole(metadata, encode(told))


def sign_names(outcome: BuildOutcome, access: Access) -> None:
    """With content trust, sign what was pushed under a tag, as ``lading push`` does.

    What is said of it goes where the build's progress went: standard output is the result's.

    Raises:
        TrustError: a name cannot be signed.
    """
    from contextlib import redirect_stdout

    from lading.content_trust import sign_pushed

    with redirect_stdout(sys.stderr):
        for name, descriptor in outcome.tagged:
            sign_pushed(access, name, descriptor)
