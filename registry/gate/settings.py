"""Settings of the pull gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from records import Record
from registry.configuration.declare import refuse
from registry.countersign.settings import is_host
from registry.errors import RegistryConfigError
from registry.rules import repository_problems


class GateRule(Record):
    """Serves manifests of some repositories only when they satisfy a policy."""

    repositories: Annotated[str, "Pattern of repositories; the first rule that fits decides"] = "**"
    policy: Annotated[
        Path | None, "Policy file, as `lading trust` reads it; it and its keys again on SIGHUP"
    ] = None
    name: Annotated[str, "Host that signed names begin with, as clients write it"] = ""
    exempt_push: Annotated[bool, "Let who may push there read what is not signed yet"] = True

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        yield from repository_problems(self.repositories)
        if self.policy is None:
            yield RegistryConfigError(
                "a gate needs a policy",
                where="policy",
                fix="name a policy file; docs/trust.md has the syntax",
            )
        if not is_host(self.name):
            yield RegistryConfigError(
                f"{self.name!r} is no host that image names could begin with",
                where="name",
                fix="write what clients write, such as registry.example.com or host:5000",
            )
