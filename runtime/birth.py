"""From a request to everything that a container's first process needs to know. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from records import Record
from runtime.cgroups import UNIFIED, Group
from runtime.config import Spec
from runtime.furniture import Furniture
from runtime.operations import Operation
from runtime.plan import Places, fits, plan
from runtime.process import Privileges, narrow
from runtime.request import ContainerRequest
from runtime.seccomp import compile_filter, oci_profile
from runtime.warm import Warm

STANDARD: Final = frozenset({"pid", "uts", "ipc", "network"})
"""Namespaces that a container is given before anybody asks for one."""


class Birth(Record):
    """A container about to start."""

    request: ContainerRequest
    spec: Spec
    operations: Sequence[Operation]
    mountpoint: str
    group: Group
    privileges: Privileges
    seccomp: bytes | None
    stdio: tuple[int, int, int]


def is_standard(spec: Spec, standard: Spec) -> bool:
    """Whether a process that was prepared for ``standard`` can become the first one of ``spec``.

    It has new namespaces of every kind in ``STANDARD``, and has set its kernel parameters.
    """
    own = {entry.type for entry in spec.linux.namespaces if entry.path is None}
    return own.issuperset(STANDARD) and standard.linux.sysctl.keys() <= spec.linux.sysctl.keys()


def places_of(state: str, group: Group, stubs: str | None = None) -> Places:
    """Where a container's mounts come from: its state directory, control groups and stubs."""
    mounted = tuple(entry for entry in group.directories if entry[0] != UNIFIED)
    unified = tuple(("", path) for _, path in group.directories)
    return Places(state, mounted or unified, group.links, stubs)


def conceive(
    message: Mapping[str, Any],
    spec: Spec,
    warm: Warm,
    *,
    group: Group,
    stubs: str | None,
    stdio: tuple[int, int, int],
    furniture: Furniture | None = None,
) -> Birth:
    """The birth that ``message`` asks for, with ``furniture`` if it fits.

    Raises:
        RuntimeFault: ``request-invalid`` or ``mount-refused``.
    """
    request = ContainerRequest.from_json(message["request"])
    state = f"{warm.runtime_dir}/containers/{request.id}"
    places = places_of(state, group, stubs)
    operations = plan(
        spec,
        request.rootfs,
        places,
        etc_files=request.etc_names(),
        secrets=request.secrets,
        terminal=bool(message["terminal"]),
        furniture=furniture
        if furniture is not None and fits(spec, request.secrets, furniture.standard)
        else None,
    )
    return Birth(
        request=request,
        spec=spec,
        operations=operations,
        mountpoint=f"{state}/rootfs",
        group=group,
        privileges=narrow(spec.process.capabilities, warm.held),
        seccomp=_filter(request, spec, warm),
        stdio=stdio,
    )


def _filter(request: ContainerRequest, spec: Spec, warm: Warm) -> bytes | None:
    if request.seccomp == "default":
        return warm.default_filter(spec.process.capabilities.effective)
    if request.seccomp == "unconfined" or spec.linux.seccomp is None:
        return None
    return compile_filter(oci_profile(spec.linux.seccomp), os.uname().machine)
