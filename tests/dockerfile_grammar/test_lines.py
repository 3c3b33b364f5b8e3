"""Line structure: places, limits and hostile input."""

from __future__ import annotations

import pytest

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.lines import LINE_LIMIT, SOURCE_LIMIT, read_source
from dockerfile_grammar.nodes import SourceRange
from dockerfile_grammar.parser import parse


def error(source: bytes | str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(source)
    return caught.value


def test_every_character_is_traced_to_its_place() -> None:
    text = "FROM b\n  RUN one \\\n# gone\n\n   two \\  \n\tthree\n"
    line = read_source(text, filename="f").lines[1]
    assert line.text == "RUN one    two \tthree"
    physical = text.split("\n")
    for offset, char in enumerate(line.text):
        number, column = line.locate(offset)
        assert physical[number - 1][column - 1] == char


def test_range_covers_heredoc_bodies() -> None:
    lines = read_source("FROM b\nRUN <<A <<B\nx\nA\ny\nB\nRUN z\n", filename="f").lines
    assert [line.range for line in lines] == [
        SourceRange(1, 1),
        SourceRange(2, 6),
        SourceRange(7, 7),
    ]


def test_carriage_returns_stay_in_heredoc_bodies_only() -> None:
    lines = read_source("FROM b\r\nRUN <<A \\\r\n x\r\ny\r\nA\r\n", filename="f").lines
    assert lines[1].text == "RUN <<A  x"
    assert lines[1].heredocs[0].content == "y\r\n"


def test_comment_block_ends_at_a_blank_line() -> None:
    lines = read_source("# a\n\n# b\n # c\nFROM b\nRUN x\n", filename="f").lines
    assert lines[0].comments == ("b", "c")
    assert lines[1].comments == ()


def test_chomped_heredoc_keeps_tabs_in_content_and_drops_them_in_body() -> None:
    heredoc = (
        read_source("FROM b\nCOPY <<-A /x\n\t\tone\n\ttwo\tthree\n\tA\n", filename="f")
        .lines[1]
        .heredocs[0]
    )
    assert heredoc.content == "\t\tone\n\ttwo\tthree\n"
    assert heredoc.body == "one\ntwo\tthree\n"


@pytest.mark.parametrize("extra", [0, 1])
def test_line_limit(extra: int) -> None:
    source = "FROM b\nRUN " + "x" * (LINE_LIMIT - 4 + extra)
    if not extra:
        assert parse(source).stages
        return
    found = error(source)
    assert found.what == "dockerfile line greater than max allowed size of 65535"
    assert found.range == SourceRange(2, 2)
    assert len(found.excerpt()) < 1000


def test_line_limit_counts_bytes() -> None:
    assert error("FROM b\nRUN " + "é" * 32766).code == "dockerfile-limit"


def test_source_limit() -> None:
    assert error(b"#" * (SOURCE_LIMIT + 1)).code == "dockerfile-limit"


def test_nul_in_heredoc_body_has_a_place() -> None:
    found = error("FROM b\nRUN <<E\nab\0\nE\n")
    assert (found.what, found.caret) == ("invalid character NUL", (3, 3))


def test_invalid_utf8_has_a_place() -> None:
    found = error(b"FROM b\nRUN \xc3\xa9\xff\n")
    assert (found.what, found.caret) == ("invalid UTF-8: byte 0xff", (2, 6))


def test_many_lines_and_long_continuations() -> None:
    tree = parse("FROM b\n" + "RUN true \\\n" * 30_000 + "end\n" + "#\n\n" * 15_000 + "RUN x\n")
    assert [item.range for item in tree.stages[0].instructions] == [
        SourceRange(2, 30_002),
        SourceRange(60_003, 60_003),
    ]


def test_many_lines() -> None:
    tree = parse("FROM b\n" + "USER u\n" * 20_000 + "# c\n" * 45_000)
    assert len(tree.stages[0].instructions) == 20_000


def test_large_heredoc() -> None:
    body = "0123456789abcde\n" * 65_536
    tree = parse(f"FROM b\nCOPY <<EOF /x\n{body}EOF\n")
    copy = tree.stages[0].instructions[0]
    assert copy.heredocs[0].content == body  # type: ignore[union-attr]


def test_unterminated_heredocs_do_not_multiply() -> None:
    source = "FROM b\n" + "".join(f"RUN <<A{number}\nA{number}\n" for number in range(10_000))
    assert len(parse(source).stages[0].instructions) == 10_000
    assert error(source + "RUN <<never\n").what == "unterminated heredoc"


def test_deeply_nested_json_is_no_recursion() -> None:
    assert error("FROM b\nRUN " + "[" * 20_000 + "]" * 20_000).code == "dockerfile-json"
    deep_shell = parse("FROM b\nRUN " + "[" * 20_000).stages[0].instructions[0]
    assert deep_shell.command.text == "[" * 20_000  # type: ignore[union-attr]


def test_deeply_nested_onbuild_is_refused() -> None:
    assert "isn't allowed" in error("FROM b\n" + "ONBUILD " * 5_000 + "RUN x").what


def test_quotes_without_end_cost_linear_time() -> None:
    source = "FROM b\nENV a=" + "'\"" * 30_000 + "\nLABEL b=" + '\\"' * 30_000
    assert len(parse(source).stages[0].instructions) == 2
    found = error("FROM b\nRUN --mount=" + "'\"\\" * 20_000)
    assert found.code == "dockerfile-mount"
    assert len(found.what) < 2000


@pytest.mark.parametrize("newline", ["\u2028", "\x0b", "\x0c", "\x85", "\x1c"])
def test_only_line_feeds_end_lines(newline: str) -> None:
    tree = parse(f"FROM b\nRUN a{newline}b\n")
    assert tree.stages[0].instructions[0].command.text == f"a{newline}b"  # type: ignore[union-attr]
