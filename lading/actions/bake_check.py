"""``lading bake --check``: the Dockerfiles of targets are checked, nothing is built."""

from __future__ import annotations

import json
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from builder.contexts import LocalContext, TargetContext
from builder.lint.report import report_json, report_text
from builder.progress.tracker import Tracker
from engine.bake.errors import BakeValueError
from engine.builds import building
from engine.builds.pipeline import sourced
from images.errors import ImagesError
from records import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.progress.events import ProgressSink
    from engine.builds.building import Yard
    from engine.builds.order import BuildOrder

CALLS = ("check", "lint", "check,format=text", "check,format=json")


def check_targets(
    asked: Mapping[str, tuple[BuildOrder, str]], yard: Yard, sink: ProgressSink
) -> int:
    """Print what is found, target by target; 1 when something is.

    Raises:
        BakeValueError: a target's ``call`` is none that is known.
    """
    reports = {}
    with TemporaryDirectory(prefix="lading-bake-") as empty:
        for name, (order, call) in asked.items():
            if call not in CALLS:
                raise BakeValueError(
                    f"the target {name} calls {call!r}", fix=f"use {', '.join(CALLS)} or build"
                )
            try:
                ready = _without_targets(order, empty)
                with sourced(ready, yard, Tracker(sink).labelled(name)) as ready:
                    reports[name] = building.check(ready.request, yard)
            except ImagesError as error:
                error.add_note(f"while checking the target {name}")
                raise
    sink.close()
    if any(call.endswith("format=json") for _, call in asked.values()):
        found = {name: {"check": report_json(report)} for name, report in reports.items()}
        print(json.dumps({"target": found}, indent=2))
    else:
        texts = [f"{name}\n\n{report_text(report)}" for name, report in reports.items()]
        print("\n".join(texts), end="")
    return 0 if all(report.clean for report in reports.values()) else 1


def _without_targets(order: BuildOrder, empty: str) -> BuildOrder:
    """The order with an empty directory for every context that only a build would make."""
    contexts = {
        key: LocalContext(empty) if isinstance(context, TargetContext) else context
        for key, context in order.request.contexts.items()
    }
    return replace(order, request=replace(order.request, contexts=contexts))
