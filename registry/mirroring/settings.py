"""Settings of mirrors."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from images.reference import is_repository
from records import Record
from registry.configuration.declare import Duration, file_problems, refuse
from registry.errors import RegistryConfigError
from registry.mirroring.versions import range_matcher
from registry.proxy.settings import ProxyRule, pattern_problems, remote_problems

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")


class Direction(enum.Enum):
    """Which way a mirror copies."""

    PULL = "pull"
    PUSH = "push"


class MirrorRule(Record):
    """Copies repositories between this registry and another one, again and again."""

    name: Annotated[str, "What commands, metrics and the log call it"] = ""
    upstream: Annotated[str, "The other registry: host[:port][/path], such as docker.io"] = ""
    direction: Annotated[Direction, "pull brings from there, push brings there"] = Direction.PULL
    prefix: Annotated[str, "How the names here begin, before those of the other registry"] = ""
    repositories: Annotated[
        tuple[str, ...], "Names there for pull; patterns of names here, after prefix, for push"
    ] = ()
    tags: Annotated[tuple[str, ...], "Patterns of tags: * ? [a-z]; one that fits is enough"] = (
        "*",
    )
    versions: Annotated[str, "Of these, only versions in a range, such as >=1.2 <2"] = ""
    interval: Annotated[Duration, "From the beginning of one run to that of the next"] = 3600.0
    policy: Annotated[
        Path | None, "Copy only what satisfies this policy, as `lading trust` reads it"
    ] = None
    referrers: Annotated[bool, "Copy signatures, SBOMs and what else refers to an image"] = True
    delete: Annotated[bool, "Delete tags here that the other registry has no more"] = False
    username: Annotated[str, "Our user there"] = ""
    password_file: Annotated[Path | None, "File with that user's password"] = None
    auth_file: Annotated[
        Path | None, "File with credentials, as `docker login` or `podman login` write it"
    ] = None
    realms: Annotated[
        tuple[str, ...], "Hosts of its token servers that may get the credentials, beside its own"
    ] = ()
    insecure: Annotated[bool, "Allow plain HTTP, or a certificate that nobody vouches for"] = False
    timeout: Annotated[Duration, "How long it may be silent"] = 60.0

    def __post_init__(self) -> None:
        refuse(self._problems())

    @property
    def start(self) -> str:
        """How the names here begin: the prefix with its slash, "" for all names."""
        return self.prefix.rstrip("/") + "/" if self.prefix else ""

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not _NAME.match(self.name):
            yield RegistryConfigError(
                f"{self.name!r} is no name of a mirror",
                where="name",
                fix="write lowercase letters, digits, - and _",
            )
        yield from remote_problems(self)
        if self.prefix and not is_repository(self.prefix.removesuffix("/")):
            yield RegistryConfigError(
                f"{self.prefix!r} is no beginning of repository names", where="prefix"
            )
        if not self.repositories:
            yield RegistryConfigError("a mirror needs repositories", where="repositories")
        try:
            range_matcher(self.versions)
        except ValueError as error:
            yield RegistryConfigError(
                f"{error} is no bound of versions",
                where="versions",
                fix="write bounds such as >=1.2 <2, of up to three numbers each",
            )
        if self.interval <= 0:
            yield RegistryConfigError("the time must be longer than nothing", where="interval")
        if self.direction is Direction.PUSH:
            yield from self._problems_of_push()
            return
        for name in self.repositories:
            if not is_repository(name):
                yield RegistryConfigError(
                    f"{name!r} is no name of a repository",
                    where="repositories",
                    fix="name each; registries do not list theirs to everybody",
                )
        yield from file_problems("policy", self.policy)

    def _problems_of_push(self) -> Iterator[RegistryConfigError]:
        yield from pattern_problems("repositories", self.repositories)
        if self.policy is not None:
            yield RegistryConfigError(
                "a policy is for what is pulled", where="policy", fix="put a gate over there"
            )
        if self.delete:
            yield RegistryConfigError("nothing is deleted in other registries", where="delete")


def mirror_problems(
    rules: tuple[MirrorRule, ...], proxies: tuple[ProxyRule, ...]
) -> Iterator[RegistryConfigError]:
    """Two mirrors of one name, and mirrors that bring to where a cache does."""
    for place, rule in enumerate(rules):
        names = [rule.start + name for name in rule.repositories]
        pulls = rule.direction is Direction.PULL
        if pulls and any(name.startswith(it.start) for name in names for it in proxies):
            yield RegistryConfigError(
                "the mirror brings to where a [[proxy]] does",
                where=f"mirror.{place}.prefix",
                fix="give them different prefixes",
            )
    names = [rule.name for rule in rules]
    for place, name in enumerate(names):
        if name in names[:place]:
            yield RegistryConfigError(f"two mirrors are {name!r}", where=f"mirror.{place}.name")
