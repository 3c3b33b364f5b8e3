"""What RUN may use, from the flags of ``lading build``: the readers are those of ``lading run``."""

from __future__ import annotations

from typing import Any

from builder.runner import Dns, Resources, Ulimit
from engine.containers.limits import resources
from engine.options.isolation import parse_cgroup_parent
from engine.options.naming import name_servers
from engine.options.numbers import parse_size, parse_ulimits
from engine.run_options import RunOptions
from records import field_names

FIELDS = (
    "shm_size",
    "ulimits",
    "cgroup_parent",
    "memory",
    "memory_swap",
    "cpus",
    "cpu_shares",
    "cpu_period",
    "cpu_quota",
    "cpuset_cpus",
    "cpuset_mems",
    "dns",
    "dns_search",
    "dns_option",
)
"""The flags that are read here."""


def make_resources(flags: dict[str, Any]) -> Resources:
    """The limits of every RUN.

    Raises:
        OptionError: a value is malformed, or two contradict each other.
    """
    shm_size, parent = flags["shm_size"], flags["cgroup_parent"]
    shared = {name: flags[name] for name in FIELDS if name in field_names(RunOptions)}
    limits = resources(RunOptions(image="", **shared))
    ulimits = parse_ulimits(flags["ulimits"])
    return Resources(
        shm_size=parse_size(shm_size, "--shm-size") if shm_size else 0,
        ulimits=tuple(Ulimit(name, *pair) for name, pair in ulimits.items()),
        cgroup_parent=parse_cgroup_parent(parent) if parent else "",
        dns=Dns(name_servers(flags["dns"]), flags["dns_search"], flags["dns_option"]),
        **limits,
    )
