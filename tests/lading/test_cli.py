"""The command tree: help, unknown commands, exit status, and what start-up imports."""

from __future__ import annotations

import io
import subprocess
import sys

import click
import pytest

from images.errors import InputError
from lading import __version__
from lading.cli import COMMANDS, LazyGroup, cli, run_command
from lading.errors import render_error
from lading.main import main


def test_version_is_answered_without_imports() -> None:
    program = (
        "import sys; from lading.main import main; status = main(['--version']);"
        "heavy = {'click', 'json', 'sqlite3', 'dataclasses', 'asyncio'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy or status else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"lading version {__version__}\n"), done.stderr


def test_help_lists_every_command_without_importing_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)


def walk(
    group: click.Group, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += walk(command, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"), walk(cli), ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_every_command_loads_and_explains_itself(
    path: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([*path, "--help"]) == 0
    assert f"Usage: lading {' '.join(path)}" in capsys.readouterr().out
    assert command.help


def test_the_tables_say_what_the_commands_say() -> None:
    for group in [cli, *(c for _, c in walk(cli) if isinstance(c, LazyGroup))]:
        assert isinstance(group, LazyGroup)
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            first = (command.help or "").partition("\n")[0].rstrip(".")
            assert first == group.table[name][1], name


def test_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["biuld", "."]) == 125
    assert "unknown command: lading biuld (did you mean build?)" in capsys.readouterr().err


def test_unknown_flag_is_dockers_125(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["images", "--frobnicate"]) == 125
    assert "lading images --help" in capsys.readouterr().err


def test_an_error_shows_where_what_and_the_fix() -> None:
    out = io.StringIO()
    error = InputError("no such thing", where="here", fix="do that")
    error.add_note("seen twice")
    assert render_error(error, out) == 1
    assert out.getvalue() == "lading: here: no such thing\n  do that\n  seen twice\n"


def test_a_full_disk_says_how_to_free_space() -> None:
    out = io.StringIO()
    render_error(OSError(28, "No space left on device", "/x/blob"), out)
    assert "/x/blob: No space left on device" in out.getvalue()
    assert "system prune" in out.getvalue()


def test_a_bug_says_that_it_is_one() -> None:
    out = io.StringIO()
    render_error(ZeroDivisionError("division by zero"), out)
    assert "ZeroDivisionError" in out.getvalue()
    assert "bug in lading" in out.getvalue()
