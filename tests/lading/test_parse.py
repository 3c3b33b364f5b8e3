"""The quick reading of a line agrees with click's, or leaves the word to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.run_options import RunOptions
from lading.commands.build import build
from lading.commands.declared import spelled_out
from lading.commands.run import run
from lading.flags import GLOBAL, Line
from lading.flags.build import BUILD
from lading.flags.run import RUN
from lading.parse import parse
from records import field_names

COMMANDS = {"run": (RUN, run), "build": (BUILD, build)}


def by_click(command: click.Command, words: list[str]) -> dict[str, Any] | None:
    """The values that click finds; None where it has something to say instead."""
    try:
        return command.make_context("command", list(words), resilient_parsing=False).params
    except (click.ClickException, click.exceptions.Exit):
        return None


def words_of(line: Line) -> st.SearchStrategy[list[str]]:
    """Lines in every spelling of every flag, with values that look like flags, and mistakes."""
    names = st.sampled_from([name for flag in line.flags for name in flag.names.split()])
    value = st.sampled_from(["a", "", "-", "--", "-x", "--rm", "A=1", "=", "text", "64m", "ü"])
    bundle = st.text("itdPqevxh=-a", min_size=1, max_size=4).map("-{}".format)
    spelling = st.one_of(
        names,
        st.builds("{}={}".format, names, value),
        st.builds("{}{}".format, names, value),
        bundle,
        value,
    )
    return st.lists(spelling, max_size=6)


@pytest.mark.parametrize("name", COMMANDS)
def test_knows_every_parameter(name: str) -> None:
    line, command = COMMANDS[name]
    fields = {flag.field for flag in line.flags}
    fields |= {positional.removesuffix("...") for positional in line.positionals}
    assert fields == {parameter.name for parameter in command.params}


def test_fills_every_option_of_run() -> None:
    values = parse(RUN, ["image"])
    assert values is not None
    assert set(field_names(RunOptions)) == set(values) - {
        "insecure_registry",
        "policy",
        "verify_key",
        "disable_content_trust",
    }


@given(words_of(RUN))
@example(["-itde", "A", "image"])
@example(["-eA=1", "-e=B", "--", "-image", "--rm"])
@example(["--sig-proxy", "--no-sig-proxy", "image", "sh", "-c", "--", "x"])
def test_run_agrees_with_click(words: list[str]) -> None:
    values = parse(RUN, words)
    assert values is None or values == by_click(run, words)


@given(words_of(BUILD))
@example([".", "-t", "a", "--tag=b", "-tc", "--plan", "json"])
@example(["-qt", "a", "--", "-dir"])
def test_build_agrees_with_click(words: list[str]) -> None:
    values = parse(BUILD, words)
    assert values is None or values == by_click(build, words)


@pytest.mark.parametrize(
    "words",
    [
        "debian",
        "--rm -it debian bash",
        "-it --name web debian bash -l --name other",
        "-e A=1 -eB=2 --env C --env=D=4 debian",
        "-p 80:80 -p8080:80 --publish=81:81/udp -P debian",
        "-v /a:/b:ro --mount type=tmpfs,dst=/x --tmpfs /run --read-only debian",
        "-m 64m --memory-swap=-1 --cpus 1.5 -c 512 --pids-limit -1 debian",
        "-u 1000:1000 -w /x -h host --entrypoint= debian",
        "--net none --network host debian",
        "--no-sig-proxy --policy p --verify-key a --verify-key=b debian",
        "-- debian -- sh",
    ],
)
def test_takes_what_people_type(words: str) -> None:
    values = parse(RUN, words.split())
    assert values is not None
    assert values == by_click(run, words.split())


@pytest.mark.parametrize(
    "words",
    ["", "--rm", "--help", "-x debian", "--", "--rm=true debian", "-e", "--name", "-iz debian"],
)
def test_leaves_mistakes_and_help_to_click(words: str) -> None:
    assert parse(RUN, words.split()) is None


@pytest.mark.parametrize("words", ["a b", "--plan yaml", "-h", "--help", "--no-cache=1", "-f"])
def test_leaves_mistakes_of_a_build_to_click(words: str) -> None:
    assert parse(BUILD, words.split()) is None


def test_reads_the_flags_before_a_command() -> None:
    values = parse(GLOBAL, ["--root", "/r", "-D", "run", "-D", "x"])
    assert values == {"root": "/r", "config": None, "debug": True, "words": ("run", "-D", "x")}


def test_paths_are_paths() -> None:
    values = parse(BUILD, ["--iidfile", "x", "--verify-key", "a"])
    assert values is not None
    assert (values["iidfile"], values["verify_key"]) == (Path("x"), (Path("a"),))


def test_what_the_container_is_given_is_not_spelled_out() -> None:
    flag = "--disable-content-trust"
    words = [flag, "--name", "a", "image", "tool", flag]
    assert spelled_out(RUN, words) == [f"{flag}=true", *words[1:]]
