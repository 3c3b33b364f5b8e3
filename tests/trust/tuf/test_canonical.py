"""The one spelling that Notary signs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.tuf.kit import key
from trust.tuf import canonical
from trust.tuf.errors import MalformedMetadataError, OversizeError
from trust.tuf.metadata import sign

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=12,
)


def parse(text: str | bytes) -> dict[str, object]:
    raw = text.encode() if isinstance(text, str) else text
    return canonical.parse(raw, what="it", limit=1 << 16)


def test_members_are_sorted_by_bytes_and_only_quotes_are_escaped():
    document = parse('{"b":"a\\n\\"\\\\é\\u2028","B":[1,true,null],"é":{},"z":-3}')
    assert canonical.dump(document) == (
        '{"B":[1,true,null],"b":"a\n\\"\\\\é\u2028","z":-3,"é":{}}'.encode()
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":-0}',
        '{"a":9007199254740992}',
        '{"a":12345678901234567890123}',
        "[]",
        "",
        '{"a":1} x',
        b'{"a":"\xff"}',
        '{"a":' + "[" * 5000 + "]" * 5000 + "}",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(text):
    with pytest.raises(MalformedMetadataError):
        parse(text)


def test_half_a_surrogate_pair_has_no_canonical_form():
    with pytest.raises(MalformedMetadataError):
        canonical.dump(parse('{"a":"\\ud800"}'))


def test_a_document_may_not_exceed_its_limit():
    with pytest.raises(OversizeError):
        canonical.parse(b'{"a":1}', what="it", limit=6)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_it_does_not_depend_on_the_spelling_it_came_in(document):
    spelled = json.dumps(document, indent=1)
    shuffled = json.dumps(dict(reversed(document.items())), ensure_ascii=False)
    try:
        written = canonical.dump(document)
    except MalformedMetadataError:
        return
    assert canonical.dump(parse(spelled)) == canonical.dump(parse(shuffled)) == written


@given(VALUES, VALUES)
def test_different_documents_have_different_canonical_bytes(one, other):
    def marked(value: object) -> str:
        return json.dumps(value, sort_keys=True)

    try:
        same = canonical.dump({"v": one}) == canonical.dump({"v": other})
    except MalformedMetadataError:
        return
    assert same == (marked(one) == marked(other))


def test_an_envelope_has_the_bytes_that_go_writes() -> None:
    """encoding/json's order of members and escapes: docker's server hashes its own spelling."""
    raw = sign({"b": "<&>\u2028\u2029\x1f\u20ac", "a": [1]}, [key("targets")])
    start = rb'{"signed":{"a":[1],"b":"\u003c\u0026\u003e\u2028\u2029\u001f' + "€".encode()
    assert raw.startswith(start + b'"},"signatures":[{"keyid":"')
    assert list(json.loads(raw)["signatures"][0]) == ["keyid", "method", "sig"]
