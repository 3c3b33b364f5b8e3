"""The settings of users, rights, tokens and the audit log."""

from __future__ import annotations

import enum
import hashlib
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from records import Record, field
from registry.access.certificates.settings import CertificateSettings
from registry.access.ldap.settings import LdapSettings
from registry.access.oidc.settings import IssuerSettings
from registry.access.patterns import pattern_problem
from registry.configuration.declare import Duration, refuse
from registry.errors import RegistryConfigError

_QUOTABLE: Final = re.compile(r'[^"\\\x00-\x1f\x7f]+\Z')
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(:[0-9]{1,5})?\Z|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?\Z")


class Challenge(enum.Enum):
    """What a client without credentials is asked for; both are taken."""

    BEARER = "bearer"
    BASIC = "basic"


class Algorithm(enum.Enum):
    """How tokens are signed (RFC 7518, RFC 8037)."""

    ES256 = "ES256"
    EDDSA = "EdDSA"
    RS256 = "RS256"


class Right(enum.Enum):
    """What a rule gives or takes; ``admin`` includes the others, ``*`` is all four."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    ADMIN = "admin"
    ALL = "*"


class Effect(enum.Enum):
    """What a rule does where it applies; a denial outweighs every permission."""

    ALLOW = "allow"
    DENY = "deny"


class RuleSettings(Record):
    """One rule: who may, or may not, do what in which repositories."""

    repositories: Annotated[
        tuple[str, ...],
        "Patterns: * within a path segment, ** across segments, {user} the caller's name",
    ]
    actions: Annotated[tuple[Right, ...], "pull, push, delete, admin, or *"]
    users: Annotated[tuple[str, ...], "Names of users; * is every user, robots excluded"] = ()
    groups: Annotated[tuple[str, ...], "Names of groups; SOURCE/NAME is an outside source's"] = ()
    robots: Annotated[tuple[str, ...], "Names of robots; * is every robot"] = ()
    outside: Annotated[
        tuple[str, ...],
        "Whom outside sources vouch for, SOURCE/NAME each; * is any text: github/repo:our-org/*",
    ] = ()
    anonymous: Annotated[bool, "Whether it holds for clients without credentials"] = False
    effect: Annotated[Effect, "allow or deny; a denial outweighs every permission"] = Effect.ALLOW
    name: Annotated[str, "What explanations and the audit log call it"] = ""

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        for pattern in self.repositories:
            problem = pattern_problem(pattern)
            if problem is not None:
                yield RegistryConfigError(
                    f"{pattern!r}: {problem}",
                    where="repositories",
                    fix="write a repository name with *, ** or a whole segment {user}",
                )
        for name in ("repositories", "actions"):
            if not getattr(self, name):
                yield RegistryConfigError("a rule needs at least one of these", where=name)
        for number, pattern in enumerate(self.outside):
            if not all(pattern.partition("/")):
                yield RegistryConfigError(
                    f"{pattern!r} is not SOURCE/NAME",
                    where=f"outside[{number}]",
                    fix="write the name of the issuer or directory, a slash, and a name or *",
                )
        if not (self.users or self.groups or self.robots or self.outside or self.anonymous):
            yield RegistryConfigError(
                "the rule applies to nobody",
                where="users",
                fix="name users, groups, robots or outside people, or set anonymous;"
                ' users = ["*"] is every user',
            )


class GroupSettings(Record):
    """Users under one name, for rules."""

    name: Annotated[str, "What rules call it"]
    users: Annotated[tuple[str, ...], "Its members"]


class TokenSettings(Record):
    """The token server, on the registry's own address."""

    service: Annotated[str, "The audience of tokens"] = "lading"
    issuer: Annotated[str, "The issuer of tokens"] = "lading"
    algorithm: Annotated[Algorithm, "How tokens are signed with keys made here"] = Algorithm.ES256
    key: Annotated[Path | None, "Private key (PEM) to sign with; unset makes and rotates one"] = (
        None
    )
    key_lifetime: Annotated[Duration, "How long a key made here signs"] = 90 * 86400.0
    lifetime: Annotated[Duration, "How long a token lasts; at least 60s"] = 300.0
    refresh_lifetime: Annotated[Duration, "How long a refresh token lasts"] = 30 * 86400.0
    personal_lifetime: Annotated[
        Duration, "Longest life of access tokens that people make on the pages; 0 offers none"
    ] = 90 * 86400.0

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        for name in ("service", "issuer"):
            if not _QUOTABLE.match(getattr(self, name)):
                yield RegistryConfigError("it cannot be quoted in a header", where=name)
        if self.lifetime < 60:
            yield RegistryConfigError(
                "clients take a shorter token for one of 60 seconds", where="lifetime"
            )
        for name in ("refresh_lifetime", "key_lifetime"):
            if getattr(self, name) < self.lifetime:
                yield RegistryConfigError("it must outlast a token", where=name)
        if self.personal_lifetime < 0:
            yield RegistryConfigError("it must not be negative", where="personal_lifetime")


