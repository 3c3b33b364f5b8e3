"""Scopes of tokens: what is written is read, names with ports included, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.access.jwt import Expected, TokenError, decode_token, key_of
from registry.access.scopes import (
    Scope,
    gun_repository,
    parse_scope,
    parse_scopes,
    scope_repository,
)
from registry.errors import ApiError

HOSTS = st.sampled_from(["localhost:5000", "registry.example.com", "[::1]:5000", "a.b:443"])
NAMES = st.from_regex(r"[a-z0-9]{1,5}([._-][a-z0-9]{1,3})?(/[a-z0-9]{1,4}){0,2}", fullmatch=True)
ACTIONS = st.sets(st.sampled_from(["pull", "push", "delete", "*"]), min_size=1).map(frozenset)


@given(st.sampled_from(["repository", "registry"]), st.tuples(HOSTS, NAMES), ACTIONS)
def test_a_scope_is_read_as_it_was_written(
    kind: str, parts: tuple[str, str], actions: frozenset[str]
) -> None:
    scope = Scope(kind, "/".join(parts), actions)
    assert parse_scope(str(scope)) == scope
    assert parse_scope(str(scope).replace(kind, f"{kind}(plugin)", 1)) == scope
    assert parse_scopes([f"{scope} {scope}", str(scope)]) == (scope, scope, scope)


@given(st.text(max_size=60) | st.text("repository:/a()*, .%", max_size=60))
def test_any_text_is_a_scope_or_none(text: str) -> None:
    scope = parse_scope(text)
    if scope is not None:
        # A slow model: the type ends at the first colon, the actions begin at the last.
        first, last = text.index(":"), text.rindex(":")
        assert first < last
        assert scope.name == text[first + 1 : last]
        assert scope.actions == {word for word in text[last + 1 :].split(",") if word}
        assert text[:first].partition("(")[0] == scope.type


@given(HOSTS, HOSTS, NAMES)
def test_our_own_host_is_taken_off_and_no_other(host: str, other: str, name: str) -> None:
    gun = f"{host}/{name}"
    assert scope_repository(name, [host]) == name
    assert scope_repository(gun, [host]) == name
    assert gun_repository(gun, [other, host]) == name
    if other != host:
        assert scope_repository(gun, [other]) != name
        with pytest.raises(ApiError):
            gun_repository(gun, [other])
    with pytest.raises(ApiError):
        gun_repository(f"{host}/../{name}", [host])


@given(st.text(max_size=200) | st.text("abc.-_=", max_size=200))
def test_any_text_is_no_token(text: str) -> None:
    key_of(text)
    with pytest.raises(TokenError):
        decode_token(text, {}, Expected("i", "a"), now=0.0)
