"""Shell text: what is written is what is read, by our reader and by Python's and bash's."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.lint.shell import parse

PLAIN = st.text("abcXYZ019-_./=:,%@+", min_size=1, max_size=6).filter(lambda text: "=" not in text)
ANY_TEXT = st.text(" \t\n'\"\\$`&|;()<>{}#!*?[]abcdo~=-1")
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=8)
JOINT = st.sampled_from([" && ", " || ", "; ", "\n", " & ", " | ", "&&", "|", ";"])
OPERATORS = {"&&", "||", ";", "&", "\n"}


@given(ANY_TEXT)
def test_whatever_a_text_holds_it_is_read(text: str) -> None:
    script = parse(text)
    for command in script.commands:
        assert 0 <= command.start <= command.end <= len(text)
        for word in command.words:
            assert text[word.start : word.end] == word.text
        spans = [(word.start, word.end) for word in command.words]
        assert spans == sorted(spans)
    for pipeline in script.pipelines:
        assert pipeline.start <= pipeline.end


@given(st.lists(VALUE, min_size=1, max_size=5))
def test_quoted_words_come_back(values: list[str]) -> None:
    text = " ".join(["echo", *map(shlex.quote, values)])
    (command,) = parse(text).commands
    assert [word.value for word in command.words] == ["echo", *values]
    assert all(word.literal for word in command.words)
    assert [word.value for word in command.words] == shlex.split(text)


@given(st.lists(st.tuples(JOINT, st.lists(PLAIN, max_size=3)), min_size=1, max_size=6))
def test_commands_come_back(parts: list[tuple[str, list[str]]]) -> None:
    commands = [["x", *arguments] for _, arguments in parts]
    text = " ".join(commands[0])
    for (joint, _), command in zip(parts[1:], commands[1:], strict=True):
        text += joint + " ".join(command)
    script = parse(text)
    assert script.complete
    assert [[word.value for word in command.words] for command in script.commands] == commands
    joints = [joint.strip(" ") for joint, _ in parts[1:]]
    assert [pipeline.joined for pipeline in script.outermost] == [
        "",
        *(joint for joint in joints if joint in OPERATORS),
    ]


@given(st.lists(PLAIN, min_size=1, max_size=3), st.sampled_from(["({})", "{{ {}; }}", "a $({})"]))
def test_nesting_adds_a_level(words: list[str], frame: str) -> None:
    text = frame.format(" ".join(["x", *words]))
    script = parse(text)
    assert script.complete
    (inner,) = [command for command in script.commands if command.name == "x"]
    assert inner.depth == 1
    assert [word.value for word in inner.words] == ["x", *words]


SCRIPTS = [
    "a() { :; }; if a; then echo x; else echo y; fi | cat && (echo z; echo w) 2>&1",
    "case x in (a|b) echo 1 ;; *) echo 2 ;& c) echo 3 ;; esac; [[ a == b || -n c ]]",
    'x=$(echo "$(echo ")")"); for i in 1 2; do echo "$i" > /dev/null; done & wait',
    "cat <<A\n$(echo b)\nA\nwhile read -r l; do :; done < <(echo q)",
    "echo ${x:-\"a}b\"} ${y//\\}/z} $'it\\'s' \"`echo \\`echo q\\``\"; a=(1 '2)' 3); ((1 + (2)))",
]


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_what_bash_takes_is_understood(number: int) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    text = SCRIPTS[number]
    assert subprocess.run([bash, "-n", "-c", text], capture_output=True).returncode == 0
    assert parse(text).complete
