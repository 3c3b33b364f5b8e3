"""Scopes of tokens, and image names that begin with a host.

``type[(class)]:name:actions``: names may hold ``host:port``, so the type ends at the first colon
and the actions begin at the last. Docker registry token specification, "Scope"; Notary asks for its
collections by their full name, host included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from images.reference import is_repository
from registry.errors import ApiError

_COUNT: Final = 64
_LENGTH: Final = 8192
_TYPE: Final = re.compile(r"([a-z0-9]+)(?:\([a-z0-9]*\))?\Z")
_ACTIONS: Final = re.compile(r"[a-z*]+\Z")


@dataclass(frozen=True, slots=True)
class Scope:
    """One resource and what is asked of it; the class of a type is not kept."""

    type: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"


CATALOG: Final = Scope("registry", "catalog", frozenset("*"))
"""The right to list repositories: those that the caller may pull."""


def parse_scope(text: str) -> Scope | None:
    """Read one scope; None when it is none."""
    kind, first, rest = text.partition(":")
    name, last, actions = rest.rpartition(":")
    match = _TYPE.match(kind)
    words = frozenset(actions.split(",")) - {""}
    if not (first and last and name and match and words and all(map(_ACTIONS.match, words))):
        return None
    return Scope(match[1], name, words)


def parse_scopes(values: Iterable[str]) -> tuple[Scope, ...]:
    """Read ``scope`` parameters, each of which may hold several; what is no scope is dropped.

    Raises:
        ApiError: UNSUPPORTED with 400, more than anybody needs.
    """
    joined = " ".join(values)
    words = joined.split() if len(joined) <= _LENGTH else []
    if len(joined) > _LENGTH or len(words) > _COUNT:
        raise ApiError("UNSUPPORTED", status=400, message=f"more than {_COUNT} scopes")
    return tuple(scope for scope in map(parse_scope, words) if scope is not None)


def scope_repository(name: str, hosts: Iterable[str]) -> str | None:
    """The repository that a scope names, one of our own host names before it taken off.

    None: a repository of another host, or no repository at all.
    """
    host, slash, rest = name.partition("/")
    if slash and host in hosts:
        name = rest
    return name if is_repository(name) else None


def gun_repository(gun: str, hosts: Iterable[str]) -> str:
    """The repository of a Notary collection, whose name (GUN) begins with our host.

    Raises:
        ApiError: NAME_INVALID; another host's collection, or no repository behind the host.
    """
    host, _, name = gun.partition("/")
    if host not in hosts:
        raise ApiError(
            "NAME_INVALID", message="the collection belongs to another host", detail=gun[:300]
        )
    if not is_repository(name):
        raise ApiError("NAME_INVALID", detail={"name": gun[:300]})
    return name
