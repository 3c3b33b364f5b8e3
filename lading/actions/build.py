"""``lading build``: flags into a request, the request into an image, the answer onto the screen."""

from __future__ import annotations

import os
import sys

from images.reference import Reference
from lading.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from builder.request import BuildRequest, BuildResult
    from builder.runner import FailureInspector, Resources
    from builder.secrets import Secret
    from engine.build_lock import BuildLock
    from engine.building import Yard
    from images.platform import Platform
    from lading.app import App

ENTITLEMENTS = ("network.host", "security.insecure")

EPOCH = "SOURCE_DATE_EPOCH"
"""https://reproducible-builds.org/specs/source-date-epoch/"""


def build(
    app: App,
    *,
    plan: str | None,
    explain: str | None,
    on_error: str,
    check: bool,
    call: str,
    quiet: bool,
    progress: str,
    iidfile: Path | None,
    insecure_registry: tuple[str, ...],
    policy: Path | None,
    verify_key: tuple[Path, ...],
    disable_content_trust: str | None,
    lock: Path | None,
    locked: bool,
    **flags: Any,
) -> int:
    """Build an image from a Dockerfile; the flags are those of ``lading.flags.BUILD``.

    The status of a check that found something is 1.

    Raises:
        UsageError, ImagesError: as ``make_request`` and ``engine.building.build``.
    """
    from builder.progress.render import make_progress
    from engine import building

    request = make_request(**flags)
    access = app.access(
        insecure_registry,
        policy=policy,
        verify_key=verify_key,
        disable_content_trust=disable_content_trust,
    )
    on_failure = None if on_error == "fail" else _failed_step_shell(app)
    if on_failure is not None and progress in ("auto", "tty"):
        # A table that is redrawn and a shell cannot share a terminal.
        progress = "plain"
    sink = make_progress("quiet" if quiet or plan else progress, sys.stderr)
    yard = building.Yard(app.store, access, app.runtime)
    held = _lock(lock, locked=locked, refresh=request.pull)
    if check or call != "build":
        return _check(request, yard, as_json=call == "check,format=json")
    if plan is not None:
        if plan == "dot" and explain is not None:
            raise UsageError("a graph explains nothing", where="--plan", fix="use text or json")
        form = "json" if explain == "json" else plan
        shown = building.show_plan(
            request, yard, sink, form=form, explain=explain is not None, lock=held
        )
        print(shown, end="")
        return 0
    _check_bounds()
    result = building.build(request, yard, sink, on_failure=on_failure, lock=held)
    if iidfile is not None:
        from lading.render.atomic import write_whole

        write_whole(iidfile, str(result.image_id).encode())
    _announce(result, quiet=quiet)
    if not result.cached:
        from engine.build_cache import collect_after_build

        collect_after_build(app.store, os.environ)
    if explain is not None:
        _explain(result, as_json=explain == "json")
    return 0


def _lock(path: Path | None, *, locked: bool, refresh: bool) -> BuildLock | None:
    if path is None:
        if locked:
            raise UsageError("no lock file is named", where="--locked", fix="add --lock FILE")
        return None
    if locked and refresh:
        raise UsageError("--pull changes the lock, and --locked forbids it", where="--locked")
    from engine.build_lock import BuildLock

    return BuildLock(path, refresh=refresh, frozen=locked)


def _check_bounds() -> None:
    """Find a mistake in the variables of the cache before the build rather than after it."""
    if any(name.startswith("LADING_BUILDER_") for name in os.environ):
        from engine.build_cache import bounds_of

        bounds_of(os.environ, disk_size=0)


def _failed_step_shell(app: App) -> FailureInspector:
    if not all(os.isatty(descriptor) for descriptor in (0, 1, 2)):
        raise UsageError(
            "a shell needs a terminal on stdin, stdout and stderr",
            where="--on-error=shell",
            fix="run the build on a terminal, or leave the flag out",
        )
    from engine.failed_step import FailedStepShell

    return FailedStepShell(app.runtime_dir)


def _check(request: BuildRequest, yard: Yard, *, as_json: bool) -> int:
    from builder.lint.report import report_json, report_text
    from engine import building

    report = building.check(request, yard)
    if as_json:
        import json

        print(json.dumps(report_json(report), indent=2))
    else:
        print(report_text(report), end="")
    return 0 if report.clean else 1


