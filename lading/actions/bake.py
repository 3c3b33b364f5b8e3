"""``lading bake``: definitions into targets, targets into orders, the answers onto the screen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.bake.entitlements import Grants, missing, named_on_command_line, repository_path
from engine.bake.entries import canonical_attestation, fields_of, parse_bool
from engine.bake.errors import BakeDeniedError
from engine.bake.overrides import parse_overrides
from engine.bake.remote import rebased
from engine.bake.render import list_targets, list_variables, selection_json
from engine.bake.resolve import cleaned, select
from lading.actions.build import elsewhere
from lading.errors import UsageError
from records import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.progress.events import ProgressSink
    from builder.progress.tracker import Tracker
    from engine.bake.model import Config
    from engine.bake.resolve import Selection
    from engine.builds.building import Yard
    from engine.builds.order import BuildOutcome
    from lading.actions.bake_definition import Defined
    from lading.actions.calls import Call
    from lading.app import App

EPOCH: Final = "SOURCE_DATE_EPOCH"
FILES: Final = "BUILDX_BAKE_FILE"
SEPARATOR: Final = "BUILDX_BAKE_PATH_SEPARATOR"
NO_FILE_CHECKS: Final = "BUILDX_BAKE_ENTITLEMENTS_FS"


def bake(
    app: App,
    *,
    files: tuple[str, ...],
    sets: tuple[str, ...],
    variables: tuple[str, ...],
    allow: tuple[str, ...],
    names: tuple[str, ...],
    print_only: bool,
    listed: str | None,
    check: bool,
    call: str | None,
    metadata_file: Path | None,
    progress: str,
    push: bool,
    load: bool,
    no_cache: str | None,
    pull: str | None,
    provenance: str | None,
    sbom: str | None,
    builder: str | None,
    **access: Any,
) -> int:
    """Build the targets of a definition; the flags are those of ``lading.flags.bake``.

    The status of a check that found something is 1.

    Raises:
        UsageError, BakeError, ImagesError: the command line, the definition or a build is at fault.
    """
    from builder.progress.render import chosen_name, make_progress
    from builder.progress.tracker import Tracker
    from engine.builds import building

    if print_only and listed is not None:
        raise UsageError("--print and --list exclude one another", where="--list")
    shorthands = _shorthands(
        push=push, load=load, no_cache=no_cache, pull=pull, provenance=provenance, sbom=sbom
    )
    asked = _asked("check" if check else call)
    if asked is not None:
        shorthands += (f"*.call={asked.name}",)
    places = elsewhere(app, builder)
    yard = building.Yard(app.store, app.access(**access), app.runtime, elsewhere=places)
    progress = chosen_name(progress, os.environ)
    sink = make_progress("quiet" if print_only or listed else progress, sys.stderr)
    from lading.actions.bake_definition import defined

    tracker = Tracker(sink)
    names_of_files = files or _files_of(os.environ)
    try:
        with defined(names_of_files, names, variables, yard, tracker) as found:
            if listed is not None:
                print(_listing(found.config, listed), end="")
                return 0
            selection, grants = _selected(found, (*sets, *shorthands), allow)
            _warn(found.config)
            if print_only:
                print(selection_json(selection), end="")
                return 0
            _allowed(selection, grants, found.config.reads, json=progress == "rawjson")
            calls = _calls(selection, asked)
            if calls:
                from lading.actions.bake_calls import call_targets

                return call_targets(calls, selection, yard, sink)
            if metadata_file is not None:
                from lading.render.atomic import check_writable

                check_writable(metadata_file)
            return _build(
                selection, yard, sink, tracker, progress=progress, metadata_file=metadata_file
            )
    finally:
        sink.close()


def _asked(call: str | None) -> Call | None:
    """What ``--call`` asks; None for a build."""
    if call in (None, "build"):
        return None
    from lading.actions.calls import Call

    return Call.parse(str(call))


def _calls(selection: Selection, asked: Call | None) -> Mapping[str, Call]:
    """What is asked about each target, by itself or by the command line; nothing of most."""
    if all(target.call in (None, "build") for target in selection.targets.values()):
        return {}
    from lading.actions.bake_calls import calls_of

    calls = calls_of(selection)
    if asked is None:
        return calls
    return {
        name: replace(call, json=asked.json, ignore_status=asked.ignore_status)
        for name, call in calls.items()
    }


def _shorthands(
    *,
    push: bool,
    load: bool,
    no_cache: str | None,
    pull: str | None,
    provenance: str | None,
    sbom: str | None,
) -> tuple[str, ...]:
    """Flags that stand for a ``--set`` of all targets."""
    found = []
    if push:
        found.append("*.push=true")
    if load:
        found.append("*.load=true")
    found += [f"*.no-cache={no_cache}"] if no_cache is not None else []
    found += [f"*.pull={pull}"] if pull is not None else []
    for kind, text in (("sbom", sbom), ("provenance", provenance)):
        if text is not None:
            found.append(f"*.attest={canonical_attestation(kind, text)}")
    return tuple(found)


def _files_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    separator = environment.get(SEPARATOR) or os.pathsep
    names = environment.get(FILES, "").split(separator)
    return tuple(name.strip() for name in names if name.strip())


def _listing(config: Config, text: str) -> str:
    """``--list targets`` or ``--list type=variables,format=json``."""
    options = {"type": text, "format": "table"}
    if "=" in text:
        options |= dict(one.partition("=")[::2] for one in fields_of(text))
    kind, form = options["type"], options["format"]
    if kind not in ("targets", "variables") or form not in ("table", "json") or len(options) > 2:
        raise UsageError(
            f"cannot list {text!r}", where="--list", fix="use targets or variables, format=json"
        )
    return (list_targets if kind == "targets" else list_variables)(config, as_json=form == "json")


def _selected(
    found: Defined, sets: tuple[str, ...], allow: tuple[str, ...]
) -> tuple[Selection, Grants]:
    """The targets that were asked for, and what they may do."""
    targets = [target.name for target in found.config.targets]
    overrides = parse_overrides(sets, targets, os.environ)
    selection = select(found.config, found.names, overrides)
    named = [grant for one in overrides.values() for grant in named_on_command_line(one)]
    if found.origin is not None:
        selection = rebased(selection, found.origin)
        # Who names a repository on the command line lets its definition read it.
        places = (found.origin.directory, repository_path(found.origin.url))
        named += [f"fs.read={place}" for place in places if place]
    selection = cleaned(selection)
    grants = Grants.parse([*allow, *named], os.getcwd())
    epoch = os.environ.get(EPOCH)
    if not epoch:
        return selection, grants
    dated = {
        name: replace(target, args={EPOCH: epoch, **(target.args or {})})
        for name, target in selection.targets.items()
    }
    return replace(selection, targets=dated), grants


def _warn(config: Config) -> None:
    for text, where in config.warnings:
        print(f"lading: warning: {where}: {text}", file=sys.stderr)


def _allowed(selection: Selection, grants: Grants, reads: tuple[str, ...], *, json: bool) -> None:
    """Refuse what the definition may not do; on a terminal, ask.

    Raises:
        BakeDeniedError: with the flags that would allow it.
    """
    files = parse_bool(os.environ.get(NO_FILE_CHECKS) or "true", NO_FILE_CHECKS)
    needed = missing(selection.targets.values(), grants, reads=reads, files=files)
    if not needed:
        return
    flags = " ".join(f"--allow={one}" for one in needed)
    if not json and sys.stdin.isatty() and sys.stderr.isatty():
        print("The definition asks for what it may not do by itself:\n", file=sys.stderr)
        print("\n".join(f"  {one}" for one in needed), file=sys.stderr)
        print(f"\nNext time, allow it with {flags}", file=sys.stderr)
        print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise BakeDeniedError(
        f"the definition asks for what it may not do by itself: {', '.join(needed)}",
        fix=f"if you trust it, add {flags}",
    )


def _build(
    selection: Selection,
    yard: Yard,
    sink: ProgressSink,
    tracker: Tracker,
    *,
    progress: str,
    metadata_file: Path | None,
) -> int:
    from engine import baking
    from lading.actions.bake_orders import order_of

    orders = {name: order_of(target) for name, target in selection.targets.items()}
    if sum(order.to_stdout for order in orders.values()) > 1:
        raise UsageError("several targets would write to standard output", where="output")
    outcomes = baking.bake(orders, yard, sink, tracker=tracker)
    _conclude(outcomes, yard, metadata_file)
    shown = {name: one for name, one in outcomes.items() if not selection.targets[name].linked}
    if progress not in ("none", "rawjson"):
        _announce(shown, quiet=progress == "quiet")
    return 0


def _conclude(outcomes: Mapping[str, BuildOutcome], yard: Yard, metadata_file: Path | None) -> None:
    """Signatures, metadata, and the cache brought into its bounds."""
    if yard.access.content_trust:
        from lading.actions.build_delivery import sign_names

        for outcome in outcomes.values():
            sign_names(outcome, yard.access)
    if metadata_file is not None:
        from engine.builds.delivery.metadata import describe, encode, warnings_of
        from lading.render.atomic import write_whole

        described = {name: describe(one, os.environ, yard.store) for name, one in outcomes.items()}
        # As buildx has it: of all targets together, beside them.
        described |= warnings_of(outcomes.values(), os.environ)
        write_whole(metadata_file, encode(described))
    if not all(outcome.cached for outcome in outcomes.values()):
        from engine.builds.bounds import collect_after_build

        collect_after_build(yard.store, os.environ)


def _announce(outcomes: Mapping[str, BuildOutcome], *, quiet: bool) -> None:
    """A line for each target: its result, and where that went."""
    if quiet:
        for outcome in outcomes.values():
            print(outcome.image_id)
        return
    from lading.render.table import tabulate

    rows = [("TARGET", "STATE", "IMAGE ID", "NAMES")]
    for name, outcome in sorted(outcomes.items()):
        names = dict.fromkeys(one.familiar for one in (*outcome.named, *outcome.pushed))
        went = ", ".join([*names, *outcome.places])
        state = "cached" if outcome.cached else "built"
        rows.append((name, state, outcome.image_id.hex[:12], went))
    print(tabulate(rows), end="", file=sys.stderr)
