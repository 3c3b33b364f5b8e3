"""Limits of a container from the flags that set them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from engine.options import numbers
from engine.options.errors import OptionError

if TYPE_CHECKING:
    from engine.run_options import RunOptions


def resources(options: RunOptions) -> dict[str, Any]:
    """The control group's limits, by the names of ``runtime.config.Resources``.

    Raises:
        OptionError: a value is malformed, or two contradict each other.
    """
    memory = numbers.parse_memory(options.memory) if options.memory else None
    swap = None
    if options.memory_swap:
        swap = numbers.parse_swap(options.memory_swap, memory)
    elif memory is not None:
        swap = 2 * memory
    reservation = _size(options.memory_reservation, "--memory-reservation")
    if reservation is not None and memory is not None and reservation > memory:
        raise OptionError(
            "Minimum memory limit can not be less than memory reservation limit", where="--memory"
        )
    quota, period = _quota(options)
    limits = {
        "memory_limit": memory,
        "memory_swap": swap,
        "memory_reservation": reservation,
        "cpu_shares": _integer(options.cpu_shares, "--cpu-shares", low=0, high=262144),
        "cpu_quota": quota,
        "cpu_period": period,
        "cpuset_cpus": _cpu_set(options.cpuset_cpus, "--cpuset-cpus"),
        "cpuset_mems": _cpu_set(options.cpuset_mems, "--cpuset-mems"),
        "pids_limit": _pids(options.pids_limit),
    }
    return {name: value for name, value in limits.items() if value is not None}


def rlimits(values: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """The process limits of --ulimit: name, soft, hard.

    Raises:
        OptionError: malformed.
    """
    parsed = numbers.parse_ulimits(values)
    return [(f"RLIMIT_{name.upper()}", soft, hard) for name, (soft, hard) in parsed.items()]


def _quota(options: RunOptions) -> tuple[int | None, int | None]:
    quota = _integer(options.cpu_quota, "--cpu-quota", low=-1, high=1 << 40)
    period = _integer(options.cpu_period, "--cpu-period", low=1000, high=1_000_000)
    if not options.cpus:
        return quota, period
    if quota is not None or period is not None:
        given = "Nano CPUs and CPU Period" if period is not None else "Nano CPUs and CPU Quota"
        raise OptionError(f"Conflicting options: {given} cannot both be set", where="--cpus")
    return numbers.parse_cpus(options.cpus, os.cpu_count() or 1), numbers.CPU_PERIOD


def _pids(value: str | None) -> int | None:
    number = _integer(value, "--pids-limit", low=-1, high=1 << 22)
    return None if number in (0, -1) else number


def _size(value: str | None, flag: str) -> int | None:
    return numbers.parse_size(value, flag) if value else None


def _integer(value: str | None, flag: str, *, low: int, high: int) -> int | None:
    return numbers.parse_integer(value, flag, low=low, high=high) if value else None


def _cpu_set(value: str | None, flag: str) -> str | None:
    return numbers.parse_cpu_set(value, flag) if value else None
