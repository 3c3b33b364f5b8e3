"""Seccomp profiles from a file: Docker's format, made plain for the runtime.

Docker's profiles are the OCI object plus ``includes`` and ``excludes`` per rule (capabilities,
architectures, kernel version). A rule whose conditions do not hold for this container is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from typing import Any

from engine.options.errors import OptionError

_LIMIT = 4 << 20
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def read_profile(path: str, capabilities: Collection[str]) -> dict[str, Any]:
    """The OCI ``seccomp`` object of the profile in this file, for a container with
    ``capabilities``.

    Raises:
        OptionError: the file cannot be read or is not a profile.
    """
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(_LIMIT))
    except OSError as error:
        raise OptionError(
            f"opening seccomp profile ({path}) failed: {(error.strerror or '').lower()}",
            where="--security-opt",
        ) from error
    except ValueError as error:
        raise OptionError(
            f"decoding seccomp profile ({path}) failed: {error}", where="--security-opt"
        ) from error
    try:
        return plain_profile(document, capabilities, os.uname().machine, os.uname().release)
    except (AttributeError, TypeError, ValueError) as error:
        raise OptionError(
            f"seccomp profile {path} is malformed: {error}", where="--security-opt"
        ) from error


def plain_profile(
    document: Mapping[str, Any], capabilities: Collection[str], machine: str, kernel: str
) -> dict[str, Any]:
    """The profile without conditions; ``machine`` and ``kernel`` as uname(2) tells them."""
    facts = (set(capabilities), _ARCHITECTURES.get(machine, machine), _version(kernel))
    rules = []
    for rule in document.get("syscalls") or ():
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if not _all_hold(includes, *facts) or _any_holds(excludes, *facts):
            continue
        names = rule.get("names") or [rule["name"]]
        kept = {key: rule[key] for key in ("action", "errnoRet", "args") if key in rule}
        rules.append({**kept, "names": names})
    plain = {key: document[key] for key in ("defaultAction", "defaultErrnoRet") if key in document}
    return {**plain, "syscalls": rules}


def _all_hold(
    conditions: Mapping[str, Any],
    capabilities: set[str],
    architecture: str,
    kernel: tuple[int, ...],
) -> bool:
    return (
        capabilities.issuperset(conditions.get("caps") or ())
        and architecture in (conditions.get("arches") or (architecture,))
        and kernel >= _version(conditions.get("minKernel") or "0.0")
    )


def _any_holds(
    conditions: Mapping[str, Any],
    capabilities: set[str],
    architecture: str,
    kernel: tuple[int, ...],
) -> bool:
    return (
        not capabilities.isdisjoint(conditions.get("caps") or ())
        or architecture in (conditions.get("arches") or ())
        or ("minKernel" in conditions and kernel >= _version(conditions["minKernel"]))
    )


def _version(text: str) -> tuple[int, ...]:
    major, _, rest = text.partition(".")
    minor = "".join(letter if letter.isdecimal() else " " for letter in rest).split(" ")[0]
    return int(major), int(minor or 0)
