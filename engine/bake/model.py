"""Targets and groups: what a definition comes to, and how one target builds upon another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.bake.entries import (
    Agent,
    Attestation,
    Cache,
    Output,
    SecretSource,
    entry_type,
    unique,
)
from engine.bake.source import Place
from records import Record, field, field_names, replace

TEXTS: Final = (
    "description", "context", "dockerfile", "dockerfile-inline", "target", "network", "shm-size",
    "call",
)  # fmt: skip
SWITCHES: Final = ("pull", "no-cache")
LISTS: Final = (
    "inherits", "annotations", "tags", "platforms", "no-cache-filter", "ulimits", "entitlements",
)  # fmt: skip
MAPS: Final = ("contexts", "args", "labels", "extra-hosts")
ENTRIES: Final = ("attest", "cache-from", "cache-to", "secret", "ssh", "output", "policy")
RESOURCES: Final = (
    "memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems",
)  # fmt: skip
ATTRIBUTES: Final = (*TEXTS, *SWITCHES, *LISTS, *MAPS, *ENTRIES, "resources")
"""All that a target may say, as it is written; ``matrix`` and ``name`` are said of several."""

_EXTENDED: Final = frozenset(
    ("annotations", "attest", "secret", "ssh", "cache_from", "no_cache_filter", "ulimits",
     "entitlements", "inherits", "policy")
)  # fmt: skip
"""Lists to which a later definition adds; all others it replaces."""
_ORDER: Final = (
    "description", "inherits", "annotations", "attest", "context", "contexts", "dockerfile",
    "dockerfile-inline", "args", "labels", "tags", "cache-from", "cache-to", "target", "secret",
    "ssh", "platforms", "output", "pull", "no-cache", "network", "no-cache-filter", "shm-size",
    "ulimits", "resources", "call", "entitlements", "extra-hosts", "policy",
)  # fmt: skip
_ESCAPED: Final = frozenset(("annotations", "dockerfile-inline", "labels", "args", "extra-hosts"))


class Policy(Record):
    """An item of ``policy``: rules that BuildKit would ask about every source."""

    options: tuple[tuple[str, str], ...]

    @property
    def identity(self) -> object:
        """Every item counts."""
        return self.options

    @property
    def disabled(self) -> bool:
        """Whether it only switches policies off."""
        return dict(self.options).get("disabled") == "true"

    @property
    def file(self) -> str:
        """The file of rules, empty where none is named."""
        return dict(self.options).get("filename", "")

    def json(self) -> Any:
        """As ``--print`` shows it."""
        said = dict(self.options)
        files = [{"Filename": v, "Data": None} for k, v in self.options if k == "filename"]
        return {
            "Files": files or None,
            "Reset": said.get("reset") == "true",
            "Disabled": said.get("disabled") == "true",
            "Strict": {"true": True, "false": False}.get(said.get("strict", "")),
            "LogLevel": said.get("log-level"),
        }


class Target(Record):
    """What one image is built from and how; None is what the definition does not say."""

    name: str
    place: Place | None = field(default=None, repr=False, compare=False)
    description: str | None = None
    inherits: tuple[str, ...] | None = None
    annotations: tuple[str, ...] | None = None
    attest: tuple[Attestation, ...] | None = None
    context: str | None = None
    contexts: Mapping[str, str] | None = None
    dockerfile: str | None = None
    dockerfile_inline: str | None = None
    args: Mapping[str, str | None] | None = None
    labels: Mapping[str, str | None] | None = None
    tags: tuple[str, ...] | None = None
    cache_from: tuple[Cache, ...] | None = None
    cache_to: tuple[Cache, ...] | None = None
    target: str | None = None
    secret: tuple[SecretSource, ...] | None = None
    ssh: tuple[Agent, ...] | None = None
    platforms: tuple[str, ...] | None = None
    output: tuple[Output, ...] | None = None
    pull: bool | None = None
    no_cache: bool | None = None
    network: str | None = None
    no_cache_filter: tuple[str, ...] | None = None
    shm_size: str | None = None
    ulimits: tuple[str, ...] | None = None
    resources: Mapping[str, str | int] | None = None
    call: str | None = None
    entitlements: tuple[str, ...] | None = None
    extra_hosts: Mapping[str, str | None] | None = None
    policy: tuple[Policy, ...] | None = None
    linked: bool = False
    """Built because another target's context is this one; nothing else was asked of it."""

    def get(self, attribute: str) -> Any:
        """An attribute by the name it is written with."""
        return getattr(self, attribute.replace("-", "_"))

    def merged(self, later: Target) -> Target:
        """This with what ``later`` says: it replaces, and adds to the lists that collect."""
        changes: dict[str, Any] = {}
        for name in field_names(Target):
            new, old = getattr(later, name), getattr(self, name)
            if name in ("name", "place", "linked") or new is None:
                continue
            if isinstance(new, Mapping):
                said = {key: value for key, value in new.items() if value is not None}
                changes[name] = {**(old or {}), **said} or None
            elif name in _EXTENDED:
                changes[name] = (*(old or ()), *new)
            else:
                changes[name] = new
        return replace(self, **changes)

    def normalised(self) -> Target:
        """Without repeated and empty items; the host's network asks for its entitlement."""
        changes: dict[str, Any] = {}
        for attribute in (*LISTS, *ENTRIES):
            items = self.get(attribute)
            if items is None or attribute == "inherits":
                continue
            if entry_type(attribute) is not None:
                items = unique(items)
            elif attribute != "policy":
                items = tuple(item for item in dict.fromkeys(items) if item)
            changes[attribute.replace("-", "_")] = items
        if self.network == "host":
            held = changes.get("entitlements") or ()
            changes["entitlements"] = tuple(dict.fromkeys((*held, "network.host")))
        if self.contexts is not None:
            changes["contexts"] = {key: text for key, text in self.contexts.items() if text} or None
        return replace(self, **changes)

    def json(self) -> dict[str, Any]:
        """As ``docker buildx bake --print`` shows it: what is said, in buildx's order.

        Texts that HCL would expand are escaped, so that the answer is a definition again.
        """
        shown: dict[str, Any] = {}
        for attribute in _ORDER:
            value = self.get(attribute)
            if value is None or (value in ("", (), {}) and attribute not in _POINTERS):
                continue
            shown[attribute] = _json(attribute, value)
        return shown


