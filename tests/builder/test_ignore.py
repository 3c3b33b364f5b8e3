""".dockerignore: reading the file, explaining and pruning. Matching itself is checked row by row
elsewhere.
"""

from __future__ import annotations

import pytest

from builder.ignore import IgnoreLine, IgnorePatternError, IgnorePatterns


def test_reading() -> None:
    text = "\ufeff# comment\n\n  /a/../b/  \n !  c \n #not a comment\n\\#hash\n/\n"
    patterns = IgnorePatterns.parse(text.encode()).patterns
    assert [(item.text, item.keeps, item.origin.number) for item in patterns] == [
        ("b", False, 3),
        ("c", True, 4),
        ("#not a comment", False, 5),
        ("\\#hash", False, 6),
        ("/", False, 7),
    ]


@pytest.mark.parametrize(
    ("text", "path", "hidden"),
    [
        ("node_modules", "node_modules/x/y", True),
        ("node_modules", "src/node_modules", False),
        ("**/node_modules", "src/node_modules/x", True),
        ("*.log", "a/x.log", False),
        ("*\n!keep", "keep/x", False),
        ("*\n!keep\nkeep/x", "keep/x/y", True),
        ("a\n!a/b/c", "a/b", True),
        ("a\n!a/b/c", "a/b/c", False),
        ("/", "a", False),
        (".", "a", False),
        ("a/../x", "x", True),
        ("brace{1}", "brace{1}", True),
        ("*b|c", "b", False),
        ("[*]", "*", True),
        ("a[^x]b", "a/b", False),
        ("[a-]", "-", False),
        ("x\n", "x\ny", False),
        ("\udcff*".encode("utf-8", "surrogateescape"), "\udcffa", True),
        ("a\r\nb\r\n", "b", True),
    ],
)
def test_hidden(text: str | bytes, path: str, hidden: bool) -> None:
    if text == "[a-]":
        with pytest.raises(IgnorePatternError):
            IgnorePatterns.parse(text)
        return
    assert IgnorePatterns.parse(text).matches(path) is hidden


def test_explain_names_the_line() -> None:
    ignore = IgnorePatterns.parse("# logs\n*.log\n!a.log\nb*\n")
    assert ignore.explain("x.log") == IgnoreLine(2, "*.log")
    assert ignore.explain("a.log") is None
    assert ignore.explain("b.log/c") == IgnoreLine(4, "b*")
    assert ignore.explain("other") is None


def test_pruning() -> None:
    ignore = IgnorePatterns.parse("a\nb\nc\n!b/x/y\n!**/z\nc\n")
    assert not ignore.may_prune("a")
    assert not ignore.may_prune("b")
    assert ignore.may_prune("c")
    simple = IgnorePatterns.parse("a\nb\n!b/x/y\n")
    assert simple.may_prune("a")
    assert not simple.may_prune("b")
    assert not simple.may_prune("b/x")
    assert simple.may_prune("b/w")


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("ok\n!", 'illegal exclusion pattern: "!"', ".dockerignore:2"),
        ("a[", "syntax error in pattern: a[", ".dockerignore:1"),
        ("\n*/[]a", "syntax error in pattern: */[]a", ".dockerignore:2"),
        ("[b-a]", "syntax error in pattern: [b-a]", ".dockerignore:1"),
        ("x\\", "syntax error in pattern: x\\", ".dockerignore:1"),
    ],
)
def test_faults(text: str, what: str, where: str) -> None:
    with pytest.raises(IgnorePatternError) as caught:
        IgnorePatterns.parse(text)
    assert (caught.value.what, caught.value.where) == (what, where)


def test_nothing_hides_nothing() -> None:
    ignore = IgnorePatterns.parse("# only a comment\n")
    assert not ignore
    assert not ignore.matches("a")
    assert ignore.explain("a") is None


def test_hostile_patterns_do_not_backtrack() -> None:
    ignore = IgnorePatterns.of(["a*" * 20 + "b"])
    assert not ignore.matches("a" * 25)


@pytest.mark.parametrize("pattern", ["*a" * 30 + "b", "**/a/" * 30 + "b", "a**" * 30 + "b"])
def test_many_gaps_do_not_multiply(pattern: str) -> None:
    """Each gap would multiply the ways to match by the length of the path."""
    path = "a/" * 500 + "a" * 250
    ignore = IgnorePatterns.of([pattern, "!" + pattern, pattern])
    assert not ignore.matches(path)
    assert not ignore.matches("a" * 255)
    assert ignore.explain(path) is None
    assert not ignore.may_prune(path)


@pytest.mark.parametrize("pattern", ["![a/b]c/d", "!a\\/b/c"])
def test_a_pattern_whose_pieces_are_none_by_themselves(pattern: str) -> None:
    ignore = IgnorePatterns.of(["*", pattern])
    assert not ignore.may_prune("a")
