"""Strict reading of JSON, and writing it as Go does."""

from __future__ import annotations

import base64

import pytest

from trust.fields import FieldError, array, canonical_base64, dump, members, parse, text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a":1,"a":2}', "duplicate"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":1}x', "not valid JSON"),
        (b"[1]", "object"),
        (b'\xff{"a":1}', "not valid JSON"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested"),
        (b"{" + b" " * 100 + b"}", "limit"),
        (b'{"a":1' + b"0" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_ambiguous_or_oversized_json_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(FieldError, match=says):
        parse(data, what="the test", limit=64 if says == "limit" else 6000)


def test_members_names_what_is_missing_and_what_is_unknown() -> None:
    with pytest.raises(FieldError, match="no 'b'"):
        members({"a": 1}, required=("a", "b"), at="x")
    with pytest.raises(FieldError, match="unknown member 'B'"):
        members({"b": 1, "B": 2}, required=("b",), at="x")
    with pytest.raises(FieldError, match="object"):
        members([], at="x")


def test_text_refuses_half_a_surrogate_pair() -> None:
    with pytest.raises(FieldError, match="surrogate"):
        text("\ud800", at="x")


def test_array_is_bounded() -> None:
    assert array([1], at="x", most=1) == [1]
    with pytest.raises(FieldError, match="more than 1"):
        array([1, 2], at="x", most=1)


@pytest.mark.parametrize("value", ["QQ", "QR==", "QQ==\n", " QQ==", "_-8=", "Q===", 7, "Ä"])
def test_base64_has_one_spelling(value: object) -> None:
    with pytest.raises(FieldError):
        canonical_base64(value, at="x")


def test_canonical_base64_decodes() -> None:
    assert canonical_base64(base64.b64encode(b"\xfb\xff").decode(), at="x") == b"\xfb\xff"


def test_dump_escapes_as_go_does() -> None:
    assert (
        dump({"b": "<&>\u2028é", "a": None})
        == '{"b":"\\u003c\\u0026\\u003e\\u2028é","a":null}'.encode()
    )