def make_request(
    *,
    context: str,
    tags: tuple[str, ...],
    file: str | None,
    build_args: tuple[str, ...],
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    target: str | None,
    platform: str | None,
    no_cache: bool,
    no_cache_filter: tuple[str, ...],
    arg_scope: str,
    rewrite_timestamp: bool,
    pull: bool,
    allow: tuple[str, ...],
    network: str,
    hosts: tuple[str, ...],
    secrets: tuple[str, ...],
    agents: tuple[str, ...],
    **limits: Any,
) -> BuildRequest:
    """Turn the flags into a request; ``limits`` are those of ``lading.actions.build_limits``.

    Raises:
        UsageError, ImagesError: a flag's value is malformed.
    """
    from builder.request import BuildRequest

    return BuildRequest(
        context=None if context == "-" else context,
        dockerfile=_dockerfile(context, file),
        tags=tuple(Reference.parse(tag) for tag in tags),
        build_args=_build_args(build_args),
        labels=_pairs(labels, "--label"),
        annotations=_pairs(annotations, "--annotation"),
        target=target,
        platform=_platform(platform),
        no_cache=no_cache,
        no_cache_stages=tuple(name for text in no_cache_filter for name in text.split(",") if name),
        precise_args=arg_scope == "used",
        rewrite_timestamps=rewrite_timestamp,
        pull=pull,
        network=network,
        allow=_entitlements(allow),
        extra_hosts=_hosts(hosts),
        secrets=tuple(_secrets(secrets)),
        ssh=_agents(agents),
        resources=_resources(limits),
    )


def _entitlements(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in ENTITLEMENTS:
            raise UsageError(
                f"unknown entitlement {name}",
                where="--allow",
                fix=f"use one of {', '.join(ENTITLEMENTS)}",
            )
    return names


def _dockerfile(context: str, file: str | None) -> str | bytes | None:
    if context == "-" or file == "-":
        return sys.stdin.buffer.read()
    return file


def _pairs(values: tuple[str, ...], flag: str) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, _, text = value.partition("=")
        if not key:
            raise UsageError(f"{value!r} has no key", where=flag)
        pairs[key] = text
    return pairs


def _build_args(values: tuple[str, ...]) -> dict[str, str]:
    """``K=V`` as it is; a bare ``K`` takes the environment's value, if there is one.

    SOURCE_DATE_EPOCH is taken from the environment even when it is not named, as buildx does.
    """
    bare = {EPOCH, *(value for value in values if "=" not in value)}
    given = _pairs(tuple(value for value in values if value not in bare), "--build-arg")
    return {key: os.environ[key] for key in bare if key in os.environ} | given


def _platform(text: str | None) -> Platform | None:
    if text is None:
        return None
    from images.platform import Platform

    return Platform.parse(text)


def _hosts(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if not values:
        return ()
    from engine.options.naming import extra_hosts

    return extra_hosts(values)


def _secrets(values: tuple[str, ...]) -> list[Secret]:
    if not values:
        return []
    from builder.secrets import Secret

    return [Secret.parse(value, os.environ) for value in values]


def _agents(values: tuple[str, ...]) -> dict[str, Path]:
    agents: dict[str, Path] = {}
    if values:
        from pathlib import Path
    for value in values:
        name, _, path = value.partition("=")
        socket = path or os.environ.get("SSH_AUTH_SOCK", "")
        if not socket:
            raise UsageError(f"no agent for {name}: SSH_AUTH_SOCK is not set", where="--ssh")
        agents[name or "default"] = Path(socket)
    return agents


def _resources(limits: dict[str, Any]) -> Resources | None:
    if not any(limits.values()):
        return None
    from lading.actions.build_limits import make_resources

    return make_resources(limits)


def _explain(result: BuildResult, *, as_json: bool) -> None:
    """Text goes where the build's progress went, JSON to standard output."""
    from builder.explanation import explanation_json, explanation_text

    if as_json:
        import json

        print(json.dumps(explanation_json(result.steps), indent=2))
    else:
        print(explanation_text(result.steps), end="", file=sys.stderr)


def _announce(result: BuildResult, *, quiet: bool) -> None:
    if quiet:
        print(result.image_id)
        return
    lines = [f"named {tag.familiar}" for tag in result.tags]
    lines += [f"image {result.image_id}", f"manifest {result.descriptor.digest}"]
    print("\n".join(lines), file=sys.stderr)
