"""Commands by the program that runs in the end: not ``sudo``, ``env``, ``exec`` and the like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from builder.lint.scripts import Script
from builder.lint.shell import Command, Word
from records import Record

_WRAPPERS: Final[Mapping[str, frozenset[str]]] = {
    "sudo": frozenset({"-u", "-g", "-h", "-p", "-C", "-r", "-t", "-U", "--user", "--group"}),
    "doas": frozenset({"-u", "-C"}),
    "env": frozenset({"-u", "-C", "-S", "--unset", "--chdir"}),
    "exec": frozenset({"-a"}),
    "command": frozenset(),
    "builtin": frozenset(),
    "nice": frozenset({"-n"}),
    "ionice": frozenset({"-c", "-n"}),
    "nohup": frozenset(),
    "eatmydata": frozenset(),
    "timeout": frozenset({"-k", "-s"}),
    "xargs": frozenset({"-I", "-n", "-P", "-L", "-d", "-a", "-E"}),
}
"""Programs that run another, with those of their flags that take a value."""
_PYTHON: Final = re.compile(r"(?:python|pypy)[\d.]*\Z")
_PIP: Final = re.compile(r"pip[\d.]*\Z")
_SET: Final = re.compile(r"[A-Za-z_]\w*=")


class Invocation(Record):
    """A program with its arguments, ``words[0]`` being the program's name as written."""

    script: Script
    command: Command
    name: str
    words: tuple[Word, ...]

    @property
    def arguments(self) -> tuple[Word, ...]:
        """The words after the name."""
        return self.words[1:]

    @property
    def flags(self) -> tuple[str, ...]:
        """The arguments that begin with a dash."""
        return tuple(word.value for word in self.arguments if word.value.startswith("-"))

    def has(self, *names: str) -> bool:
        """Whether one of these flags is given, alone, with a value, or among short ones."""
        for flag in self.flags:
            if flag.partition("=")[0] in names:
                return True
            letters = {name[1] for name in names if re.fullmatch(r"-[A-Za-z]", name)}
            if letters and re.fullmatch(r"-[A-Za-z]+", flag) and letters & set(flag[1:]):
                return True
        return False

    def operands(self, valued: Iterable[str] = ()) -> list[Word]:
        """The arguments that are neither flags nor values of those in ``valued``."""
        found: list[Word] = []
        takes, skip = frozenset(valued), False
        for word in self.arguments:
            if skip:
                skip = False
            elif word.value.startswith("-") and word.value != "-":
                skip = word.value in takes
            else:
                found.append(word)
        return found


def invocations(script: Script) -> Iterator[Invocation]:
    """Every program that a script runs, as far as it can be told; in order."""
    if script.parsed.complete:
        for command in script.parsed.commands:
            yield invocation(script, command)


def invocation(script: Script, command: Command) -> Invocation:
    """What a command runs in the end; ``python -m pip`` is pip."""
    words = command.words
    while words and words[0].literal:
        name = words[0].value.rpartition("/")[2]
        valued = _WRAPPERS.get(name)
        if valued is None:
            break
        inner = _inner(words[1:], valued, pairs=name in ("env", "sudo"), first=name == "timeout")
        if not inner:
            break
        words = inner
    name = words[0].value.rpartition("/")[2] if words and words[0].literal else ""
    if _PYTHON.match(name) and [word.value for word in words[1:3]] == ["-m", "pip"]:
        words, name = words[2:], "pip"
    elif name == "uv" and [word.value for word in words[1:2]] == ["pip"]:
        words, name = words[1:], "uv pip"
    elif _PIP.match(name):
        name = "pip"
    return Invocation(script, command, name, words)


def _inner(
    words: tuple[Word, ...], valued: frozenset[str], *, pairs: bool, first: bool
) -> tuple[Word, ...]:
    """The words after a wrapper's flags, assignments and, for ``timeout``, duration."""
    index = 0
    while index < len(words):
        value = words[index].value
        if value.startswith("-"):
            index += 2 if value in valued else 1
        elif pairs and _SET.match(value):
            index += 1
        elif first:
            first = False
            index += 1
        else:
            break
    return words[index:]
