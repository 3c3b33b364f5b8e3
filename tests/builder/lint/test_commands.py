"""Rules about what RUN, CMD and ENTRYPOINT say: the edges."""

from __future__ import annotations

import pytest

from builder.lint.selection import Selection
from tests.builder.lint.kit import messages, own


def rules(*lines: str) -> list[str]:
    """The rules that a stage breaks."""
    return [rule for rule, _ in own("\n".join(["FROM a:1", *lines, ""]))]


def test_a_run_without_effect_and_one_with() -> None:
    for run in ("cd /x", "export A=b", "A=b", "cd /x && export C=d", "umask 022; ulimit -n 5"):
        assert rules(f"RUN {run}") == ["RunWithoutEffect"]
    for run in (
        "cd /x && make",
        "export A=$(touch /x)",
        "cd /x > /log",
        "A=b make",
        ". /etc/profile",
        "cd /x || exit 1",
        "set -e",
    ):
        assert "RunWithoutEffect" not in rules(f"RUN {run}")
    said = messages("FROM a:1\nRUN A=b\n", selection=Selection(frozenset({"RunWithoutEffect"})))
    assert said == ["'A=b' is forgotten when this step ends; use ENV"]


@pytest.mark.parametrize(
    "run",
    [
        "echo y | a",
        "yes | a",
        "if a | b; then c; fi",
        "! a | b",
        "a | b || c",
        "x=$(a | b)",
        "set -o pipefail && a | b",
        "set -euxo pipefail; a | b",
        "[[ $(a | b) ]]",
        "'a | b'",
    ],
)
def test_pipes_whose_failure_is_known(run: str) -> None:
    assert rules(f"RUN {run}") == []


def test_pipes_that_hide_a_failure() -> None:
    assert rules("RUN a | b") == ["PipeWithoutPipefail"]
    assert rules("RUN echo x | a | b") == ["PipeWithoutPipefail"]
    assert rules('SHELL ["/bin/bash", "-eo", "pipefail", "-c"]', "RUN a | b") == []
    assert rules('SHELL ["/bin/bash", "-c"]', "RUN a | b") == ["PipeWithoutPipefail"]
    inherited = 'FROM a:1 AS b\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nFROM b\nRUN c | d\n'
    assert own(inherited) == []


@pytest.mark.parametrize(
    ("run", "unseen"),
    [
        ("curl x | sh", True),
        ("wget -O- x | sudo -E bash -s -- y", True),
        ("curl x | tee y | python3 -", True),
        ('sh -c "$(curl x)"', True),
        ("bash <(curl x)", True),
        ("(curl x | sh)", True),
        ("curl x | tar x", False),
        ("curl x | bash script.sh", False),
        ("curl x | python3 -c 'import json'", False),
        ("cat x | sh", False),
        ("curl x -o y && sh y", False),
    ],
)
def test_downloads_that_are_executed_unseen(run: str, unseen: bool) -> None:
    assert ("DownloadPipedToShell" in rules(f"RUN {run}")) == unseen


@pytest.mark.parametrize(
    ("body", "noticed"),
    [
        ("make\nmake install", False),
        ("set -e\nmake\nmake install", True),
        ("set -o errexit\nmake\nmake install", True),
        ("#!/bin/sh -e\nmake\nmake install", False),
        ("make &&\nmake install", True),
        ("make || exit 1\nmake install", True),
        ("make", True),
        ("export A=b\necho c\nmake", True),
        ("if a; then b; fi\nmake", True),
        ("make; make install", False),
        ("cat <<X > /y\nmake\nX\nmake", False),
    ],
)
def test_here_documents(body: str, noticed: bool) -> None:
    wanted = [] if noticed or body.startswith("#!") else ["HeredocWithoutErrexit"]
    assert rules(f"RUN <<EOF\n{body}\nEOF") == wanted
    assert rules('SHELL ["/bin/sh", "-ec"]', f"RUN <<EOF\n{body}\nEOF") == []


@pytest.mark.parametrize(
    ("run", "found"),
    [
        ("git clone https://$X@h/r", True),
        ("git clone https://u:${X}@h/r", True),
        ("a --password=$X", True),
        ("a --registry-token $X", True),
        ('curl -H "Authorization: Bearer $X" u', True),
        ("npm config set //r/:_authToken=$X", True),
        ("curl -u me:$X u", True),
        ("curl https://h/$X/file", False),
        ("a --version $X", False),
        ("git clone https://$XY@h/r", False),
        ("--mount=type=secret,id=x,env=X git clone https://$X@h/r", False),
    ],
)
def test_arguments_as_credentials(run: str, found: bool) -> None:
    assert rules("ARG X", f"RUN {run}") == (["BuildArgAsCredential"] if found else [])
    assert rules(f"RUN {run}") == []


def test_sudo_where_it_is_needed() -> None:
    assert rules("RUN sudo make") == ["SudoInRun"]
    assert rules("USER b", "RUN sudo make") == []
    assert "SudoInRun" in rules("USER b", "USER root", "RUN sudo make", "USER b")
    assert rules("RUN sudo -u b make") == []
    assert rules("RUN echo sudo make") == []


@pytest.mark.parametrize(
    ("run", "rule"),
    [
        ("mkdir -p /x && cd /x && make", True),
        ("mkdir /x; cd /x; make", True),
        ("mkdir -p /tmp/x && cd /tmp/x && make", False),
        ("mkdir -p /x && cd /x && make && cd / && rm -r /x", False),
        ("mkdir -m 700 /x && cd /x && make", False),
        ("mkdir /x /y && cd /x && make", False),
        ("mkdir /x && cd /y && make", False),
        ("mkdir $x && cd $x && make", False),
    ],
)
def test_directories_that_are_made_and_entered(run: str, rule: bool) -> None:
    assert rules(f"RUN {run}") == (["WorkdirInsteadOfMkdir"] if rule else [])


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ('"sh", "-c", "a && b c"', "b"),
        ('"/bin/bash", "-ec", "a; b"', "b"),
        ('"sh", "-c", "a && exec b"', None),
        ('"sh", "-c", "a"', None),
        ('"sh", "-c", "a & b & wait"', None),
        ('"sh", "-c", "trap x TERM; b"', None),
        ('"sh", "-c", "a; echo b"', None),
        ('"sh", "script"', None),
        ('"env", "sh", "-c", "a; b"', None),
    ],
)
def test_shells_that_stay(words: str, program: str | None) -> None:
    selection = Selection(frozenset({"ShellWithoutExec"}))
    said = messages(f"FROM a:1\nENTRYPOINT [{words}]\n", selection=selection)
    start = f"ENTRYPOINT starts '{program}' below a shell that passes no signals on"
    assert said == ([f"{start}: write exec {program}"] if program else [])


def test_an_entry_point_that_takes_no_arguments() -> None:
    assert rules("ENTRYPOINT a", "CMD b") == ["EntrypointIgnoresCmd"]
    assert rules("CMD b", "ENTRYPOINT a") == ["EntrypointIgnoresCmd"]
    assert rules('ENTRYPOINT a "$@"', "CMD b") == []
    assert rules('ENTRYPOINT ["a"]', "CMD b") == []
    assert rules("ENTRYPOINT a", "CMD []") == []
    assert rules("ENTRYPOINT []", "CMD b") == []
    assert own("FROM a:1 AS x\nENTRYPOINT a\nFROM x\nCMD b\n") == []
