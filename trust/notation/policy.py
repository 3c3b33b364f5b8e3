"""notation's trust policy: ``trustpolicy.json`` version 1.0, read strictly and looked up by scope.

Notary Project specification "trust-store-trust-policy.md". A repository that no statement covers is
refused: unlike containers' policy there is no default, only the scope ``*``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from images.reference import Reference
from trust.errors import PolicyFileError
from trust.fields import FieldError, array, mapping, members, parse, text

MAX_POLICY: Final = 1 << 20
MAX_STATEMENTS: Final = 1024
MAX_ITEMS: Final = 256
"""Most scopes, stores or identities of one statement."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+\Z")
_SCOPE: Final = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+\Z")


class Check(StrEnum):
    """What is examined of a signature, in this order."""

    INTEGRITY = "integrity"
    AUTHENTICITY = "authenticity"
    EXPIRY = "expiry"
    TIMESTAMP = "authenticTimestamp"
    REVOCATION = "revocation"


class Action(StrEnum):
    """What a failed check does: refuse, be reported, or not be made at all."""

    ENFORCE = "enforce"
    LOG = "log"
    SKIP = "skip"


_LEVELS: Final[Mapping[str, tuple[Check, ...]]] = {
    "strict": tuple(Check),
    "permissive": (Check.INTEGRITY, Check.AUTHENTICITY),
    "audit": (Check.INTEGRITY,),
}
"""The checks that each level enforces; the others are logged. ``skip`` makes none."""


class StoreKind(StrEnum):
    """The kinds of trust store."""

    CA = "ca"
    SIGNING_AUTHORITY = "signingAuthority"
    TSA = "tsa"


@dataclass(frozen=True, slots=True)
class StoreName:
    """One trust store: ``ca:acme-rockets``."""

    kind: StoreKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Statement:
    """One entry of ``trustPolicies``.

    ``identities`` are the distinguished names a leaf may have, each a mapping of attribute to value
    that must all be there; None stands for ``*``. ``timestamp_always`` asks for a timestamp also
    while the certificates are valid.
    """

    name: str
    scopes: tuple[str, ...]
    level: str
    actions: Mapping[Check, Action]
    stores: tuple[StoreName, ...] = ()
    identities: tuple[Mapping[str, str], ...] | None = ()
    timestamp_always: bool = True

    @property
    def skips(self) -> bool:
        """Whether no signature is looked at."""
        return self.level == "skip"

    @property
    def sentence(self) -> str:
        """The statement in words."""
        if self.skips:
            return "anything is accepted, signed or not"
        stores = " or ".join(str(store) for store in self.stores)
        who = "any identity" if self.identities is None else f"{len(self.identities)} identities"
        return f"signed (notation, {self.level}) by {who} under {stores}"


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """A trust policy file, parsed. ``source`` is how messages name it."""

    statements: tuple[Statement, ...]
    source: str = "trustpolicy.json"

    @classmethod
    def parse(cls, data: bytes, *, source: str = "trustpolicy.json") -> TrustPolicy:
        """Read the bytes of a trust policy file.

        Raises:
            PolicyFileError: anything in it is unknown, missing, doubled, overlapping or of the
                wrong type.
        """
        try:
            top = members(
                parse(data, what="the trust policy", limit=MAX_POLICY),
                required=("version", "trustPolicies"),
                at="the trust policy",
            )
            if top["version"] != "1.0":
                raise FieldError("version must be '1.0'")
            items = array(top["trustPolicies"], at="trustPolicies", most=MAX_STATEMENTS)
            statements = tuple(
                parse_statement(item, at=f"trustPolicies[{index}]")
                for index, item in enumerate(items)
            )
            _check_distinct(statements)
        except FieldError as error:
            raise PolicyFileError(
                str(error),
                where=source,
                fix="correct the file; the Notary Project's trust policy specification has the "
                "syntax",
            ) from error
        return cls(statements, source)

    def decide(self, reference: Reference) -> Statement | None:
        """The statement for the repository of ``reference``; None: nothing covers it."""
        for scope in (reference.name, "*"):
            for statement in self.statements:
                if scope in statement.scopes:
                    return statement
        return None


def distinguished_name(name: str) -> dict[str, str]:
    """Take ``C=US, ST=WA, O=acme`` apart (RFC 4514); ``S`` is another spelling of ``ST``.

    Raises:
        FieldError: not a distinguished name, an attribute twice, or C, ST or O missing.
    """
    from cryptography.x509 import Name

    try:
        # RFC 4514 has no blanks around commas; notation's own examples do.
        compact = re.sub(r"(?<!\\)\s*,\s*", ",", name.strip())
        parsed = Name.from_rfc4514_string(re.sub(r"(^|,)S=", r"\1ST=", compact))
    except ValueError as error:
        raise FieldError(f"{name[:120]!r} is no distinguished name") from error
    found: dict[str, str] = {}
    for attribute in parsed:
        if attribute.rfc4514_attribute_name in found:
            raise FieldError(f"{name[:120]!r} has {attribute.rfc4514_attribute_name} twice")
        found[attribute.rfc4514_attribute_name] = str(attribute.value)
    missing = [wanted for wanted in ("C", "ST", "O") if wanted not in found]
    if missing:
        raise FieldError(f"{name[:120]!r} lacks {', '.join(missing)}")
    return found


