"""click's commands from the tables of ``lading.flags``: same fields, same names, click's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lading.flags import INSECURE, LIST, ON_OFF, PATH, PATHS, POLICY, SWITCH, VERIFY_KEY, Flag, Line

Decorated = Callable[..., Any]


def declared(line: Line) -> Callable[[Decorated], Decorated]:
    """Give a command the positionals and flags of a table."""

    def decorate(command: Decorated) -> Decorated:
        command = flagged(line)(command)
        for name in reversed(line.positionals):
            command = _argument(name, line.default)(command)
        return command

    return decorate


def flagged(line: Line) -> Callable[[Decorated], Decorated]:
    """Give a command the flags alone."""

    def decorate(command: Decorated) -> Decorated:
        for flag in reversed(line.flags):
            command = option(flag)(command)
        return command

    return decorate


def option(flag: Flag) -> Callable[[Decorated], Decorated]:
    """One flag as click declares it."""
    names = flag.names.split()
    if flag.kind == ON_OFF:
        return click.option("/".join(names), flag.field, default=True, help=flag.help)
    if flag.kind == SWITCH:
        return click.option(*names, flag.field, is_flag=True, help=flag.help)
    kind: Any = click.STRING
    if flag.kind in (PATH, PATHS):
        kind = click.Path(path_type=Path)
    elif flag.choices:
        kind = click.Choice(flag.choices)
    return click.option(
        *names,
        flag.field,
        type=kind,
        multiple=flag.kind in (LIST, PATHS),
        metavar=flag.metavar,
        default=flag.default,
        show_default=bool(flag.default),
        help=flag.help,
    )


def access_options(command: Decorated) -> Decorated:
    """The flags every command has that reaches a registry."""
    return option(INSECURE)(command)


def trust_options(command: Decorated) -> Decorated:
    """The flags every command has that takes images from a registry."""
    return option(VERIFY_KEY)(option(POLICY)(command))


def _argument(name: str, default: str | None) -> Callable[[Decorated], Decorated]:
    if name.endswith("..."):
        return click.argument(name.removesuffix("..."), nargs=-1, type=click.UNPROCESSED)
    return click.argument(name, default=default) if default else click.argument(name)
