"""RUN --mount: from a checked mount to a plan's typed one, with paths and sources resolved.

The grammar knows the options and their rules; here they meet the WORKDIR and the other stages.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from builder.plan import paths
from builder.plan.ops import (
    BindSpec,
    CacheSpec,
    MountSpec,
    Origin,
    SecretSpec,
    SshSpec,
    TmpfsSpec,
)
from dockerfile_grammar import mounts as grammar
from dockerfile_grammar.errors import MountError
from dockerfile_grammar.nodes import Mount
from records import Record


class MountSurroundings(Record):
    """What a mount depends on: its WORKDIR, its stage's variables and the other stages."""

    workdir: str
    expand: Callable[[str], str]
    origin: Callable[[str], Origin]
    """What a ``from`` value means."""
    cache_namespace: str = ""
    """Keeps the caches of one build from those of another with the same ids."""


def plan_mount(mount: Mount, around: MountSurroundings, *, ssh_index: int = 0) -> MountSpec:
    """Type one mount; ``ssh_index`` counts the ssh mounts of this RUN that came before.

    Raises:
        MountError: an option that is unknown, missing or does not fit.
        ExpansionError: a variable cannot be expanded.
    """
    checked = grammar.resolve(mount, around.expand)
    match checked.type:
        case "bind":
            return BindSpec(
                target=_target(checked, around),
                source=paths.clean(checked.source or "/"),
                from_=_from(checked, around),
                read_only=checked.read_only,
            )
        case "cache":
            return _cache(checked, around)
        case "tmpfs":
            return TmpfsSpec(_target(checked, around), checked.size)
        case "secret":
            return _secret(checked, around)
    return _ssh(checked, around, ssh_index)


def _cache(checked: grammar.MountSpec, around: MountSurroundings) -> CacheSpec:
    name = checked.id or _cleaned(checked.target or "")
    return CacheSpec(
        target=_target(checked, around),
        id=f"{around.cache_namespace}/{name}" if around.cache_namespace else name,
        sharing=checked.sharing,
        read_only=checked.read_only,
        mode=0o755 if checked.mode is None else checked.mode,
        uid=checked.uid or 0,
        gid=checked.gid or 0,
        from_=_from(checked, around),
        source=paths.clean(checked.source) if checked.source else "",
    )


def _cleaned(target: str) -> str:
    """A cache's own name: the target as written, so that a relative one is another cache."""
    return paths.clean(target) if target.startswith("/") else posixpath.normpath(target)


def _secret(checked: grammar.MountSpec, around: MountSurroundings) -> SecretSpec:
    target = checked.target
    secret_id = checked.source or checked.id or posixpath.basename(target or "")
    if not target and checked.env is None:
        target = f"/run/secrets/{posixpath.basename(secret_id)}"
    return SecretSpec(
        id=secret_id,
        target=paths.join(around.workdir, target) if target else None,
        env=checked.env,
        required=checked.required,
        mode=0o400 if checked.mode is None else checked.mode,
        uid=checked.uid or 0,
        gid=checked.gid or 0,
    )


def _ssh(checked: grammar.MountSpec, around: MountSurroundings, index: int) -> SshSpec:
    target = checked.target or f"/run/buildkit/ssh_agent.{index}"
    return SshSpec(
        id=checked.id or checked.source or "default",
        target=paths.join(around.workdir, target),
        sets_variable=not checked.target,
        required=checked.required,
        mode=0o600 if checked.mode is None else checked.mode,
        uid=checked.uid or 0,
        gid=checked.gid or 0,
    )


def _target(checked: grammar.MountSpec, around: MountSurroundings) -> str:
    target = paths.join(around.workdir, checked.target or "")
    if target == "/":
        raise MountError('invalid mount target "/"', fix="choose another directory")
    return target


def _from(checked: grammar.MountSpec, around: MountSurroundings) -> Origin:
    return around.origin(checked.from_) if checked.from_ else None
