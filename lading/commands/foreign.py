"""Command lines as people type them for other builders: switches with a value, flags of theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from lading.errors import UsageError
from lading.flags import ON_OFF, OPTIONAL, OPTIONAL_TEXT, SWITCH, Flag, Line
from lading.flags.elsewhere import ELSEWHERE, IGNORED, MEANS, Foreign

_TRUTH = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_PULL = {"always": True, "newer": True, "ifnewer": True, "missing": False, "ifmissing": False}
"""What buildah's ``--pull=`` means besides true and false."""
_STATED = re.compile(r"(?:true|false|[01tf])\Z|[a-z][a-z-]*=", re.IGNORECASE)
"""What follows ``--provenance`` or ``--sbom`` as its value, where buildx would take anything."""
_ARGUMENT_FILE = "--build-arg-file"


def translated(line: Line, words: Sequence[str]) -> list[str]:
    """The words by which this command knows what was typed.

    Raises:
        UsageError: a flag that means nothing here; says what to type instead.
    """
    own = {name: flag for flag in line.flags for name in flag.names.split()}
    others = {name: flag for flag in ELSEWHERE for name in flag.names.split() if name not in own}
    rest, result = list(reversed(words)), list[str]()
    while rest:
        word = rest.pop()
        if word == "--":
            return [*result, word, *reversed(rest)]
        name, equals, value = word.partition("=")
        if name in others:
            result += _foreign(others[name], name, value if equals else None, rest)
        elif name == _ARGUMENT_FILE and "--build-arg" in own:
            result += _arguments(value if equals else rest.pop() if rest else "")
        elif name in own and equals and own[name].kind in (SWITCH, ON_OFF):
            result = _switched(own[name], name, value, result)
        elif name in own and not equals and own[name].kind == OPTIONAL_TEXT:
            stated = bool(rest) and _STATED.match(rest[-1]) is not None
            result.append(f"{name}={rest.pop()}" if stated else word)
        else:
            result.append(word)
            if rest and name in own and not equals and _takes_next(own[name]):
                result.append(rest.pop())
    return result


def _takes_next(flag: Flag) -> bool:
    return flag.kind not in (SWITCH, ON_OFF, OPTIONAL, OPTIONAL_TEXT)


def _foreign(flag: Foreign, name: str, value: str | None, rest: list[str]) -> list[str]:
    if flag.kind not in (IGNORED, MEANS):
        raise UsageError("is not a flag here", where=name, fix=flag.text)
    if flag.value and value is None:
        if not rest:
            raise UsageError("wants a value", where=name)
        value = rest.pop()
    if flag.kind == IGNORED:
        return []
    if not flag.value and value is not None and not _truth(name, value):
        return []
    return [flag.text.replace("{}", value or "")]


def _switched(flag: Flag, name: str, value: str, before: list[str]) -> list[str]:
    """``--switch=true`` and ``--switch=false``; the last word counts."""
    on = _PULL.get(value.lower()) if flag.field == "pull" else None
    on = _truth(name, value) if on is None else on
    names = flag.names.split()
    kept = [word for word in before if word not in names]
    if flag.kind == ON_OFF:
        off = name.startswith("--no-")
        return [*kept, names[0] if on != off else names[1]]
    return [*kept, name] if on else kept


class SwitchCommand(click.Command):
    """A command whose switches take a value, ``--switch=false``, as those of docker's plugins."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read such words first; the last one about a switch counts."""
        switches = {
            name: option
            for option in self.params
            if isinstance(option, click.Option) and option.is_bool_flag
            for name in option.opts
        }
        words: list[str] = []
        for number, word in enumerate(args):
            if word == "--":
                words += args[number:]
                break
            name, equals, value = word.partition("=")
            if not (equals and name in switches):
                words.append(word)
                continue
            option = switches[name]
            names = (*option.opts, *option.secondary_opts)
            on = _truth(name, value)
            words = [before for before in words if before not in names]
            words += [name] if on else option.secondary_opts[:1]
        return super().parse_args(ctx, words)


def _truth(name: str, value: str) -> bool:
    found = _TRUTH.get(value.lower())
    if found is None:
        raise UsageError(f"{value!r} is neither true nor false", where=name, fix=f"write {name}")
    return found


def _arguments(path: str) -> list[str]:
    """buildah's file of build arguments: a line for each, comments after a number sign."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=f"{_ARGUMENT_FILE} {path}") from error
    told = [text.strip() for text in lines]
    return [f"--build-arg={text}" for text in told if text and not text.startswith("#")]
