"""Platforms: ``os/arch[/variant]``, normalised as containerd does.

OCI image specification, image-index.md, "platform"; Go's GOOS and GOARCH.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from images.errors import InvalidPlatformError
from records import Record, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

_PART = r"[A-Za-z0-9_.-]+\Z"
_ARCH_ALIASES: dict[str, tuple[str, str]] = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}
_ARCHITECTURES = frozenset(
    ("386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x")
)
_OS_ALIASES = {"macos": "darwin"}
_DEFAULT_VARIANTS = {("amd64", "v1"), ("arm64", "v8"), ("arm64", "8")}


class Platform(Record, order=True):
    """An operating system, an architecture and perhaps a variant, in Go's spelling."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = field(default=(), compare=False)
    """What the system has to have (``win32k``); two platforms are the same without it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``os[(version)]/arch[/variant]``, or an architecture or ``linux`` alone.

        Raises:
            InvalidPlatformError: empty or malformed parts.
        """
        parts = text.strip().lower().split("/")
        os_part, os_version = _split_version(parts[0])
        parts[0] = os_part
        if len(parts) > 3 or not all(re.match(_PART, part) for part in parts):
            raise InvalidPlatformError(
                f"invalid platform {text!r}",
                fix="write os/arch or os/arch/variant, e.g. linux/arm64",
            )
        if len(parts) > 1 and (parts[0] in _ARCHITECTURES or parts[0] in _ARCH_ALIASES):
            raise InvalidPlatformError(
                f"invalid platform {text!r}: {parts[0]} is an architecture",
                fix=f"write linux/{text.strip()}",
            )
        if len(parts) == 1:
            known_os = parts[0] in ("linux", "windows", "darwin", "macos", "freebsd")
            parts = [parts[0], cls.host().architecture] if known_os else ["linux", parts[0]]
        return cls.normalised(parts[0], parts[1], parts[2] if len(parts) == 3 else "", os_version)

    @classmethod
    def parse_list(cls, values: Iterable[str]) -> tuple[Self, ...]:
        """Parse ``a,b`` and repeated values: in order, each once; ``local`` is this machine's.

        Raises:
            InvalidPlatformError: one of them is empty or malformed.
        """
        names = [name.strip() for value in values for name in value.split(",")]
        found = (cls.host() if name == "local" else cls.parse(name) for name in names)
        return tuple(dict.fromkeys(found))

    @classmethod
    def normalised(
        cls, os_name: str, architecture: str, variant: str = "", os_version: str = ""
    ) -> Self:
        """Fold aliases: ``x86_64`` is ``amd64``, ``arm64/v8`` is ``arm64``.

        ``arm`` without a variant is ``arm/v7``.
        """
        os_name = _OS_ALIASES.get(os_name, os_name)
        alias = _ARCH_ALIASES.get(architecture)
        if alias is not None:
            architecture, variant = alias[0], variant or alias[1]
        if (architecture, variant) in _DEFAULT_VARIANTS:
            variant = ""
        if architecture == "arm":
            variant = variant or "v7"
            variant = variant if variant.startswith("v") else f"v{variant}"
        return cls(os_name, architecture, variant, os_version)

    @classmethod
    def host(cls) -> Self:
        """The platform of the running kernel."""
        return cls.normalised("linux", os.uname().machine)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a descriptor's ``platform`` object, or the same fields of an image config."""
        found = cls.normalised(
            str(data.get("os", "linux")),
            str(data.get("architecture", "")),
            str(data.get("variant", "")),
            str(data.get("os.version", "")),
        )
        features = data.get("os.features")
        if not isinstance(features, list) or not features:
            return found
        return replace(found, os_features=tuple(map(str, features)))

    def on_system(self, os_version: str, os_features: tuple[str, ...]) -> Self:
        """This platform with what is known of its system, unless it says so itself already."""
        changes: dict[str, Any] = {}
        if os_version and not self.os_version:
            changes["os_version"] = os_version
        if os_features and not self.os_features:
            changes["os_features"] = os_features
        return replace(self, **changes) if changes else self

    def to_json(self) -> dict[str, Any]:
        """The ``platform`` object of a descriptor."""
        data: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            data["os.version"] = self.os_version
        if self.os_features:
            data["os.features"] = list(self.os_features)
        if self.variant:
            data["variant"] = self.variant
        return data

    def matches(self, wanted: Platform) -> bool:
        """Whether content of this platform may be used where ``wanted`` was asked for."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        return not wanted.variant or not self.variant or self.variant == wanted.variant

    def __str__(self) -> str:
        version = f"({self.os_version})" if self.os_version else ""
        return "/".join(filter(None, (f"{self.os}{version}", self.architecture, self.variant)))


def _split_version(text: str) -> tuple[str, str]:
    if text.endswith(")") and "(" in text:
        name, _, version = text[:-1].partition("(")
        return name, version
    return text, ""
