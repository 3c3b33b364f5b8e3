"""Properties of the parser: no error but its own, and trees that survive the codec."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dockerfile_grammar.codec import decode, encode
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.lines import read_source
from dockerfile_grammar.nodes import Env, KeyValue, Run, ShellForm
from dockerfile_grammar.parser import parse
from dockerfile_grammar.syntax import SHAPES, unquote_flag

FRAGMENTS = st.sampled_from(
    [
        *SHAPES,
        *(
            "\n",
            "\n",
            "\\\n",
            " ",
            "\t",
            "#",
            "# escape=`\n",
            "`",
            "\\",
            '"',
            "'",
            "=",
            "$",
            "{",
            "}",
        ),
        *(
            "<<EOF",
            "<<-E",
            "EOF\n",
            "E\n",
            "[",
            "]",
            '["a","b"]',
            ",",
            "--mount=",
            "--from=x",
            "--",
        ),
        *("AS", "CMD", "NONE", "a", "b=c", "é", "\r\n", "\x0b", "type=cache", "/x"),
    ]
)
SOURCES = st.lists(FRAGMENTS, max_size=40).map("".join)


@given(SOURCES | st.text(max_size=200) | st.binary(max_size=200))
@settings(max_examples=300)
def test_only_the_declared_error(source: str | bytes) -> None:
    try:
        tree = parse(source)
    except DockerfileError as error:
        fault = error
    else:
        assert decode(encode(tree)) == tree
        return
    assert fault.what
    assert fault.where
    assert fault.excerpt().startswith("Dockerfile")


@given(SOURCES)
def test_every_instruction_keeps_its_lines(source: str) -> None:
    try:
        tree = parse("FROM b\n" + source)
    except DockerfileError:
        return
    ranges = [item.range for stage in tree.stages for item in (stage.base, *stage.instructions)]
    ends = [0] + [span.end for span in ranges]
    assert all(before < span.start <= span.end for before, span in zip(ends, ranges, strict=False))


@given(SOURCES)
def test_places_point_at_their_characters(source: str) -> None:
    try:
        cut = read_source("FROM b\n" + source, filename="f")
    except DockerfileError:
        return
    for line in cut.lines:
        for offset, char in enumerate(line.text):
            number, column = line.locate(offset)
            assert cut.physical[number - 1][column - 1] == char


WORDS = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="\\\"'`="), min_size=1
)


@given(st.lists(st.tuples(WORDS, st.text(st.characters(exclude_categories=["C"])))))
def test_quoted_pairs_come_back(pairs: list[tuple[str, str]]) -> None:
    if not pairs:
        return
    escaped = [(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in pairs]
    line = " ".join(f'{name}="{value}"' for name, value in escaped)
    if line.lstrip().startswith("--"):
        return
    env = parse(f"FROM b\nENV {line}").stages[0].instructions[0]
    assert isinstance(env, Env)
    assert env.pairs == tuple(KeyValue(name, f'"{value}"') for name, value in escaped)


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1))
def test_a_continued_line_is_the_joined_line(text: str) -> None:
    command = f"x{text}x"
    if "<<" in command or "\\" in command:
        return
    middle = len(command) // 2
    broken = f"FROM b\nRUN {command[:middle]}\\\n{command[middle:]}"
    if command[middle:].lstrip().startswith("#"):
        return
    run = parse(broken).stages[0].instructions[0]
    assert isinstance(run, Run)
    assert run.command == ShellForm(command)


@given(st.text())
def test_a_quoted_flag_comes_back(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    assert unquote_flag(f'--x="{escaped}"') == f"--x={text}"