def parse_statement(value: object, *, at: str) -> Statement:
    """Read one entry of ``trustPolicies``; raises ``FieldError``, which says where by ``at``."""
    found = members(
        value,
        required=("name", "registryScopes", "signatureVerification"),
        optional=("trustStores", "trustedIdentities"),
        at=at,
    )
    scopes = _texts(found["registryScopes"], at=f"{at}.registryScopes")
    if not scopes or ("*" in scopes and len(scopes) > 1):
        raise FieldError(f"{at}.registryScopes must be repositories, or '*' alone")
    for scope in scopes:
        if scope != "*" and not _SCOPE.match(scope):
            raise FieldError(f"{at}.registryScopes: {scope[:80]!r} is no registry/repository")
    level, actions, always = _level(found["signatureVerification"], at=f"{at}.signature")
    stores = _texts(found.get("trustStores", []), at=f"{at}.trustStores")
    identities = _texts(found.get("trustedIdentities", []), at=f"{at}.trustedIdentities")
    if level == "skip":
        if stores or identities or "*" in scopes:
            raise FieldError(f"{at}: 'skip' takes neither stores nor identities nor the scope '*'")
    elif not stores or not identities:
        raise FieldError(f"{at} needs trustStores and trustedIdentities")
    return Statement(
        name=text(found["name"], at=f"{at}.name"),
        scopes=scopes,
        level=level,
        actions=actions,
        stores=tuple(_store(item, at=f"{at}.trustStores") for item in stores),
        identities=_identities(identities, at=f"{at}.trustedIdentities"),
        timestamp_always=always,
    )


def _level(value: object, *, at: str) -> tuple[str, Mapping[Check, Action], bool]:
    found = members(value, required=("level",), optional=("override", "verifyTimestamp"), at=at)
    level = text(found["level"], at=f"{at}.level")
    if level != "skip" and level not in _LEVELS:
        raise FieldError(f"{at}.level must be one of {', '.join(_LEVELS)}, skip")
    enforced = _LEVELS.get(level, ())
    quiet = Action.SKIP if level == "skip" else Action.LOG
    actions = {check: Action.ENFORCE if check in enforced else quiet for check in Check}
    overrides: dict[str, Any] = mapping(found.get("override", {}), at=f"{at}.override")
    if overrides and level == "skip":
        raise FieldError(f"{at}.override makes no sense with 'skip'")
    for name, action in overrides.items():
        check, wanted = _override(name, action, at=f"{at}.override")
        actions[check] = wanted
    verify = found.get("verifyTimestamp", "always")
    if verify not in ("always", "afterCertExpiry"):
        raise FieldError(f"{at}.verifyTimestamp must be always or afterCertExpiry")
    return level, actions, verify == "always"


def _override(name: str, action: object, *, at: str) -> tuple[Check, Action]:
    if name not in set(Check) - {Check.INTEGRITY}:
        raise FieldError(f"{at}: {name[:80]!r} cannot be overridden")
    if not isinstance(action, str) or action not in set(Action):
        raise FieldError(f"{at}.{name} must be one of {', '.join(Action)}")
    if action == Action.SKIP and name != Check.REVOCATION:
        raise FieldError(f"{at}.{name} cannot be skipped")
    return Check(name), Action(action)


def _store(written: str, *, at: str) -> StoreName:
    kind, colon, name = written.partition(":")
    if not colon or kind not in set(StoreKind) or not _NAME.match(name) or name in (".", ".."):
        raise FieldError(f"{at}: {written[:80]!r} is no ca:NAME, signingAuthority:NAME or tsa:NAME")
    return StoreName(StoreKind(kind), name)


def _identities(written: tuple[str, ...], *, at: str) -> tuple[Mapping[str, str], ...] | None:
    if "*" in written:
        if len(written) > 1:
            raise FieldError(f"{at} must be identities, or '*' alone")
        return None
    names: list[Mapping[str, str]] = []
    for item in written:
        prefix, _, name = item.partition(":")
        if prefix != "x509.subject":
            raise FieldError(f"{at}: {item[:80]!r} does not begin with x509.subject:")
        names.append(distinguished_name(name))
    for index, name_ in enumerate(names):
        for other in names[index + 1 :]:
            if name_.items() <= other.items() or other.items() <= name_.items():
                raise FieldError(f"{at} has identities that overlap")
    return tuple(names)


def _check_distinct(statements: tuple[Statement, ...]) -> None:
    names: set[str] = set()
    scopes: set[str] = set()
    for statement in statements:
        if statement.name in names:
            raise FieldError(f"two statements are called {statement.name[:80]!r}")
        names.add(statement.name)
        for scope in statement.scopes:
            if scope in scopes:
                raise FieldError(f"the scope {scope!r} is in two statements")
            scopes.add(scope)


def _texts(value: object, *, at: str) -> tuple[str, ...]:
    items = tuple(text(item, at=at) for item in array(value, at=at, most=MAX_ITEMS))
    if len(set(items)) != len(items):
        raise FieldError(f"{at} names something twice")
    return items
