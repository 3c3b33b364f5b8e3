"""Cache keys: two different inputs never share one, and equal inputs always do."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builder.keys import FORMAT_VERSION, frame, key_of

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.binary(max_size=8)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
    ),
    max_leaves=12,
)
FIELDS = st.lists(st.tuples(st.text(max_size=6), VALUES), max_size=5)


def _typed(value: Any) -> Any:
    """A form in which equality does not take True for 1."""
    if isinstance(value, dict):
        return ("map", frozenset((key, _typed(item)) for key, item in value.items()))
    if isinstance(value, tuple | list):
        return ("list", tuple(_typed(item) for item in value))
    return (type(value).__name__, value)


@given(VALUES, VALUES)
def test_frames_are_equal_exactly_for_equal_values(left: Any, right: Any) -> None:
    assert (frame(left) == frame(right)) == (_typed(left) == _typed(right))


@given(VALUES, st.binary(min_size=1, max_size=6))
def test_a_frame_says_where_it_ends(value: Any, tail: bytes) -> None:
    framed = frame(value) + tail
    length_end = framed.index(b":")
    assert framed[: length_end + 1 + int(framed[1:length_end])] == frame(value)


@given(FIELDS, FIELDS)
def test_keys_are_equal_exactly_for_equal_fields(left: Any, right: Any) -> None:
    same = [(tag, _typed(value)) for tag, value in left] == [
        (tag, _typed(value)) for tag, value in right
    ]
    assert (key_of("step", left) == key_of("step", right)) == same


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_moving_a_border_between_words_changes_the_key(words: list[str], data: Any) -> None:
    """The collision that unframed keys suffer from: ["a", "bc"] against ["ab", "c"]."""
    joined = "".join(words)
    cut = data.draw(st.integers(0, len(joined)))
    others = [part for part in (joined[:cut], joined[cut:]) if part]
    if others != words:
        assert key_of("step", [("args", words)]) != key_of("step", [("args", others)])


@given(FIELDS)
def test_the_kind_is_part_of_the_key(fields: Any) -> None:
    assert key_of("definition", fields) != key_of("content", fields)


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=5))
def test_the_order_of_a_mapping_does_not_matter(mapping: dict[str, str]) -> None:
    backwards = dict(reversed(mapping.items()))
    assert frame(mapping) == frame(backwards)


def test_a_known_key_stays_what_it_is() -> None:
    """Keys outlive the program: when this fails, FORMAT_VERSION must have been raised."""
    assert FORMAT_VERSION == 1
    assert key_of("step", [("args", ("a", "b"))]) == hashlib.sha256(_by_hand()).digest()


def _by_hand() -> bytes:
    head = b"s16:lading build key" + b"i1:1" + b"s4:step"
    body = b"s1:a" + b"s1:b"
    return b"l%d:" % len(head) + head + b"s4:args" + b"l%d:" % len(body) + body
