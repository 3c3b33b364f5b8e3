"""From verified claims to an identity: which subjects are taken, their names, their groups.

A name is made of claims by a template; a claim that is missing, or that is no plain text, refuses
the token instead of leaving a gap in the name, since a gap could make two people one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from registry.access.identity import Identity, Kind
from registry.access.jwt import TokenError
from registry.access.oidc.settings import IssuerSettings, fields_of
from registry.access.patterns import text_test

_LONGEST: Final = 255
_MOST_GROUPS: Final = 200
_FIELD: Final = re.compile(r"\{([^{}]+)\}")
_EMAIL: Final = "email"


def identity_of(settings: IssuerSettings, claims: Mapping[str, Any]) -> Identity:
    """Who these claims of this issuer are.

    Raises:
        TokenError: nobody that the settings take.
    """
    check_subject(settings, claims)
    name = _filled(settings.user, claims)
    if name is None:
        missing = next(field for field in fields_of(settings.user) if _text(claims, field) is None)
        raise TokenError(f"the claim {missing} is missing, or is no plain text")
    if _EMAIL in fields_of(settings.user) and claims.get("email_verified", True) not in (
        True,
        "true",
    ):
        raise TokenError("its issuer does not know that the email is theirs")
    return Identity(Kind.OUTSIDE, f"{settings.name}/{name}", groups_of(settings, claims))


def check_subject(settings: IssuerSettings, claims: Mapping[str, Any]) -> None:
    """Refuse subjects that are not taken.

    Raises:
        TokenError: none of ``subjects`` matches, or one of ``require`` does not.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise TokenError("sub is missing")
    if not any(_test(pattern)(subject) for pattern in settings.subjects):
        raise TokenError(f"subjects like its sub are not taken from issuer {settings.name}")
    for text in settings.require:
        claim, _, pattern = text.partition("=")
        value = _text(claims, claim)
        if value is None or not _test(pattern)(value):
            raise TokenError(f"its claim {claim} is not as issuer {settings.name} requires")


def groups_of(settings: IssuerSettings, claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups, SOURCE/NAME each, ascending; those that cannot be names are left out.

    Raises:
        TokenError: more than anybody is in, which might hide one that denies.
    """
    found = {made for template in settings.groups if (made := _filled(template, claims))}
    listed = _listed(claims, settings.groups_claim) if settings.groups_claim else []
    if len(listed) > _MOST_GROUPS:
        raise TokenError(f"it lists more than {_MOST_GROUPS} groups")
    found.update(name for name in listed if isinstance(name, str) and is_name(name))
    return tuple(sorted(f"{settings.name}/{name}" for name in found))


def _listed(claims: Mapping[str, Any], path: str) -> list[Any]:
    """The list at ``path``: one claim of that very name, or members of objects."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [value]
    return value if isinstance(value, list) else []


def _filled(template: str, claims: Mapping[str, Any]) -> str | None:
    """The template with its claims; None where one is missing."""
    values = {field: _text(claims, field) for field in fields_of(template)}
    if None in values.values():
        return None
    text = _FIELD.sub(lambda match: values[match[1]] or "", template)
    return text if is_name(text) else None


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and is_name(value) else None


def is_name(text: str) -> bool:
    """Whether it can be shown and logged as it is."""
    return 0 < len(text) <= _LONGEST and text.isprintable() and text.strip() == text


_test = lru_cache(maxsize=1024)(text_test)
