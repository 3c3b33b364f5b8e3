"""``lading bake --call``: questions about the Dockerfiles of targets; nothing is built."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from builder.contexts import LocalContext, TargetContext
from builder.progress.tracker import Tracker
from engine.bake.render import document
from engine.builds.pipeline import sourced
from images.errors import ImagesError
from lading.actions.bake_orders import order_of
from lading.actions.calls import Call, answer
from records import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.progress.events import ProgressSink
    from engine.bake.resolve import Selection
    from engine.builds.building import Yard
    from engine.builds.order import BuildOrder
    from lading.actions.calls import Answer


def calls_of(selection: Selection) -> dict[str, Call]:
    """What is asked about each target, those left out that are to be built.

    Raises:
        UsageError: a target's ``call`` is none that is known.
    """
    asked = {
        name: Call.parse(target.call or "build", where=f"call of the target {name}")
        for name, target in sorted(selection.targets.items())
    }
    return {name: call for name, call in asked.items() if call is not None}


def call_targets(
    calls: Mapping[str, Call],
    selection: Selection,
    yard: Yard,
    sink: ProgressSink,
) -> int:
    """Print the answers, target by target; the status is 1 when one of them has that status."""
    answers: dict[str, Answer] = {}
    with TemporaryDirectory(prefix="lading-bake-") as empty:
        for name, call in calls.items():
            try:
                ready = _without_targets(order_of(selection.targets[name]), empty)
                with sourced(ready, yard, Tracker(sink).labelled(name)) as ready:
                    answers[name] = answer(call, ready.request, yard)
            except ImagesError as error:
                error.add_note(f"while looking at the target {name}")
                raise
    sink.close()
    if any(call.json for call in calls.values()):
        print(document(_as_json(calls, answers, selection)), end="")
    else:
        print("\n".join(_texts(answers, selection)), end="")
    return max(found.status for found in answers.values())


def _as_json(
    calls: Mapping[str, Call], answers: Mapping[str, Answer], selection: Selection
) -> dict[str, object]:
    """The definition, as buildx has it: each target as it is built, and its answer beside that."""
    shown = selection.json()
    targets = {
        name: {"build": shown["target"][name], calls[name].name: found.value}
        for name, found in answers.items()
    }
    return {**shown, "target": targets}


def _texts(answers: Mapping[str, Answer], selection: Selection) -> list[str]:
    texts = []
    for name, found in answers.items():
        description = selection.targets[name].description
        head = f"{name}\n{description}\n" if description else f"{name}\n"
        texts.append(f"{head}\n{found.text}")
    return texts


def _without_targets(order: BuildOrder, empty: str) -> BuildOrder:
    """The order with an empty directory for every context that only a build would make."""
    contexts = {
        key: LocalContext(empty) if isinstance(context, TargetContext) else context
        for key, context in order.request.contexts.items()
    }
    return replace(order, request=replace(order.request, contexts=contexts))
