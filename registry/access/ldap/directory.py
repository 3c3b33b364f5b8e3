"""One LDAP directory, asked by blocking calls: who binds, who is there, which groups (RFC 4511).

Nothing that a client wrote reaches a filter or a DN unescaped (RFC 4515, RFC 4514). An empty
password is never sent: servers take it for an anonymous bind that succeeds (RFC 4513, 5.1.2).
Referrals are not followed, since they could lead passwords anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registry.access.ldap.settings import DN, USER, LdapSettings
from registry.errors import RegistryConfigError

if TYPE_CHECKING:
    from bonsai import LDAPClient, LDAPConnection, LDAPEntry

_LONGEST: Final = 255
_MOST_GROUPS: Final = 200
_BASE: Final = 0
_SUBTREE: Final = 2


class DirectoryError(Exception):
    """The directory gave no usable answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who was found: ``name`` as the directory writes it, groups by their plain names."""

    dn: str
    name: str
    groups: tuple[str, ...]


class Directory:
    """A directory under its settings; every call opens a connection of its own and closes it."""

    def __init__(self, settings: LdapSettings) -> None:
        """Raises RegistryConfigError: the library for LDAP is not installed."""
        try:
            import bonsai
        except ImportError as error:
            raise RegistryConfigError(
                "the library for LDAP is not installed",
                where="ldap",
                fix="pip install 'lading[ldap]', or take access.ldap out of the configuration",
            ) from error
        self.settings = settings
        self._ldap = bonsai

    def authenticate(self, user: str, password: str) -> Person | None:
        """Who this is; None when there is nobody of that name and password who may log in.

        Raises:
            DirectoryError: the directory cannot tell.
        """
        if not password or "\0" in password or not _is_name(user):
            return None
        if self.settings.base is None:
            with_password = (self._dn(user), password)
            connection = self._bound(with_password)
            return None if connection is None else self._own_entry(connection, with_password[0])
        person = self._search(_filled(self.settings.filter, USER, self._escaped(user)))
        if person is None:
            return None
        connection = self._bound((person.dn, password))
        if connection is None:
            return None
        connection.close()
        return person

    def find(self, name: str) -> Person | None:
        """The person of this name, looked up by the service account; None for nobody active.

        Raises:
            DirectoryError: the directory cannot tell.
        """
        if self.settings.base is None:
            return self._own_entry(self._service(), self._dn(name))
        return self._search(f"({self.settings.name_attribute}={self._escaped(name)})")

    def _own_entry(self, connection: LDAPConnection, dn: str) -> Person | None:
        with connection:
            entries = self._entries(connection, dn, _BASE, self.settings.active)
            return self._person(connection, entries)

    def _search(self, condition: str) -> Person | None:
        with self._service() as connection:
            wanted = f"(&{condition}{self.settings.active})"
            entries = self._entries(connection, self.settings.base or "", _SUBTREE, wanted)
            return self._person(connection, entries)

    def _person(self, connection: LDAPConnection, entries: Sequence[LDAPEntry]) -> Person | None:
        if len(entries) > 1:
            raise DirectoryError("it has several people of that name")
        if not entries:
            return None
        entry = entries[0]
        names = _texts(entry, self.settings.name_attribute)
        if not names or not _is_name(names[0]):
            raise DirectoryError(f"{self.settings.name_attribute} of a person is no name")
        dn = str(entry.dn)
        return Person(dn, names[0], self._groups(connection, entry, dn, names[0]))

    def _groups(
        self, connection: LDAPConnection, entry: LDAPEntry, dn: str, name: str
    ) -> tuple[str, ...]:
        settings = self.settings
        if settings.group_base is None:
            found = [self._first_value(text) for text in _texts(entry, settings.member_of)]
        else:
            wanted = _filled(settings.group_filter, DN, self._escaped(dn))
            wanted = _filled(wanted, USER, self._escaped(name))
            groups = self._entries(connection, settings.group_base, _SUBTREE, wanted)
            found = [text for group in groups for text in _texts(group, settings.group_attribute)]
        if len(found) > _MOST_GROUPS:
            # One that denies might be among those that were left out.
            raise DirectoryError(f"a person is in more than {_MOST_GROUPS} groups")
        return tuple(sorted({group for group in found if _is_name(group)}))

    def _entries(
        self, connection: LDAPConnection, base: str, scope: int, wanted: str
    ) -> Sequence[LDAPEntry]:
        settings = self.settings
        attributes = [settings.name_attribute, settings.member_of, settings.group_attribute]
        try:
            return connection.search(
                base,
                scope,
                wanted,
                attributes,
                timeout=settings.timeout,
                sizelimit=_MOST_GROUPS + 1,
            )
        except self._ldap.NoSuchObjectError:
            return []
        except self._ldap.LDAPError as error:
            raise DirectoryError(f"a search failed: {error}") from error

    def _bound(self, credentials: tuple[str, str]) -> LDAPConnection | None:
        """A connection as somebody; None when the directory does not take the password."""
        ldap = self._ldap
        try:
            client = self._client()
            client.set_credentials("SIMPLE", *credentials)
            return client.connect(timeout=self.settings.timeout)
        except (
            ldap.AuthenticationError,
            ldap.PasswordPolicyError,
            ldap.InvalidDN,
            ldap.NoSuchObjectError,
            ldap.UnwillingToPerform,
            ldap.InsufficientAccess,
        ):
            return None
        except (ldap.LDAPError, OSError) as error:
            raise DirectoryError(f"it does not answer: {error}") from error

    def _service(self) -> LDAPConnection:
        """A connection as the service account."""
        settings = self.settings
        assert settings.bind_dn is not None
        assert settings.bind_password_file is not None
        try:
            password = settings.bind_password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DirectoryError(f"{settings.bind_password_file} cannot be read") from error
        connection = self._bound((settings.bind_dn, password)) if password else None
        if connection is None:
            raise DirectoryError("it does not take the password of the service account")
        return connection

    def _client(self) -> LDAPClient:
        settings = self.settings
        client = self._ldap.LDAPClient(settings.url, settings.start_tls)
        client.set_server_chase_referrals(False)
        client.set_ignore_referrals(True)
        client.set_cert_policy("demand")
        if settings.ca is not None:
            client.set_ca_cert(str(settings.ca))
        return client

    def _first_value(self, dn: str) -> str:
        """What the first part of a DN is called: ``dev`` of ``cn=dev,ou=groups``."""
        try:
            return str(self._ldap.LDAPDN(dn).rdns[0][0][1])
        except (self._ldap.InvalidDN, IndexError) as error:
            raise DirectoryError("it calls a group what is no DN") from error

    def _dn(self, user: str) -> str:
        escaped = self._ldap.escape_attribute_value(user)
        return _filled(self.settings.user_dn or "", USER, escaped)

    def _escaped(self, text: str) -> str:
        return str(self._ldap.escape_filter_exp(text))


def _filled(template: str, field: str, value: str) -> str:
    return template.replace(field, value)


def _texts(entry: LDAPEntry, attribute: str) -> list[str]:
    """The values of an attribute that are text; names of attributes know no case."""
    for name, values in entry.items():
        if name.lower() == attribute.lower():
            return [value for value in values if isinstance(value, str)]
    return []


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isprintable() and text.strip() == text
