"""Settings of the pull-through cache, and what it shares with mirrors: how to reach a registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Protocol

from images.reference import is_repository
from records import Record
from registry.access.patterns import OWN, pattern_problem
from registry.configuration.declare import Duration, file_problems, refuse
from registry.countersign.settings import is_host
from registry.errors import RegistryConfigError


class Remote(Protocol):
    """How another registry is reached, and who we are there."""

    @property
    def upstream(self) -> str:
        """``host[:port][/path]``."""
        ...

    @property
    def username(self) -> str:
        """Our name there, "" for none."""
        ...

    @property
    def password_file(self) -> Path | None:
        """File with the password of ``username``."""
        ...

    @property
    def auth_file(self) -> Path | None:
        """File of docker's or containers' form with credentials for the host."""
        ...

    @property
    def insecure(self) -> bool:
        """Whether it may speak plain HTTP or show any certificate."""
        ...

    @property
    def realms(self) -> tuple[str, ...]:
        """Other hosts that may get the credentials, as its token servers."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that it may be silent."""
        ...


class ProxyRule(Record):
    """Brings what is asked for below ``prefix`` from another registry, and keeps it."""

    upstream: Annotated[str, "Where from: host[:port][/path], such as docker.io"] = ""
    prefix: Annotated[
        str, "How the names here begin, such as hub/; the longest that fits counts"
    ] = ""
    username: Annotated[str, "Our user there"] = ""
    password_file: Annotated[Path | None, "File with that user's password; again on SIGHUP"] = None
    auth_file: Annotated[
        Path | None, "File with credentials, as `docker login` or `podman login` write it"
    ] = None
    realms: Annotated[
        tuple[str, ...], "Hosts of its token servers that may get the credentials, beside its own"
    ] = ()
    insecure: Annotated[bool, "Allow plain HTTP, or a certificate that nobody vouches for"] = False
    timeout: Annotated[Duration, "How long it may be silent"] = 30.0
    check_interval: Annotated[Duration, "How long a tag is served without asking again"] = 300.0
    missing_interval: Annotated[Duration, "How long to believe that something is not there"] = 30.0
    allow: Annotated[tuple[str, ...], "Patterns of repositories there that may be asked for"] = (
        "**",
    )
    deny: Annotated[tuple[str, ...], "Patterns of repositories there that may not"] = ()
    stale_if_error: Annotated[
        bool, "Serve what is here while the other registry fails, with a Warning"
    ] = True
    offline: Annotated[bool, "Ask for nothing; serve what is here"] = False

    def __post_init__(self) -> None:
        refuse(self._problems())

    @property
    def start(self) -> str:
        """How names of this rule begin: the prefix with its slash, "" for all names."""
        return self.prefix.rstrip("/") + "/" if self.prefix else ""

    def _problems(self) -> Iterator[RegistryConfigError]:
        yield from remote_problems(self)
        if self.prefix and not is_repository(self.prefix.removesuffix("/")):
            yield RegistryConfigError(
                f"{self.prefix!r} is no beginning of repository names",
                where="prefix",
                fix="write lowercase path segments such as hub/",
            )
        for field in ("allow", "deny"):
            yield from pattern_problems(field, getattr(self, field))
        for field in ("check_interval", "missing_interval"):
            if getattr(self, field) < 0:
                yield RegistryConfigError("a duration must not be negative", where=field)


def remote_problems(remote: Remote) -> Iterator[RegistryConfigError]:
    """What is wrong with how a registry is to be reached."""
    host, slash, path = remote.upstream.partition("/")
    if not is_host(host) or (slash and not is_repository(path)):
        yield RegistryConfigError(
            f"{remote.upstream!r} is no registry, nor a place in one",
            where="upstream",
            fix="write host, host:port or host/path, without a scheme",
        )
    if bool(remote.username) != (remote.password_file is not None):
        yield RegistryConfigError(
            "a user and the file of the password go together",
            where="password_file" if remote.username else "username",
        )
    if remote.username and remote.auth_file is not None:
        yield RegistryConfigError("choose a user here or a file with one", where="auth_file")
    for field in ("password_file", "auth_file"):
        yield from file_problems(field, getattr(remote, field))
    for realm in remote.realms:
        if not is_host(realm):
            yield RegistryConfigError(
                f"{realm!r} is no host", where="realms", fix="write the host of a token server"
            )
    if remote.timeout <= 0:
        yield RegistryConfigError("the time must be longer than nothing", where="timeout")


def pattern_problems(field: str, patterns: tuple[str, ...]) -> Iterator[RegistryConfigError]:
    """What is wrong with patterns of repositories."""
    for pattern in patterns:
        problem = pattern_problem(pattern)
        if problem is None and OWN in pattern.split("/"):
            problem = f"{OWN} means nothing here"
        if problem is not None:
            yield RegistryConfigError(
                f"{pattern!r} is no pattern of repositories: {problem}",
                where=field,
                fix="write a name, with * within a segment and ** for any number of segments",
            )


def prefix_problems(rules: tuple[ProxyRule, ...]) -> Iterator[RegistryConfigError]:
    """Two rules for the same names."""
    seen: set[str] = set()
    for place, rule in enumerate(rules):
        if rule.start in seen:
            yield RegistryConfigError(
                f"two rules have the prefix {rule.prefix!r}", where=f"proxy.{place}.prefix"
            )
        seen.add(rule.start)
