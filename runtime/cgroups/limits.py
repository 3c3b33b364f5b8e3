"""Resource limits as the files to write, for either version. Pure.

v1 to v2 conversions follow runc 1.4: memory.swap.max is swap minus memory, cpu.weight is the
logarithmic curve on which 1024 shares are weight 100.
"""

from __future__ import annotations

import math

from runtime.config import DeviceRule, Resources


def v1_files(controller: str, resources: Resources) -> list[tuple[str, str]]:
    """(file name, value) for one v1 controller, in writing order."""
    if controller == "memory":
        return _v1_memory(resources)
    if controller == "devices":
        return [
            ("devices.allow" if rule.allow else "devices.deny", device_line(rule))
            for rule in resources.devices
        ]
    table: dict[str, list[tuple[str, int | str | None]]] = {
        "cpu": [
            ("cpu.shares", resources.cpu_shares),
            ("cpu.cfs_period_us", resources.cpu_period),
            ("cpu.cfs_quota_us", resources.cpu_quota),
        ],
        "cpuset": [
            ("cpuset.cpus", resources.cpuset_cpus),
            ("cpuset.mems", resources.cpuset_mems),
        ],
        "pids": [("pids.max", pids_max(resources))],
    }
    wanted = table.get(controller, [])
    return [(name, str(value)) for name, value in wanted if value is not None]


def _v1_memory(resources: Resources) -> list[tuple[str, str]]:
    files = [
        ("memory.soft_limit_in_bytes", resources.memory_reservation),
        ("memory.limit_in_bytes", resources.memory_limit),
        ("memory.memsw.limit_in_bytes", resources.memory_swap),
    ]
    return [(name, str(value)) for name, value in files if value is not None]


def v2_files(resources: Resources) -> list[tuple[str, str]]:
    """(file name, value) on the unified hierarchy; ``unified`` entries come last and win."""
    files: list[tuple[str, str]] = []
    if resources.memory_limit is not None:
        files.append(("memory.max", _or_max(resources.memory_limit)))
    if resources.memory_swap is not None:
        swap = resources.memory_swap
        rest = swap if swap < 0 else swap - max(resources.memory_limit or 0, 0)
        files.append(("memory.swap.max", _or_max(rest)))
    if resources.memory_reservation is not None:
        files.append(("memory.low", _or_max(resources.memory_reservation)))
    if resources.cpu_shares:
        files.append(("cpu.weight", str(cpu_weight(resources.cpu_shares))))
    if resources.cpu_quota is not None or resources.cpu_period is not None:
        quota = _or_max(-1 if not resources.cpu_quota else resources.cpu_quota)
        files.append(("cpu.max", f"{quota} {resources.cpu_period or 100000}"))
    if resources.cpuset_cpus is not None:
        files.append(("cpuset.cpus", resources.cpuset_cpus))
    if resources.cpuset_mems is not None:
        files.append(("cpuset.mems", resources.cpuset_mems))
    limit = pids_max(resources)
    if limit is not None:
        files.append(("pids.max", limit))
    files.extend(resources.unified.items())
    return files


def cpu_weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for v1 ``cpu.shares`` (2 to 262144)."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def pids_max(resources: Resources) -> str | None:
    """The value of pids.max; zero and negative limits mean none."""
    if resources.pids_limit is None:
        return None
    return str(resources.pids_limit) if resources.pids_limit > 0 else "max"


def device_line(rule: DeviceRule) -> str:
    """One rule as cgroup v1's devices.allow and devices.deny take it."""
    if rule.type == "a":
        return "a"
    major = "*" if rule.major is None else str(rule.major)
    minor = "*" if rule.minor is None else str(rule.minor)
    return f"{rule.type} {major}:{minor} {rule.access}"


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)
