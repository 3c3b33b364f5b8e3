"""Names and values: global ARGs, a stage's ARG and ENV, and what each instruction may see.

Rules of the Dockerfile reference and of BuildKit where it is silent: the later of ARG and ENV
wins, except that an ARG without any value leaves ENV alone; a global ARG is seen by FROM and by a
bare ARG of its name; proxy variables reach RUN without ARG and stay out of keys and history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from images.platform import Platform

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXY_NAMES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"})
CONTROL_ARGS = frozenset(
    {
        "BUILDKIT_BUILD_NAME",
        "BUILDKIT_CACHE_MOUNT_NS",
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
        "BUILDKIT_DOCKERFILE_CHECK",
        "BUILDKIT_INLINE_CACHE",
        "BUILDKIT_MULTI_PLATFORM",
        "BUILDKIT_SANDBOX_HOSTNAME",
        "BUILDKIT_SBOM_SCAN_CONTEXT",
        "BUILDKIT_SBOM_SCAN_STAGE",
        "BUILDKIT_SYNTAX",
        "SOURCE_DATE_EPOCH",
    }
)
"""Build arguments that steer the builder itself; they are used even when no ARG names them."""


def platform_args(build: Platform, target: Platform, target_stage: str) -> dict[str, str]:
    """The automatic arguments, TARGETPLATFORM and its relatives."""
    values: dict[str, str] = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        values[f"{prefix}PLATFORM"] = str(platform)
        values[f"{prefix}OS"] = platform.os
        values[f"{prefix}OSVERSION"] = platform.os_version
        values[f"{prefix}ARCH"] = platform.architecture
        values[f"{prefix}VARIANT"] = platform.variant
    values["TARGETSTAGE"] = target_stage
    return values


def is_proxy(name: str) -> bool:
    """Whether ``name`` is a predefined proxy argument, in either case."""
    return name.upper() in PROXY_NAMES


def proxy_environment(build_args: Mapping[str, str]) -> tuple[str, ...]:
    """``NAME=value`` in both cases for each proxy among ``build_args``."""
    values: dict[str, str] = {}
    for name, value in build_args.items():
        if is_proxy(name):
            values.setdefault(name.upper(), value)
            values.setdefault(name.lower(), value)
            values[name] = value
    return tuple(f"{name}={value}" for name, value in sorted(values.items()))


def split_environment(pairs: Iterable[str]) -> dict[str, str]:
    """``NAME=value`` texts as an ordered mapping; later ones win but keep the first place."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        values[name] = value
    return values


class StageScope:
    """The variables of one stage while its instructions are read, top to bottom."""

    def __init__(
        self, build_args: Mapping[str, str], global_args: Mapping[str, str | None]
    ) -> None:
        self.build_args = build_args
        self.global_args = global_args
        self.env: dict[str, str] = {}
        """What the image config will hold."""
        self.args: dict[str, str | None] = {}
        """Every ARG declared so far, None where it has no value."""
        self.visible: dict[str, str] = {}
        """ARG and ENV together: what expansion and RUN see."""
        self.used: set[str] = set()
        """Build arguments that an ARG asked for."""

    def enter(self, env: Mapping[str, str], args: Mapping[str, str | None]) -> None:
        """Start from a base: its ENV, and the ARGs of the stage it is, if it is one."""
        self.env, self.args = dict(env), dict(args)
        self.env.setdefault("PATH", DEFAULT_PATH)
        self.visible = {name: value for name, value in args.items() if value is not None}
        for name, value in self.env.items():
            self.visible.pop(name, None)
            self.visible[name] = value

    def set_env(self, name: str, value: str) -> None:
        """ENV: seen at once and kept in the image."""
        self.env[name] = value
        self.visible[name] = value

    def declare(self, name: str, default: str | None) -> str | None:
        """ARG: the build argument, else ``default``, else the global value; returns what it is."""
        value = default
        if name in self.build_args:
            self.used.add(name)
            value = self.build_args[name]
        elif default is None:
            value = self.global_args.get(name)
        self.args[name] = value
        if value is not None:
            self.visible[name] = value
        return value

    def seen_in(self, text: str) -> StageScope:
        """This scope with only those ARGs that ``text`` mentions by name; ENV stays whole."""
        words = set(_WORD.findall(text))
        made = object.__new__(StageScope)
        vars(made).update(vars(self))
        made.args = {name: value for name, value in self.args.items() if name in words}
        kept = self.env.keys() | made.args.keys()
        made.visible = {name: value for name, value in self.visible.items() if name in kept}
        return made

    @property
    def weight(self) -> int:
        """Characters that the environment of one more command holds."""
        return sum(map(len, self.visible.values())) + 64 * len(self.visible)

    def history_prefix(self) -> str:
        """``|2 A=1 B= `` for RUN's history line; empty when no ARG was declared."""
        if not self.args:
            return ""
        pairs = " ".join(f"{name}={value or ''}" for name, value in self.args.items())
        return f"|{len(self.args)} {pairs} "
