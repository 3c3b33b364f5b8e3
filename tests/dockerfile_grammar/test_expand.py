"""What the recorded rows do not say about expansion."""

from __future__ import annotations

import pytest

from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.expand import (
    NESTING_LIMIT,
    expand,
    expand_heredoc,
    expand_words,
    expansion,
    raw_words,
)

ENV = {"A": "1", "EMPTY": "", "P": "/usr/local/bin:/bin", "D": "$A", "S": "a b"}


def fault(word: str) -> str:
    with pytest.raises(ExpansionError) as caught:
        expand(word, ENV)
    return caught.value.what


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("${P//:/$D}", "/usr/local/bin$A/bin"),
        ("${P//b*n/x}", "/usr/local/x"),
        ("${P//\\?/x}", "/usr/local/bin:/bin"),
        ("${P/*/x}", "x"),
        ("${P//*/x}", "x"),
        ("${P//\\//_}", "_usr_local_bin:_bin"),
        ("${P%/*}", "/usr/local/bin:"),
        ("${P%%/*}", ""),
        ("${P#*/}", "usr/local/bin:/bin"),
        ("${P##*[}", "/usr/local/bin:/bin"),
        ("${P#\\/}", "usr/local/bin:/bin"),
        ("${NOPE:-$S}", "a b"),
    ],
)
def test_patterns(word: str, value: str) -> None:
    assert expand(word, ENV) == value


def test_one_written_word_stays_one() -> None:
    assert expand("$S", ENV) == "a b"
    assert expand_words("$S", ENV) == ["a", "b"]
    assert expand_words('"$S"', ENV) == ["a b"]
    assert expand_words("80${NOPE:-81}", ENV) == ["8081"]


def test_heredoc_keeps_quotes_and_resolves_the_rest() -> None:
    body = "v=$A \\$A \"q\" 'p' ${NOPE:-d} $(cmd) \\n\n"
    assert expand_heredoc(body, ENV) == "v=1 $A \"q\" 'p' d $(cmd) n\n"


def test_lookups_are_reported_for_lint() -> None:
    found = expansion("$A ${X} ${Y:-d} $A", ENV)
    assert (found.text, found.matched) == ("1  d 1", ("A",))
    assert (found.unmatched, found.guarded) == (("X", "Y"), ("Y",))


def test_errors_quote_the_word_as_go_does() -> None:
    assert fault('${A^}"é\x01\t') == (
        'failed to process "${A^}\\"é\\x01\\t": unsupported modifier (^) in substitution'
    )
    assert "invalid escape '\\x'" in fault("${P#\\x}")
    assert fault("'a").endswith("looking for matching single-quote")
    assert fault('"a').endswith("looking for matching double-quote")


def test_nesting_is_limited() -> None:
    deep = "${X:-" * (NESTING_LIMIT + 1) + "}" * (NESTING_LIMIT + 1)
    assert "nest deeper" in fault(deep)
    assert expand("${X:-" * NESTING_LIMIT + "z" + "}" * NESTING_LIMIT, {}) == "z"
    assert "nest deeper" in fault("${X:-" * 50_000)


def test_hostile_patterns_do_not_backtrack() -> None:
    env = {"V": "a" * 5_000}
    assert expand("${V//" + "*a" * 30 + "*b/x}", env) == env["V"]
    assert expand("${V##" + "*a" * 30 + "*b}", env) == env["V"]


def test_raw_words_keep_what_is_written() -> None:
    assert raw_words("RUN '<<A' \"b c\" ${x:-d e} f\\ g") == [
        "RUN",
        "'<<A'",
        '"b c"',
        "${x:-d",
        "e}",
        "f\\ g",
    ]


def test_backtick_escape() -> None:
    assert expand("c:\\$A`$A", ENV, escape="`") == "c:\\1$A"


@pytest.mark.parametrize("word", ["$A$A$A", "${A//x/$A}", "${A:+$A$A}$A", "${A//?/${A/x/yy}}"])
def test_values_that_multiply_are_stopped(word: str) -> None:
    with pytest.raises(ExpansionError, match="bring in more than") as caught:
        expand(word, {"A": "x" * 400_000})
    assert len(str(caught.value)) < 200


def test_question_marks_cost_little_in_long_values() -> None:
    value = "x" * 60_000 + "y"
    assert expand("${A#*" + "?" * 30_000 + "z}", {"A": value}) == value
    assert expand("${A%%" + "?" * 30_000 + "y}", {"A": value}) == "x" * 30_000
    assert expand("${A//?y/}", {"A": "xy" * 30_000}) == ""


def test_messages_repeat_a_part_of_long_words() -> None:
    with pytest.raises(ExpansionError) as caught:
        expand("${a:-" * 200, {})
    assert len(str(caught.value)) < 1200
