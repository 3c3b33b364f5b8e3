"""The flags of ``lading build`` as a request to the builder."""

from __future__ import annotations

import os

from images.reference import Reference
from lading.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from builder.request import BuildRequest
    from builder.runner import Resources
    from builder.secrets import Secret
    from images.platform import Platform

ENTITLEMENTS = (
    "network.host",
    "security.insecure",
    "fs",
    "fs.read",
    "fs.write",
    "device",
    "buildx.local.delete",
)
"""The last is accepted: who types ``mode=delete`` means it."""

EPOCH = "SOURCE_DATE_EPOCH"
"""https://reproducible-builds.org/specs/source-date-epoch/"""


def make_request(
    *,
    context: str,
    tags: tuple[str, ...],
    file: str | None,
    build_args: tuple[str, ...],
    labels: tuple[str, ...],
    target: str | None,
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
    check_rules: str | None,
    platform: Platform | None = None,
    **limits: Any,
) -> BuildRequest:
    """Turn the flags into a request, whose context and Dockerfile are as they were typed.

    ``limits`` are those of ``lading.actions.build_limits``.

    ``platform`` is the only one, None for the machine's own or when there are several.

    Raises:
        UsageError, ImagesError: a flag's value is malformed.
    """
    from builder.request import BuildRequest

    return BuildRequest(
        context=context,
        dockerfile=file,
        tags=tuple(Reference.parse(tag) for tag in tags),
        build_args=_build_args(build_args),
        labels=_pairs(labels, "--label"),
        target=target,
        platform=platform,
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
        check_rules=check_rules,
        resources=_resources(limits),
    )


def _entitlements(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name.partition("=")[0] not in ENTITLEMENTS:
            raise UsageError(
                f"unknown entitlement {name}",
                where="--allow",
                fix=f"use one of {', '.join(ENTITLEMENTS)}",
            )
    return names


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
    """``ID[=SOCKET|KEY[,KEY]]``; of several keys the first stands for all (``ssh_keys``)."""
    agents: dict[str, Path] = {}
    if values:
        from pathlib import Path
    for value in values:
        name, _, paths = value.partition("=")
        path = paths.partition(",")[0] or os.environ.get("SSH_AUTH_SOCK", "")
        if not path:
            raise UsageError(
                f"no agent for {name}: SSH_AUTH_SOCK is not set",
                where="--ssh",
                fix=f"start ssh-agent, or name a key: --ssh {name or 'default'}=~/.ssh/id_ed25519",
            )
        agents[name or "default"] = Path(path)
    return agents


def ssh_keys(values: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The agents of ``--ssh`` that are files of keys rather than sockets.

    Raises:
        UsageError: a socket among several.
    """
    from engine.builds.key_agent import is_socket

    keys: dict[str, tuple[str, ...]] = {}
    for value in values:
        name, _, paths = value.partition("=")
        named = tuple(path for path in paths.split(",") if path)
        keys.pop(name or "default", None)
        if not named or (len(named) == 1 and is_socket(named[0])):
            continue
        if any(is_socket(path) for path in named):
            raise UsageError(
                f"{value}: a socket stands alone",
                where="--ssh",
                fix="name one socket, or one or more files of keys",
            )
        keys[name or "default"] = named
    return keys


def _resources(limits: dict[str, Any]) -> Resources | None:
    if not any(limits.values()):
        return None
    from lading.actions.build_limits import make_resources

    return make_resources(limits)
