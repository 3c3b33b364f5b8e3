"""The settings of outside token issuers."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from records import Record, field
from registry.configuration.declare import Duration, refuse
from registry.errors import RegistryConfigError

SOURCE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}\Z")
"""What an outside source may be called: it stands before a slash in names and rules."""

_FIELD: Final = re.compile(r"\{([^{}]+)\}")
_QUOTABLE: Final = re.compile(r'[^"\\\x00-\x1f\x7f]+\Z')
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")
_TITLE: Final = 60


class OutsideAlgorithm(enum.Enum):
    """How outside tokens may be signed: by public keys only (RFC 7518, RFC 8037)."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"


class BrowserLoginSettings(Record):
    """How people log in at an issuer with their browsers (OpenID Connect, code flow)."""

    client_id: Annotated[
        str | None, "What the issuer calls this registry; unset offers no login in browsers"
    ] = None
    client_secret_file: Annotated[
        Path | None, "File with the client's secret; unset is a public client, by PKCE alone"
    ] = None
    scopes: Annotated[tuple[str, ...], "What is asked for; openid always is"] = (
        "openid",
        "profile",
        "email",
    )
    title: Annotated[str, "What the link on the login page says; the issuer's name by default"] = ""

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if self.client_id is None:
            if self.client_secret_file is not None:
                yield RegistryConfigError("a secret of no client", where="client_secret_file")
            return
        if not self.client_id or not _QUOTABLE.match(self.client_id):
            yield RegistryConfigError("it is no name of a client", where="client_id")
        for number, scope in enumerate(self.scopes):
            if not _SCOPE.match(scope):
                yield RegistryConfigError(
                    f"{scope!r} is no scope (RFC 6749, section 3.3)", where=f"scopes[{number}]"
                )
        if not self.title.isprintable() or len(self.title) > _TITLE:
            yield RegistryConfigError("it cannot be shown on a button", where="title")


class IssuerSettings(Record):
    """Somebody else who signs tokens that this registry takes."""

    name: Annotated[str, "What rules call it: its people are NAME/..."]
    issuer: Annotated[str, "Its URL, exactly as the iss claim has it"]
    audience: Annotated[str, "What the aud claim of its tokens has to contain"]
    subjects: Annotated[
        tuple[str, ...], "Patterns of sub claims that are taken; * is any text: repo:our-org/*"
    ]
    require: Annotated[
        tuple[str, ...], "Further claims as CLAIM=PATTERN, all of which have to match"
    ] = ()
    jwks: Annotated[
        str | None, "URL of its keys (JWK Set); unset asks the issuer's discovery document"
    ] = None
    jwks_file: Annotated[Path | None, "File of its keys instead, read again when it changes"] = None
    ca: Annotated[Path | None, "Certificates (PEM) to trust for it instead of the system's"] = None
    algorithms: Annotated[tuple[OutsideAlgorithm, ...], "Signatures that are taken"] = (
        OutsideAlgorithm.RS256,
        OutsideAlgorithm.ES256,
        OutsideAlgorithm.EDDSA,
    )
    user: Annotated[str, "The name, with claims in braces: {sub}, {repository}"] = "{sub}"
    groups: Annotated[
        tuple[str, ...], "Groups made of claims: owner-{repository_owner}; left out without them"
    ] = ()
    groups_claim: Annotated[
        str | None, "The claim that lists groups; dots lead into objects: realm_access.roles"
    ] = None
    grants: Annotated[
        bool,
        "Whether its access claim decides alone, except for rules that deny; else both must allow",
    ] = False
    realm: Annotated[
        str | None, "Its token server, where clients without credentials are sent instead of ours"
    ] = None
    keys_refresh: Annotated[Duration, "How often its keys are asked for again"] = 60.0
    keys_stale: Annotated[Duration, "How long known keys count while it does not answer"] = 3600.0
    timeout: Annotated[Duration, "How long it may take to answer"] = 5.0
    login: BrowserLoginSettings = field(default_factory=BrowserLoginSettings)

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not SOURCE_NAME.match(self.name):
            yield RegistryConfigError(
                f"{self.name!r} cannot stand before a slash",
                where="name",
                fix="take up to 32 of a-z, 0-9, '.', '_' and '-'",
            )
        if not self.audience or not _QUOTABLE.match(self.audience):
            yield RegistryConfigError(
                "without an audience, tokens made for anybody would be taken",
                where="audience",
                fix="write what the aud claim has when a token is meant for this registry",
            )
        for name in ("subjects", "algorithms"):
            if not getattr(self, name):
                yield RegistryConfigError("nothing would be taken", where=name)
        for number, text in enumerate(self.require):
            claim, equals, pattern = text.partition("=")
            if not (claim and equals and pattern):
                yield RegistryConfigError("it is not CLAIM=PATTERN", where=f"require[{number}]")
        for number, template in enumerate((self.user, *self.groups)):
            if not fields_of(template):
                where = "user" if number == 0 else f"groups[{number - 1}]"
                yield RegistryConfigError(
                    "everybody would be the same", where=where, fix="name a claim: {sub}"
                )
        if self.jwks is not None and self.jwks_file is not None:
            yield RegistryConfigError("its keys come from jwks or jwks_file", where="jwks_file")
        yield from self._unsafe_urls()
        for name in ("keys_refresh", "keys_stale", "timeout"):
            if getattr(self, name) <= 0:
                yield RegistryConfigError("it must be positive", where=name)

    def _unsafe_urls(self) -> Iterator[RegistryConfigError]:
        urls = {"issuer": self.issuer, "jwks": self.jwks, "realm": self.realm}
        if (self.jwks or self.jwks_file) and self.login.client_id is None:
            # With keys from elsewhere the issuer is a mere word to compare; many are no URLs.
            del urls["issuer"]
        for name, url in urls.items():
            if url is None:
                continue
            if not is_safe_url(url):
                yield RegistryConfigError(
                    f"{url!r} is no https URL",
                    where=name,
                    fix="write https://...; http is taken for addresses of this machine alone",
                )


def is_safe_url(url: str) -> bool:
    """Whether nobody in between can answer for it: https, or http within this machine."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc or not _QUOTABLE.match(url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fields_of(template: str) -> tuple[str, ...]:
    """The claims that a template names, in order."""
    return tuple(_FIELD.findall(template))
