"""Sizes, processor shares and other numbers of flags. docker/go-units ``RAMInBytes``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.options.errors import OptionError, invalid

MINIMUM_MEMORY = 6 << 20
CPU_PERIOD = 100_000
"""Microseconds; the period Docker sets a --cpus quota against."""

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([bkmgtp]?)i?b?\Z", re.IGNORECASE)
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_CPU_SET = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*\Z")


def parse_size(value: str, flag: str) -> int:
    """``512m``, ``1.5g``, ``100`` as bytes; units are powers of 1024.

    Raises:
        OptionError: not a size.
    """
    match = _SIZE.match(value.strip())
    if match is None:
        raise invalid(value, flag, f"invalid size: '{value}'", fix="write for example 512m or 1.5g")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def parse_memory(value: str) -> int:
    """--memory: a size of at least 6 MiB.

    Raises:
        OptionError: not a size, or too small to start anything.
    """
    size = parse_size(value, "-m, --memory")
    if size < MINIMUM_MEMORY:
        raise OptionError("Minimum memory limit allowed is 6MB", where="--memory")
    return size


def parse_swap(value: str, memory: int | None) -> int:
    """--memory-swap: memory plus swap in bytes, -1 without limit.

    Raises:
        OptionError: not a size, smaller than the memory limit, or given without one.
    """
    if value == "-1":
        return -1
    size = parse_size(value, "--memory-swap")
    if memory is None:
        raise OptionError(
            "You should always set the Memory limit when using Memoryswap limit",
            where="--memory-swap",
            fix="add --memory",
        )
    if size < memory:
        raise OptionError(
            "Minimum memoryswap limit should be larger than memory limit", where="--memory-swap"
        )
    return size


def parse_cpus(value: str, available: int) -> int:
    """--cpus as a quota in microseconds per ``CPU_PERIOD``.

    Raises:
        OptionError: not a number, or more than the machine has.
    """
    try:
        cpus = float(value)
    except ValueError as error:
        raise invalid(value, "--cpus", "failed to parse as a rational number") from error
    if not 0.01 <= cpus <= available:
        raise OptionError(
            f"range of CPUs is from 0.01 to {available:.2f}, "
            f"as there are only {available} CPUs available",
            where="--cpus",
        )
    return round(cpus * CPU_PERIOD)


def parse_cpu_set(value: str, flag: str) -> str:
    """``0-3,7`` as it is.

    Raises:
        OptionError: not a list of numbers and ranges.
    """
    if not _CPU_SET.match(value):
        raise OptionError(f"invalid value {value} for {flag.lstrip('-').replace('-', ' ')}")
    return value


def parse_integer(value: str, flag: str, *, low: int, high: int) -> int:
    """A whole number in a range.

    Raises:
        OptionError: not a number, or outside.
    """
    try:
        number = int(value, 10)
    except ValueError as error:
        raise invalid(value, flag, "invalid syntax", fix="give a whole number") from error
    if not low <= number <= high:
        raise OptionError(f"{flag} must be between {low} and {high}, not {number}", where=flag)
    return number


ULIMITS = (
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)
"""The names of --ulimit; ``RLIMIT_`` and the upper case make them getrlimit(2)'s."""


def parse_ulimits(values: Sequence[str]) -> dict[str, tuple[int, int]]:
    """``nofile=1024:2048`` as name to (soft, hard); -1 is without limit; the last of a name wins.

    Raises:
        OptionError: says what is wrong with which.
    """
    return dict(_parse_ulimit(value) for value in values)


def _parse_ulimit(value: str) -> tuple[str, tuple[int, int]]:
    name, equals, limits = value.partition("=")
    if not equals:
        raise invalid(value, "--ulimit", f"invalid ulimit argument: {value}", fix="name=soft:hard")
    if name not in ULIMITS:
        raise invalid(value, "--ulimit", f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise invalid(
            value,
            "--ulimit",
            f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`",
        )
    try:
        soft, hard = int(parts[0]), int(parts[-1])
    except ValueError as error:
        raise invalid(value, "--ulimit", f"invalid limit in {limits}") from error
    if hard != -1 and (soft > hard or soft == -1):
        raise invalid(
            value,
            "--ulimit",
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}",
        )
    return name, (soft, hard)
