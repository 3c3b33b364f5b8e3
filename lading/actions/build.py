"""``lading build``: flags into an order, the order into an image, the answer onto the screen."""

from __future__ import annotations

import os
import sys

from lading.actions.build_order import make_order
from lading.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, Final

    from builder.progress.events import ProgressSink
    from builder.request import BuildRequest, StepVerdict
    from builder.runner import FailureInspector
    from engine.builds.building import Yard
    from engine.builds.history.document import Document
    from engine.builds.lock import BuildLock
    from engine.builds.order import BuildOrder, BuildOutcome
    from engine.remote.placing import Elsewhere
    from lading.app import App

ACCESS: Final = ("insecure_registry", "policy", "verify_key", "disable_content_trust")


def build(
    app: App,
    *,
    plan: str | None,
    explain: str | None,
    context_report: str | None,
    on_error: str,
    check: bool,
    call: str,
    quiet: bool,
    progress: str,
    summary: str | None,
    report: Path | None,
    iidfile: Path | None,
    metadata_file: Path | None,
    lock: Path | None,
    locked: bool,
    builder: str | None,
    **flags: Any,
) -> int:
    """Build an image from a Dockerfile; the flags are those of ``lading.flags.build``.

    The status of a check that found something is 1.

    Raises:
        UsageError, ImagesError: as ``make_order`` and ``engine.builds.pipeline.carry_out``.
    """
    from builder.progress.render import chosen_name, make_progress
    from builder.progress.tracker import Tracker
    from engine.builds import building
    from engine.builds.pipeline import carry_out, sourced

    access = app.access(**_taken(flags, ACCESS))
    order = make_order(**flags)
    on_failure = None if on_error == "fail" else _failed_step_shell(app)
    if on_failure is not None and progress in ("auto", "tty"):
        # A table that is redrawn and a shell cannot share a terminal.
        progress = "plain"
    progress = chosen_name(progress, os.environ)
    quiet = quiet or progress in ("quiet", "none")
    sink = make_progress("quiet" if quiet or plan else progress, sys.stderr)
    yard = building.Yard(app.store, access, app.runtime, elsewhere=elsewhere(app, builder))
    held = _lock(lock, locked=locked, refresh=order.request.pull)
    call = _called(call, check=check)
    if context_report is not None:
        with sourced(order, yard, Tracker(sink), lock=held) as ready:
            return _report_context(ready, sink, as_json=context_report == "json")
    if plan is not None or call != "build":
        with sourced(order, yard, Tracker(sink), lock=held) as ready:
            return _preview(ready, yard, sink, call=call, plan=plan, explain=explain, lock=held)
    _check_bounds()
    _check_files(iidfile, metadata_file, report, None if locked else lock)
    visible = not quiet and progress != "rawjson"
    conclude = _conclusion(app, summary=summary, report=report, shown=visible)
    outcome = carry_out(order, yard, sink, on_failure=on_failure, lock=held, on_record=conclude)
    if outcome.tagged and access.content_trust:
        from lading.actions.build_delivery import sign_names

        sign_names(outcome, access)
    if iidfile is not None or metadata_file is not None:
        from lading.actions.build_delivery import write_files

        write_files(outcome, app.store, iidfile=iidfile, metadata=metadata_file)
    # Whoever reads JSON line by line finds what the build ended in there.
    if progress not in ("none", "rawjson"):
        _announce(outcome, quiet=quiet, silent=order.to_stdout)
    if not outcome.cached:
        from engine.builds.bounds import collect_after_build

        collect_after_build(app.store, os.environ)
    if explain is not None:
        _explain(_all_steps(outcome), as_json=explain == "json")
    return 0


def elsewhere(app: App, builder: str | None) -> Elsewhere | None:
    """The machines to build at; None for this one.

    Raises:
        NodeError: there is no builder of that name.
    """
    named = builder or os.environ.get("LADING_BUILDER") or os.environ.get("BUILDX_BUILDER")
    if not named and not os.path.exists(f"{app.state}/builder/builders.json"):
        return None
    from engine.remote.nodes import Builders
    from engine.remote.placing import Elsewhere

    chosen = Builders(app.state).chosen(builder, os.environ)
    return None if chosen is None else Elsewhere(chosen)


def _conclusion(
    app: App, *, summary: str | None, report: Path | None, shown: bool
) -> Callable[[Document], None]:
    """What to do when the build is over; a cached one has nothing to say unless it is asked."""

    def conclude(document: Document) -> None:
        if report is not None or summary is not None or not document.get("cached"):
            from lading.actions import build_report

            build_report.conclude(app, document, summary=summary, report=report, shown=shown)

    return conclude


