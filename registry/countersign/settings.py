"""Settings of countersigning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from images.errors import ImagesError
from images.reference import Reference
from records import Record
from registry.configuration.declare import refuse
from registry.errors import RegistryConfigError
from registry.rules import repository_problems


class CountersignSettings(Record):
    """Which manifests the registry signs with its own key, and as what it signs."""

    repositories: Annotated[tuple[str, ...], "Patterns of repositories; none by default"] = ()
    name: Annotated[str, "Host that signed names begin with, as clients write it"] = ""
    notation: Annotated[bool, "Sign in notation's format too"] = False
    subject: Annotated[str, "Subject of the certificate for notation"] = (
        "C=XX, ST=None, O=lading registry, CN=countersigner"
    )

    def __post_init__(self) -> None:
        refuse(self._problems())

    @property
    def enabled(self) -> bool:
        """Whether anything is signed."""
        return bool(self.repositories)

    def _problems(self) -> Iterator[RegistryConfigError]:
        for pattern in self.repositories:
            yield from repository_problems(pattern)
        if self.enabled and not is_host(self.name):
            yield RegistryConfigError(
                f"{self.name!r} is no host that image names could begin with",
                where="name",
                fix="write what clients write, such as registry.example.com or host:5000",
            )


def is_host(name: str) -> bool:
    """Whether image names can begin with ``name``, as it is written."""
    try:
        return bool(name) and Reference.parse(f"{name}/probe").registry == name
    except ImagesError:
        return False