_POINTERS: Final = frozenset(
    ("context", "dockerfile", "dockerfile-inline", "target", "network", "shm-size", "call",
     "resources")
)  # fmt: skip


def _json(attribute: str, value: Any) -> Any:
    if attribute == "resources":
        return {key: value[key] for key in RESOURCES if key in value}
    if attribute in _ESCAPED:
        return _escaped(value)
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    if isinstance(value, tuple):
        return [item if isinstance(item, str) else item.json() for item in value]
    return value


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, tuple):
        return [_escaped(item) for item in value]
    return {key: _escaped(item) for key, item in sorted(value.items()) if item is not None}


class Group(Record):
    """Targets and groups under one name."""

    name: str
    targets: tuple[str, ...] = ()
    description: str = ""

    def json(self) -> dict[str, Any]:
        """As ``--print`` shows it."""
        described = {"description": self.description} if self.description else {}
        return {**described, "targets": list(self.targets)}


class Variable(Record):
    """A variable as ``--list variables`` shows it; ``value`` is None for null."""

    name: str
    type: str = ""
    value: str | None = None
    description: str = ""


class Config(Record):
    """All that the files define, before anything was chosen."""

    groups: tuple[Group, ...] = ()
    targets: tuple[Target, ...] = ()
    variables: tuple[Variable, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    """What looks wrong and where, though nothing stops the build."""
    reads: tuple[str, ...] = ()
    """Files that were read because the definition names them."""
