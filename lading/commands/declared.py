"""click's commands from the tables of ``lading.flags``: same fields, same names, click's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lading.flags import (
    INSECURE,
    LIST,
    NO_CONTENT_TRUST,
    ON_OFF,
    OPTIONAL,
    OPTIONAL_TEXT,
    PATH,
    PATHS,
    POLICY,
    SWITCH,
    VERIFY_KEY,
    Flag,
    Line,
)

Decorated = Callable[..., Any]


def declared(line: Line) -> Callable[[Decorated], Decorated]:
    """Give a command the positionals and flags of a table."""

    def decorate(command: Decorated) -> Decorated:
        command = flagged(line)(command)
        for name in reversed(line.positionals):
            command = _argument(name, line.default)(command)
        return command

    return decorate


class TableCommand(click.Command):
    """A command made from a table; click knows no flags with a value that may be missing."""

    line: Line

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write out what is missing, then go on as click does."""
        return super().parse_args(ctx, spelled_out(self.line, args))


def spelled_out(line: Line, words: Sequence[str]) -> list[str]:
    """``words`` with what is meant written behind every optional flag that stands alone."""
    names = {name: flag for flag in line.flags for name in flag.names.split()}
    rest, result = list(reversed(words)), list[str]()
    while rest:
        word = rest.pop()
        flag = names.get(word)
        if word == "--" or not (line.interspersed or word.startswith("-")):
            return [*result, word, *reversed(rest)]
        if flag is not None and flag.kind in (OPTIONAL, OPTIONAL_TEXT):
            word = f"{word}={[*flag.choices, 'true'][0]}"
        result.append(word)
        if rest and _wants_next(word, names):
            result.append(rest.pop())
    return result


def _wants_next(word: str, names: Mapping[str, Flag]) -> bool:
    """Whether the word after this one is its value, whatever it looks like."""
    if word.startswith("--"):
        flag = names.get(word)
        return flag is not None and flag.kind not in (SWITCH, ON_OFF)
    for position, letter in enumerate(word[1:] if word.startswith("-") else "", 2):
        flag = names.get(f"-{letter}")
        if flag is None or flag.kind != SWITCH:
            return flag is not None and not word[position:]
    return False


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


class TrustingCommand(TableCommand):
    """A command of click's own with docker's flag for content trust, whose value may be missing."""

    line = Line((NO_CONTENT_TRUST,), ())


def content_trust_option(command: Decorated) -> Decorated:
    """Docker's flag on commands that obey DOCKER_CONTENT_TRUST."""
    return option(NO_CONTENT_TRUST)(command)


def _argument(name: str, default: str | None) -> Callable[[Decorated], Decorated]:
    if name.endswith("..."):
        return click.argument(name.removesuffix("..."), nargs=-1, type=click.UNPROCESSED)
    return click.argument(name, default=default) if default else click.argument(name)
