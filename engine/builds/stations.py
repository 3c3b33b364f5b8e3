"""The stations of an order that asks for more than one image in the local store.

Images are built and left without a name; each form that the outputs want of them is made, combined
where there are several, and delivered. A lease covers everything from the first step on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.builds import building
from engine.builds.delivery.annotations import INDEX, INDEX_DESCRIPTOR, MANIFEST, annotations_of
from engine.builds.delivery.delivering import Delivered, Goods, check_outputs, deliver
from engine.builds.delivery.outputs import STORED, OutputError, Packing
from engine.builds.order import BuildOutcome
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeVar

    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest, BuildResult
    from builder.runner import Cancellation, FailureInspector
    from engine.attestations.statement import Statement
    from engine.builds.attesting.options import Attesting
    from engine.builds.attesting.station import Occasion
    from engine.builds.building import Yard
    from engine.builds.delivery.annotations import Annotation
    from engine.builds.delivery.outputs import Output
    from engine.builds.lock import BuildLock
    from engine.builds.order import BuildOrder
    from images.descriptor import Descriptor
    from images.digest import Digest

    _T = TypeVar("_T")


class Form(Record):
    """A shape of the result, and the outputs that want it."""

    packing: Packing
    annotations: tuple[Annotation, ...]
    attesting: Attesting | None
    outputs: tuple[Output, ...]


def pass_stations(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    on_failure: FailureInspector | None = None,
    lock: BuildLock | None = None,
) -> BuildOutcome:
    """Build, finish and deliver; raises as ``engine.builds.pipeline.fulfil``."""
    if order.verify and yard.elsewhere is not None:
        # Both builds are the business of the machine that does them.
        yard = replace(yard, elsewhere=replace(yard.elsewhere, verify=True))
        order = replace(order, verify=False)
    outputs = _under_tags(order, tracker) or ((STORED,) if order.request.register else ())
    check_outputs(outputs, order.request.tags, platforms=len(order.targets))
    wanted = forms(order, outputs)
    for form in wanted:
        if not order.indexed and not _listed(form):
            _check_levels(form.annotations)
    if order.squash:
        _warn_of_lost_cache(order.request, tracker)
    order = replace(order, request=_unnamed(order, outputs))
    occasion = None
    if any(form.attesting for form in wanted):
        from engine.builds.attesting.station import begin

        occasion = begin(order.request, tracker.now())
    with yard.store.lease("build"):
        images = _build(order, yard, tracker, cancellation, on_failure, lock)
        if yard.caches is not None:
            yard.caches.settle(cancellation)
        if order.verify:
            _verify(order, images, yard, tracker, cancellation, lock)
        made = [(form, _finish(order, form, images, yard, tracker, occasion)) for form in wanted]
        way = yard.access if yard.caches is None else yard.caches.line
        delivered = [
            [
                deliver(output, goods, order.request.tags, yard.store, way, tracker)
                for output in form.outputs
            ]
            for form, goods in made
        ]
    return _outcome(made, delivered)


def _under_tags(order: BuildOrder, tracker: Tracker) -> tuple[Output, ...]:
    """The outputs with the build's tags in place of their own names, where it has any: ``-t`` goes
    before ``name=``, as with buildx.
    """
    tags = order.request.tags
    if not tags:
        return order.outputs
    given = _once(name for output in order.outputs for name in output.names if name not in tags)
    for name in given:
        tracker.warn(f"the output's name={name.familiar} gives way to -t {tags[0].familiar}")
    return tuple(replace(output, names=()) for output in order.outputs)


def forms(order: BuildOrder, outputs: Iterable[Output]) -> list[Form]:
    """Outputs that want the same shape together, in order; files want none and go with the first.

    There is always one.
    """
    found: dict[Form, list[Output]] = {}
    files = []
    for output in outputs:
        if output.is_image:
            found.setdefault(_form(order, output), []).append(output)
        else:
            files.append(output)
    if not found:
        plain = Packing(squash=order.squash)
        found[Form(plain, order.annotations, order.attesting, ())] = []
    result = [replace(form, outputs=tuple(wanting)) for form, wanting in found.items()]
    return [replace(result[0], outputs=(*result[0].outputs, *files)), *result[1:]]


def _form(order: BuildOrder, output: Output) -> Form:
    """What one output wants; it is not in there itself."""
    annotations = (*order.annotations, *output.annotations)
    docker = output.packing.docker_types and (output.types_asked or not annotations)
    packing = replace(output.packing, squash=order.squash, docker_types=docker)
    attesting = order.attesting
    if attesting is not None and output.artifact_statements is not None:
        from engine.builds.attesting.options import INDEX as IN_INDEX
        from engine.builds.attesting.options import REFERRERS

        chosen = REFERRERS if output.artifact_statements else IN_INDEX
        attesting = replace(attesting, form=chosen)
    return Form(packing, annotations, attesting, ())


def _unnamed(order: BuildOrder, outputs: Iterable[Output]) -> BuildRequest:
    """The request to the builder: names are given by the last station."""
    chosen = {output.rewrite_timestamps for output in outputs} - {None}
    request = replace(order.request, register=False)
    return replace(request, rewrite_timestamps=chosen.pop()) if chosen else request


def _warn_of_lost_cache(request: BuildRequest, tracker: Tracker) -> None:
    from builder.remote.inline import wanted

    if wanted(request):
        tracker.warn(
            "a squashed image carries no cache: its layer is of no single step; "
            "use --cache-to type=registry"
        )


def _build(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    cancellation: Cancellation | None,
    on_failure: FailureInspector | None,
    lock: BuildLock | None,
) -> tuple[BuildResult, ...]:
    if order.indexed:
        from engine.builds.platforms import build_each

        return build_each(
            order, yard, tracker, cancellation=cancellation, on_failure=on_failure, lock=lock
        )
    image = building.build(
        order.request,
        yard,
        tracker,
        cancellation=cancellation,
        on_failure=on_failure,
        lock=lock,
    )
    return (image,)


def _verify(
    order: BuildOrder,
    images: tuple[BuildResult, ...],
    yard: Yard,
    tracker: Tracker,
    cancellation: Cancellation | None,
    lock: BuildLock | None,
) -> None:
    from engine.builds.platforms import request_for
    from engine.builds.reproducing import verify

    for platform, image in zip(order.targets, images, strict=True):
        request = request_for(order, platform) if order.indexed else order.request
        verify(request, image, yard, tracker, cancellation=cancellation, lock=lock)


def _finish(
    order: BuildOrder,
    form: Form,
    images: tuple[BuildResult, ...],
    yard: Yard,
    tracker: Tracker,
    occasion: Occasion | None,
) -> Goods:
    """The images in one form, with what is stated about them, under one root."""
    packed = []
    for platform, image in zip(order.targets, images, strict=True):
        own = annotations_of(form.annotations, MANIFEST, platform)
        if form.packing.changes or own:
            from engine.builds.delivery.packing import pack_image

            image = pack_image(image, form.packing, yard.store, tracker, annotations=own)
        packed.append((platform, image))
    root = packed[0][1].descriptor
    listed: Mapping[Digest, Descriptor] = {}
    beside: Mapping[Digest, Sequence[Statement]] = {}
    if form.attesting is not None and occasion is not None:
        from engine.builds.attesting.station import attest

        names = tuple(name for output in form.outputs for name in output.names)
        stated = attest(
            packed,
            form.attesting,
            order.request,
            occasion,
            yard.store,
            tracker,
            names=names or order.request.tags,
        )
        listed, beside = stated.listed, stated.beside_files
    if order.indexed or listed:
        from engine.builds.combining import combine

        root = combine(packed, yard.store, annotations=form.annotations, attestations=listed)
    return Goods(root, tuple(packed), form.annotations, beside)


def _listed(form: Form) -> bool:
    """Whether statements make an index of what would be a single manifest."""
    return form.attesting is not None and form.attesting.form == "index"


def _check_levels(annotations: Iterable[Annotation]) -> None:
    """Refuse annotations of an index where there is none."""
    stray = next((item for item in annotations if item.level in (INDEX, INDEX_DESCRIPTOR)), None)
    if stray is not None:
        raise OutputError(
            f"{stray.level}:{stray.key} has no index to be on",
            where="--annotation",
            fix="an image of one platform has a manifest alone: leave the level out",
        )


def _outcome(
    made: Sequence[tuple[Form, Goods]], delivered: Sequence[Sequence[Delivered]]
) -> BuildOutcome:
    """Told of the form that registries have, else the local store, else the first."""
    chief = max(range(len(made)), key=lambda number: _reach(made[number][0]))
    goods = made[chief][1]
    every = [item for items in delivered for item in items]
    own = {name for item in delivered[chief] for name in item.names}
    return BuildOutcome(
        root=goods.root,
        images=tuple(image for _, image in goods.images),
        named=_once(name for item in every for name in item.named),
        pushed=_once(name for item in every for name in item.pushed),
        places=_once(place for item in every for place in item.places),
        titles=_once(name for item in every for name in item.titles),
        tagged=tuple(pair for item in every for pair in item.tagged),
        others=_once(name for item in every for name in item.names if name not in own),
    )


def _reach(form: Form) -> tuple[bool, bool]:
    return (
        any(output.push for output in form.outputs),
        any(output.store for output in form.outputs),
    )


def _once(items: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(items))