def _taken(flags: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Take the flags of one purpose out of the rest."""
    return {name: flags.pop(name) for name in names}


def _lock(path: Path | None, *, locked: bool, refresh: bool) -> BuildLock | None:
    if path is None:
        if locked:
            raise UsageError("no lock file is named", where="--locked", fix="add --lock FILE")
        return None
    if locked and refresh:
        raise UsageError("--pull changes the lock, and --locked forbids it", where="--locked")
    from engine.builds.lock import BuildLock

    return BuildLock(path, refresh=refresh, frozen=locked)


def _called(call: str, *, check: bool) -> str:
    """The question that is asked, ``build`` for none; a malformed one is found before anything."""
    call = "check" if check and call == "build" else call
    if call != "build":
        from lading.actions.calls import Call

        if Call.parse(call) is None:
            return "build"
    return call


def _check_files(*paths: Path | None) -> None:
    """Find a file that cannot be written before the build rather than after the push."""
    wanted = [path for path in paths if path is not None]
    if wanted:
        from lading.render.atomic import check_writable

        for path in wanted:
            check_writable(path)


def _check_bounds() -> None:
    """Find a mistake in the variables of the cache before the build rather than after it."""
    if any(name.startswith("LADING_BUILDER_") for name in os.environ):
        from engine.builds.bounds import bounds_of

        bounds_of(os.environ, disk_size=0)


def _failed_step_shell(app: App) -> FailureInspector:
    if not all(os.isatty(descriptor) for descriptor in (0, 1, 2)):
        raise UsageError(
            "a shell needs a terminal on stdin, stdout and stderr",
            where="--on-error=shell",
            fix="run the build on a terminal, or leave the flag out",
        )
    from engine.builds.failed_step import FailedStepShell

    return FailedStepShell(app.runtime_dir)


def _preview(
    order: BuildOrder,
    yard: Yard,
    sink: ProgressSink,
    *,
    call: str,
    plan: str | None,
    explain: str | None,
    lock: BuildLock | None,
) -> int:
    """Show what would be built, or answer a question about it; nothing is built."""
    if plan is None or call != "build":
        sink.close()
        return _call(order.request, yard, call)
    from engine.builds import building

    if plan == "dot" and explain is not None:
        raise UsageError("a graph explains nothing", where="--plan", fix="use text or json")
    form = "json" if explain == "json" else plan
    requests = _requests(order)
    shown = building.show_plan(
        requests, yard, sink, form=form, explain=explain is not None, lock=lock
    )
    print(shown, end="")
    return 0


def _requests(order: BuildOrder) -> list[BuildRequest]:
    """What the builder is asked for, platform by platform."""
    if not order.indexed:
        return [order.request]
    from engine.builds.platforms import request_for

    return [request_for(order, platform) for platform in order.targets]


def _call(request: BuildRequest, yard: Yard, text: str) -> int:
    from lading.actions.calls import Call, answer

    call = Call.parse(text)
    assert call is not None
    found = answer(call, request, yard)
    if call.json:
        import json

        print(json.dumps(found.value, indent=2))
    else:
        print(found.text, end="")
    return found.status


def _report_context(order: BuildOrder, sink: ProgressSink, *, as_json: bool) -> int:
    from builder.context_report import report_json, report_text
    from engine.builds.sources.reporting import report_of

    sink.close()
    report = report_of(order.request)
    if as_json:
        import json

        print(json.dumps(report_json(report), indent=2))
    else:
        print(report_text(report), end="")
    return 0


def _all_steps(outcome: BuildOutcome) -> tuple[StepVerdict, ...]:
    """Of every platform; a step that several of them share is told once, by who executed it."""
    found: dict[str, StepVerdict] = {}
    for image in outcome.images:
        for step in image.steps:
            if step.name not in found or found[step.name].outcome == "cached":
                found[step.name] = step
    return tuple(found.values())


def _explain(steps: tuple[StepVerdict, ...], *, as_json: bool) -> None:
    """Text goes where the build's progress went, JSON to standard output."""
    from builder.explanation import explanation_json, explanation_text

    if as_json:
        import json

        print(json.dumps(explanation_json(steps), indent=2))
    else:
        print(explanation_text(steps), end="", file=sys.stderr)


def _announce(outcome: BuildOutcome, *, quiet: bool, silent: bool) -> None:
    """``silent`` says that standard output has the result itself."""
    if quiet:
        if not silent:
            print(outcome.image_id)
        return
    images = outcome.images
    lines = [f"named {name.familiar}" for name in outcome.named]
    lines += [f"pushed {name.familiar}" for name in outcome.pushed]
    lines += [f"wrote {place}" for place in outcome.places]
    if outcome.root == images[0].descriptor:
        lines += [f"image {outcome.image_id}", f"manifest {outcome.root.digest}"]
    else:
        lines += [f"image {image.image_id}" for image in images]
        lines.append(f"manifest list {outcome.root.digest}")
    print("\n".join(lines), file=sys.stderr)
