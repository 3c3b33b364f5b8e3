"""The settings of LDAP directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from records import Record
from registry.access.oidc.settings import SOURCE_NAME, is_loopback
from registry.configuration.declare import Duration, refuse
from registry.errors import RegistryConfigError

USER: Final = "{user}"
DN: Final = "{dn}"


class LdapSettings(Record):
    """A directory that knows people and their passwords."""

    name: Annotated[str, "What rules call it: its people are NAME/..., its groups NAME/..."]
    url: Annotated[str, "ldap://HOST[:PORT] or ldaps://HOST[:PORT]"]
    start_tls: Annotated[bool, "Whether a connection of ldap:// turns to TLS before anything"] = (
        False
    )
    ca: Annotated[Path | None, "Certificates (PEM) to trust for it instead of the system's"] = None
    user_dn: Annotated[
        str | None, "Where people are, to bind as them at once: uid={user},ou=people,dc=example"
    ] = None
    base: Annotated[str | None, "Where people are searched instead, by the service account"] = None
    filter: Annotated[str, "How they are searched (RFC 4515)"] = "(uid={user})"
    active: Annotated[
        str, "Filter that entries of people who may log in match; others are disabled"
    ] = "(objectClass=*)"
    name_attribute: Annotated[str, "The attribute with the name that rules know"] = "uid"
    bind_dn: Annotated[
        str | None, "Service account; without one, tokens last a minute, as nobody can look again"
    ] = None
    bind_password_file: Annotated[Path | None, "File with its password"] = None
    group_base: Annotated[
        str | None, "Where groups are searched; unset reads them from member_of"
    ] = None
    group_filter: Annotated[str, "How the groups of a person are searched"] = "(member={dn})"
    group_attribute: Annotated[str, "The attribute with a group's name"] = "cn"
    member_of: Annotated[str, "Attribute of people that lists the DNs of their groups"] = "memberOf"
    cache: Annotated[Duration, "How long an answer counts: so long somebody who left can go on"] = (
        10.0
    )
    timeout: Annotated[Duration, "How long it may take to answer"] = 5.0

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not SOURCE_NAME.match(self.name):
            yield RegistryConfigError(
                f"{self.name!r} cannot stand before a slash",
                where="name",
                fix="take up to 32 of a-z, 0-9, '.', '_' and '-'",
            )
        yield from self._wrong_url()
        if (self.user_dn is None) == (self.base is None):
            yield RegistryConfigError(
                "people are found by user_dn or below base: one of the two", where="user_dn"
            )
        if self.base is not None and self.bind_dn is None:
            yield RegistryConfigError(
                "a search needs a service account",
                where="bind_dn",
                fix="set bind_dn and bind_password_file, or user_dn instead of base",
            )
        if (self.bind_dn is None) != (self.bind_password_file is None):
            yield RegistryConfigError(
                "a service account has both a bind_dn and a bind_password_file", where="bind_dn"
            )
        for name, needed in (("user_dn", USER), ("filter", USER), ("group_filter", "{")):
            value = getattr(self, name)
            if value is not None and needed not in value:
                yield RegistryConfigError(f"it needs a {needed}", where=name)
        for name in ("filter", "active", "group_filter"):
            value = getattr(self, name)
            if not (value.startswith("(") and value.endswith(")")):
                yield RegistryConfigError("a filter stands in parentheses", where=name)
        for name in ("cache", "timeout"):
            if getattr(self, name) <= 0:
                yield RegistryConfigError("it must be positive", where=name)

    def _wrong_url(self) -> Iterator[RegistryConfigError]:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in ("ldap", "ldaps") or parts.path.strip("/"):
            yield RegistryConfigError(
                f"{self.url!r} is no directory's address", where="url", fix="write ldaps://HOST"
            )
        elif parts.scheme == "ldap" and not self.start_tls and not is_loopback(host):
            yield RegistryConfigError(
                "passwords would travel in the clear",
                where="url",
                fix="write ldaps://, or set start_tls",
            )
        elif parts.scheme == "ldaps" and self.start_tls:
            yield RegistryConfigError("ldaps:// is TLS already", where="start_tls")