class RateSettings(Record):
    """Requests a second that all workers together take, averaged; unset is no limit."""

    user: Annotated[float | None, "Of each user or robot"] = None
    address: Annotated[float | None, "Of each client address"] = None
    anonymous: Annotated[float | None, "Of each client address without credentials"] = None
    burst: Annotated[float, "Seconds' worth of requests that may come at once"] = 5.0

    def __post_init__(self) -> None:
        for name in ("user", "address", "anonymous", "burst"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RegistryConfigError(f"{name} must be positive", where=name)


class AuditSettings(Record):
    """The audit log: one JSON object a line for each decision that matters."""

    path: Annotated[Path | None, "File to append to, opened again on SIGHUP; unset is none"] = None
    pulls: Annotated[bool, "Whether permitted pulls are written down, too"] = False


class AccessSettings(Record):
    """Who may do what."""

    htpasswd: Annotated[
        Path | None,
        "Users (bcrypt entries); unset takes access/htpasswd below root, if it is there",
    ] = None
    anonymous_pull: Annotated[bool, "Let everybody pull everything; users push"] = False
    realm: Annotated[str, "What a client shows when it asks for a password"] = "lading registry"
    challenge: Annotated[
        Challenge, "What clients are asked for: bearer (tokens) or basic; both are taken"
    ] = Challenge.BEARER
    public_url: Annotated[
        str | None,
        "Where clients reach the registry, when a proxy stands before it: https://HOST[:PORT]",
    ] = None
    served_hosts: Annotated[
        tuple[str, ...],
        "HOST[:PORT]s by which clients may call the registry; called by another, challenges and"
        " redirects name the first. Unset names what the client called",
    ] = ()
    host_names: Annotated[
        tuple[str, ...],
        "HOST[:PORT]s by which images are named here; unset takes what the client called",
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], "Addresses or networks whose X-Forwarded-For is believed"
    ] = ()
    rules: Annotated[
        tuple[RuleSettings, ...],
        "Who may do what; without rules every user may pull, push and delete everything",
    ] = ()
    groups: Annotated[tuple[GroupSettings, ...], "Users under one name, for rules"] = ()
    issuer: Annotated[tuple[IssuerSettings, ...], "Others whose signed tokens are taken"] = ()
    ldap: Annotated[tuple[LdapSettings, ...], "Directories whose people log in here"] = ()
    certificate: Annotated[
        tuple[CertificateSettings, ...], "Whom client certificates name; tls.client_auth asks"
    ] = ()
    tokens: TokenSettings = field(default_factory=TokenSettings)
    rate: RateSettings = field(default_factory=RateSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not _QUOTABLE.match(self.realm) or not self.realm.isprintable():
            yield RegistryConfigError("the realm cannot be quoted in a header", where="realm")
        if self.public_url is not None and not _is_origin(self.public_url):
            yield RegistryConfigError(
                f"{self.public_url!r} is no origin",
                where="public_url",
                fix="write https://HOST[:PORT], without a path",
            )
        for name in ("served_hosts", "host_names"):
            for host in getattr(self, name):
                if not _HOST.match(host):
                    yield RegistryConfigError(f"{host!r} is not HOST[:PORT]", where=name)
        for proxy in self.trusted_proxies:
            if not _is_network(proxy):
                yield RegistryConfigError(
                    f"{proxy!r} is no address and no network",
                    where="trusted_proxies",
                    fix="write 10.0.0.7 or 10.0.0.0/8",
                )
        yield from self._unknown_groups()
        yield from self._wrong_sources()

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of all outside sources."""
        issuers, directories = (one.name for one in self.issuer), (one.name for one in self.ldap)
        return (*issuers, *directories, *(one.name for one in self.certificate))

    @property
    def token_server(self) -> tuple[str, str] | None:
        """Address and service of the token server that clients are sent to; None for our own."""
        return next(((one.realm, one.audience) for one in self.issuer if one.realm), None)

    def fingerprint_of(self, source: str) -> str | None:
        """What logins by an outside source are bound to; None when it is not configured now."""
        bound = {one.name: (one.issuer, one.audience) for one in self.issuer}
        bound |= {one.name: (one.url, one.user_dn or one.base or "") for one in self.ldap}
        bound |= {one.name: (one.field.value, one.pattern or "") for one in self.certificate}
        if source not in bound:
            return None
        return hashlib.sha256("\0".join(bound[source]).encode()).hexdigest()[:16]

    def _wrong_sources(self) -> Iterator[RegistryConfigError]:
        for name in {name for name in self.sources if self.sources.count(name) > 1}:
            yield RegistryConfigError(f"two outside sources are called {name!r}", where="issuer")
        for number, rule in enumerate(self.rules):
            for pattern in rule.outside:
                if pattern.partition("/")[0] not in self.sources:
                    yield RegistryConfigError(
                        f"{pattern!r}: no outside source of that name",
                        where=f"rules[{number}].outside",
                        fix="there are: " + (", ".join(self.sources) or "none"),
                    )

    def _unknown_groups(self) -> Iterator[RegistryConfigError]:
        names = [group.name for group in self.groups]
        for name in names:
            if name.partition("/")[0] in self.sources and "/" in name:
                yield RegistryConfigError(
                    f"{name!r} is a name for groups of an outside source", where="groups"
                )
        for name in {name for name in names if names.count(name) > 1}:
            yield RegistryConfigError(f"the group {name!r} is there twice", where="groups")
        for number, rule in enumerate(self.rules):
            for name in rule.groups:
                source, slash, _ = name.partition("/")
                if name not in names and not (slash and source in self.sources):
                    yield RegistryConfigError(
                        f"no such group: {name}",
                        where=f"rules[{number}].groups",
                        fix="declare it under groups",
                    )


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("http", "https") and bare and _HOST.match(parts.netloc) is not None


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
