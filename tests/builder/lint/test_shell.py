"""The reader of shell text: words, commands, pipelines, and what it admits not to understand."""

from __future__ import annotations

import pytest

from builder.lint.shell import Command, Compound, Script, parse


def words(text: str) -> list[list[str]]:
    """The words of each command."""
    return [[word.value for word in command.words] for command in parse(text).commands]


def joints(script: Script) -> list[tuple[str, int]]:
    """What stands before each outermost pipeline, and how many commands it has."""
    return [(pipeline.joined, len(pipeline.elements)) for pipeline in script.outermost]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("a 'b c'\"d e\"f\\ g", ["a", "b cd ef g"]),
        ('a "b\\"c\\d\\$e"', ["a", 'b"c\\d$e']),
        ("a \\\n b", ["a", "b"]),
        ("a b\\\nc", ["a", "bc"]),
        ("a # b", ["a"]),
        ("a b#c '#d'", ["a", "b#c", "#d"]),
        (
            'a "$b" ${c:-"}"} $((1 + (2))) `d \\` e`',
            ["a", "$b", '${c:-"}"}', "$((1 + (2)))", "`d \\` e`"],
        ),
        ("a $'b\\'c' $ d", ["a", "$'b\\'c'", "$", "d"]),
        ("a <(b) 2>&1 >c d", ["a", "<(b)", "d"]),
        ("x=1 y='2 3' a z=4", ["a", "z=4"]),
    ],
)
def test_words(text: str, values: list[str]) -> None:
    assert values in words(text)
    assert parse(text).complete


def test_positions_lead_back_to_the_text() -> None:
    text = "a 'b c'; d=\"$(e f | g)\" h"
    for command in parse(text).commands:
        for word in (*command.words, *command.assignments):
            assert text[word.start : word.end] == word.text


@pytest.mark.parametrize(
    ("word", "literal"),
    [
        ("a", True),
        ("'$a*'", True),
        ('"a b"', True),
        ("a\\*", True),
        ("$a", False),
        ('"$a"', False),
        ("`a`", False),
        ("$(a)", False),
        ("a*", False),
        ("~/a", False),
        ("$", True),
    ],
)
def test_literal_words(word: str, literal: bool) -> None:
    assert parse(f"x {word}").commands[0].words[1].literal is literal


def test_joints() -> None:
    assert joints(parse("a && b || c; d & e\nf | g |& h")) == [
        ("", 1),
        ("&&", 1),
        ("||", 1),
        (";", 1),
        ("&", 1),
        ("\n", 3),
    ]
    assert joints(parse("\n\na &&\n\nb\n\n")) == [("\n", 1), ("&&", 1)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("(a; b)", "("),
        ("{ a; b; }", "{"),
        ("if a; then b; elif c; then d; else e; fi", "if"),
        ("while a; do b; done", "while"),
        ("until a; do b; done < c", "until"),
        ("for x in 1 2 3; do b; done", "for"),
        ("for x; do b; done", "for"),
        ("for ((i=0; i<3; i++)); do b; done", "for"),
        ("case $x in a|b) c;; (d) e ;; *) f; esac", "case"),
        ("f() { a; }", "function"),
        ("function f { a; }", "function"),
        ("[[ a && ( b || c ) ]]", "[["),
        ("((a > 1))", "("),
    ],
)
def test_compound_commands(text: str, kind: str) -> None:
    script = parse(text)
    assert script.complete
    (pipeline,) = script.outermost
    (element,) = pipeline.elements
    assert isinstance(element, Compound)
    assert element.kind == kind
    assert all(command.depth > 0 for command in script.commands)


def test_reserved_words_count_only_where_a_command_begins() -> None:
    assert words("echo if then fi; a do") == [["echo", "if", "then", "fi"], ["a", "do"]]


def test_conditions_are_tested() -> None:
    tested = {
        pipeline.elements[0].words[0].value: pipeline.tested
        for pipeline in parse("if a; then b; fi; ! c; while d; do e; done; f").pipelines
        if isinstance(pipeline.elements[0], Command)
    }
    assert tested == {"a": True, "b": False, "c": True, "d": True, "e": False, "f": False}


def test_substitutions_are_read_one_level_deeper() -> None:
    script = parse('a "$(b | c $(d))" `e`')
    assert [(command.name, command.depth) for command in script.commands] == [
        ("a", 0),
        ("b", 1),
        ("c", 1),
        ("d", 2),
    ]


def test_here_documents_are_no_commands() -> None:
    text = "cat <<A <<-'B' > x\nrm -rf / && (\nA\n\tthen\n\tB\ntrue\n"
    assert words(text) == [["cat"], ["true"]]
    # The builder keeps bodies elsewhere: then the text ends with its first line.
    assert words("cat <<A > x") == [["cat"]]


@pytest.mark.parametrize(
    "text",
    [
        "a 'b",
        'a "b',
        "a `b",
        "a $(b",
        "a ${b",
        "(a",
        "a)",
        "if a; then b",
        "a && && b",
        "| a",
        "a; }",
    ],
)
def test_what_is_not_understood_is_not_complete(text: str) -> None:
    assert not parse(text).complete


def test_depth_has_a_limit() -> None:
    assert not parse("$(" * 500 + ")" * 500).complete
    assert not parse("( " * 500 + ") " * 500).complete
    assert not parse('"${a:-' * 3000).complete


def test_names() -> None:
    names = [command.name for command in parse("/usr/bin/apt-get x; $a; A=b; 'c' d").commands]
    assert names == ["apt-get", "", "", "c"]
