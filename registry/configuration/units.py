"""Durations and sizes as people write them: ``10m``, ``1h30m``, ``64KiB``, ``1.5GB``."""

from __future__ import annotations

import enum
import math
import re
from types import MappingProxyType
from typing import Final

_SECONDS: Final = MappingProxyType(
    {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
)
_BYTES: Final = MappingProxyType(
    {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    | {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)\Z")

DURATION_PATTERN: Final = r"^(\d+(\.\d+)?(ms|[smhdw]))+$"
SIZE_PATTERN: Final = r"^\d+(\.\d+)?\s*(([KkMmGgTt][Ii]?)?[Bb])?$"


class Unit(enum.Enum):
    """What a number counts, which decides how it may be written."""

    DURATION = "duration"
    SIZE = "size"


def parse_duration(text: str) -> float:
    """Seconds of ``10m`` or ``1h30m``; a bare number counts seconds.

    Raises:
        ValueError: it is neither.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size(text: str) -> int:
    """Bytes of ``5GiB``, ``1.5 MB`` or ``4096``; KiB counts 1024, kB 1000.

    Raises:
        ValueError: it is none of these.
    """
    match = _SIZE.match(text.strip())
    if match is None or match[2].lower() not in _BYTES:
        raise ValueError(text)
    unit = _BYTES[match[2].lower()]
    return round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration exactly."""
    for unit in ("w", "d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{seconds:g}s"


def format_size(size: int) -> str:
    """The shortest way to write a number of bytes exactly."""
    for name, unit in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)
