"""What a definition may do without being asked: read and write below the working directory.

A bake file comes with the files it builds, so it is trusted less than a command line. What goes
beyond is named with ``--allow``, or on the command line itself (``--set``). The keys are buildx's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Self

from engine.bake.errors import BakeValueError
from engine.bake.resolve import is_remote
from records import Record, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from engine.bake.model import Target
    from engine.bake.overrides import Override

NETWORK, INSECURE, SSH = "network.host", "security.insecure", "ssh"
DELETE = "buildx.local.delete"
SHORT_DELETE = "local.delete"
"""The same under the name it had here first."""
READ, WRITE = "fs.read", "fs.write"
_PLAIN: Final = (NETWORK, INSECURE, SSH, DELETE)
_IMAGES: Final = ("image", "image.push", "image.load")
LAYOUT: Final = "oci-layout://"
_NO_PATHS: Final = ("target:", "docker-image:")


class Grants(Record):
    """What is allowed: plain entitlements, and directories to read and write below."""

    plain: frozenset[str] = frozenset()
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Iterable[str], directory: str) -> Self:
        """``--allow`` values; ``directory`` is the working directory, which is always allowed.

        Raises:
            BakeValueError: an unknown entitlement.
        """
        plain = set()
        paths: dict[str, list[str]] = {READ: [directory], WRITE: [directory]}
        for value in values:
            value = DELETE if value == SHORT_DELETE else value
            key, equals, path = value.partition("=")
            if value in _PLAIN:
                plain.add(value)
            elif key in (READ, WRITE, "fs") and equals and path:
                for kind in (READ, WRITE) if key == "fs" else (key,):
                    paths[kind].append(path)
            elif key == "device":
                plain.add(value)
            elif key not in _IMAGES:
                raise BakeValueError(
                    f"unknown entitlement {value}",
                    where="--allow",
                    fix=f"use {', '.join(_PLAIN)}, fs=PATH, fs.read=PATH or fs.write=PATH",
                )
        return cls(frozenset(plain), {kind: tuple(found) for kind, found in paths.items()})

    def covers(self, kind: str, path: str) -> bool:
        """Whether a path is below an allowed one, links followed on both sides."""
        real = os.path.realpath(path)
        for allowed in self.paths[kind]:
            if allowed == "*":
                return True
            top = os.path.realpath(allowed)
            if real == top or real.startswith(top.rstrip("/") + "/"):
                return True
        return False


def named_on_command_line(overrides: Iterable[Override]) -> list[str]:
    """What ``--set`` allows by naming it: places of caches, outputs, secrets and agents."""
    from engine.bake.decode import parse_entry

    granted: list[str] = []
    for override in overrides:
        if override.key == "entitlements":
            granted += [value for value in override.values if value in (NETWORK, INSECURE)]
        attribute = "secret" if override.key in ("secret", "secrets") else override.key
        if attribute in ("cache-from", "cache-to", "output", "secret", "ssh"):
            entries = [one for text in override.values for one in parse_entry(attribute, text)]
            granted += [f"{kind}={path}" for kind, path in _entry_paths(attribute, entries) if path]
    return granted


def _entry_paths(attribute: str, entries: Sequence[object]) -> list[tuple[str, str]]:
    from engine.bake.entries import Agent, Cache, Output, SecretSource

    found: list[tuple[str, str]] = []
    for entry in entries:
        match entry:
            case Cache(type="local", options=options) if attribute == "cache-from":
                found.append((READ, options.get("src", "")))
            case Cache(type="local", options=options):
                found.append((WRITE, options.get("dest", "")))
            case Output(destination=destination) if destination != "-":
                found.append((WRITE, destination))
            case SecretSource(source=source):
                found.append((READ, source))
            case Agent(paths=paths):
                found += [(READ, path) for path in paths]
    return [(kind, path) for kind, path in found if path]


def wanted(target: Target) -> list[tuple[str, str]]:
    """What a target asks for: an entitlement and, of those for files, a path."""
    found: list[tuple[str, str]] = [(name, "") for name in target.entitlements or ()]
    contexts = [target.context or ".", *(target.contexts or {}).values()]
    for context in contexts:
        path = repository_path(context) or local_path(context)
        if path is not None:
            found.append((READ, path))
    if target.dockerfile and target.dockerfile_inline is None:
        path = dockerfile_path(target)
        if path is not None:
            found.append((READ, path))
    for attribute in ("cache-from", "cache-to", "output", "secret", "ssh"):
        found += _entry_paths(attribute, target.get(attribute) or ())
    found += [(READ, one.file) for one in target.policy or () if one.file]
    found += [(SSH, "") for agent in target.ssh or () if not agent.paths]
    found += [
        (DELETE, "") for output in target.output or () if output.options.get("mode") == "delete"
    ]
    return found


def local_path(context: str) -> str | None:
    """The path that a context is on this machine, None where it is elsewhere."""
    if context.startswith(LAYOUT):
        path = context.removeprefix(LAYOUT).partition("@")[0]
        head, colon, tag = path.rpartition(":")
        return head if colon and "/" not in tag else path
    if context.startswith("cwd://"):
        return context.removeprefix("cwd://") or "."
    return None if context.startswith(_NO_PATHS) or is_remote(context) else context


def repository_path(context: str) -> str:
    """The path of a repository of this machine, empty for any other context. Git decodes it."""
    if not context.lower().startswith("file:"):
        return ""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(context).path)


def dockerfile_path(target: Target) -> str | None:
    """Where a target's Dockerfile is on this machine; None where it is with a remote context."""
    name = target.dockerfile or "Dockerfile"
    if name.startswith("cwd://"):
        return os.path.normpath(name.removeprefix("cwd://"))
    context = local_path(target.context or ".")
    if is_remote(name) or context is None:
        return name if os.path.isabs(name) else None
    return os.path.normpath(os.path.join(context, name))


def missing(
    targets: Iterable[Target], grants: Grants, *, reads: Iterable[str] = (), files: bool = True
) -> list[str]:
    """The ``--allow`` values that would be needed, sorted, each once.

    ``reads`` are files that the definition was made of because it names them itself. ``files``
    False leaves out what is needed for paths.
    """
    found = {
        f"{READ}={os.path.realpath(path)}"
        for path in reads
        if files and not grants.covers(READ, path)
    }
    for target in targets:
        for kind, path in wanted(target):
            if kind in (READ, WRITE):
                if files and not grants.covers(kind, path):
                    found.add(f"{kind}={os.path.realpath(path)}")
            elif kind == SSH:
                if files and SSH not in grants.plain:
                    found.add(SSH)
            elif kind not in grants.plain and kind.partition("=")[0] not in grants.plain:
                found.add(kind)
    return sorted(one for one in found if not _within_another(one, found))


def _within_another(one: str, found: set[str]) -> bool:
    """Whether a path is asked for by a directory above it."""
    return any(one.startswith(other.rstrip("/") + "/") for other in found if "=" in other)
