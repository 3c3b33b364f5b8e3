"""Expressions: what is written is what is read, operators agree with Python's numbers, patterns
with Python's engine, and no text makes anything but a value or an error of ours.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.bake.compose.interpolate import interpolate
from engine.bake.errors import BakeError
from engine.bake.functions.regex.machine import Machine
from engine.bake.hcl.parser import parse_file
from engine.bake.source import SourceFile
from engine.bake.values import value as make
from engine.bake.values.convert import convert, unify
from engine.bake.values.json import decode, encode
from tests.engine.bake.support import config, evaluate

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
PATTERNS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\A", r"\b"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        inner.map(lambda one: f"({one})"),
        st.tuples(inner, st.sampled_from(["?", "{2}", "{0,2}", "*?", "+", "*"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


def written(data: object) -> str:
    """A value as HCL has it."""
    if isinstance(data, str):
        quoted = json.dumps(data, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
        return quoted.replace("\\b", "\\u0008").replace("\\f", "\\u000c")
    if isinstance(data, list):
        return f"[{', '.join(map(written, data))}]"
    if isinstance(data, dict):
        return "{" + "\n".join(f"{key} = {written(item)}" for key, item in data.items()) + "}"
    return json.dumps(data)


@given(DATA)
def test_what_is_written_is_what_is_read(data: object) -> None:
    assert json.loads(encode(evaluate(written(data)))) == data


@given(DATA)
def test_json_goes_there_and_back(data: object) -> None:
    value = decode(json.dumps(data))
    assert encode(decode(encode(value))) == encode(value)
    assert json.loads(encode(value)) == data


@given(DATA)
def test_a_value_has_its_own_type_and_can_be_any(data: object) -> None:
    value = decode(json.dumps(data))
    assert convert(value, value.type) == value
    assert unify([value.type, value.type]) == value.type


@given(st.integers(-(10**20), 10**20), st.integers(-(10**20), 10**20))
def test_operators_are_exact_for_whole_numbers(left: int, right: int) -> None:
    for operator, result in (("+", left + right), ("-", left - right), ("*", left * right)):
        assert evaluate(f"({left}) {operator} ({right})").data == Decimal(result)
    assert evaluate(f"({left}) < ({right})").data == (left < right)
    if right:
        assert evaluate(f"({left}) % ({right})").data == Decimal(left) % Decimal(right)


@given(TEXTS, TEXTS)
def test_templates_join_what_they_hold(left: str, right: str) -> None:
    variables = {"l": make.string(left), "r": make.string(right)}
    assert evaluate('"<${l}|${r}>"', **variables).data == f"<{left}|{right}>"
    assert evaluate('"%{ for x in [l, r] }${x}%{ endfor }"', **variables).data == left + right


@given(PATTERNS, st.text("ab1 \n", max_size=12))
@example("(?:a|ab)(?:c|bcd)", "abcd")
def test_patterns_find_what_pythons_engine_finds(pattern: str, text: str) -> None:
    expected = re.compile(pattern, re.ASCII).search(text)
    spans = Machine(pattern).search(text)
    assert (spans is None) == (expected is None)
    # Where a repeated part may be empty, engines differ in how often they go around.
    if spans is not None and expected is not None and not re.search(r"[*?]|\{0", pattern):
        assert spans[:2] == expected.span()


@given(st.text(max_size=80))
@example("a = <<E\n${")
@example('x = "%{ if ')
@example("a = [for")
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    refused = None
    try:
        parse_file(SourceFile("x.hcl", text))
    except BakeError as error:
        refused = error
    if refused is not None:
        assert refused.place is not None
        assert 1 <= refused.place.line <= text.count("\n") + 1
        assert refused.excerpt().startswith("x.hcl")


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=5))
def test_targets_say_what_was_said_of_them(pairs: list[tuple[str, str]]) -> None:
    args = dict(pairs)
    found = config(f'target "t" {{\n args = {written(args)}\n}}').targets[0]
    assert (found.args or {}) == args


@given(st.text("${}:-?+Ab c", max_size=30))
def test_compose_variables_end_in_text_or_an_error(text: str) -> None:
    try:
        made = interpolate(text, {"A": "x"}, "here")
    except BakeError:
        return
    assert isinstance(made, str)
    if "$" not in text:
        assert made == text


@pytest.mark.parametrize("text", ["$$", "$${A}", "a$$b"])
def test_two_dollar_signs_are_one(text: str) -> None:
    assert interpolate(text, {"A": "x"}, "here") == text.replace("$$", "$")
