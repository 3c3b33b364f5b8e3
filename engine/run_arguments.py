"""The flags of `run` read without an argument parser's import: the common case of a cold start.

What this does not know, it does not judge: ``parse`` returns None, and the full parser of the
command line has the word, with its messages and its help. The fields of ``RunOptions`` say what
each flag takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.run_options import RunOptions

_SHORT = {
    "c": "cpu_shares",
    "d": "detach",
    "e": "env",
    "h": "hostname",
    "i": "interactive",
    "l": "label",
    "m": "memory",
    "p": "publish",
    "P": "publish_all",
    "t": "tty",
    "u": "user",
    "v": "volume",
    "w": "workdir",
}
_OTHER_NAMES = {"net": "network"}
_POSITIONAL = ("image", "command")


def parse(arguments: Sequence[str]) -> RunOptions | None:
    """The options of `run ARGUMENTS`, or None for anything but known flags before an image."""
    kinds: dict[str, str] = RunOptions.__annotations__
    values: dict[str, Any] = {}
    words = list(arguments)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        taken = _long(word, kinds) if word.startswith("--") else _short(word, kinds)
        if taken is None:
            return None
        for name, value in taken:
            if value is None:
                if not words:
                    return None
                value = words.pop(0)
            if kinds[name].startswith("tuple"):
                values[name] = (*values.get(name, ()), value)
            else:
                values[name] = value
    if not words:
        return None
    return RunOptions(image=words[0], command=tuple(words[1:]), **values)


_Taken = list[tuple[str, "str | bool | None"]]
"""Fields and their values; None stands for the next word."""


def _long(word: str, kinds: dict[str, str]) -> _Taken | None:
    flag, equals, value = word[2:].partition("=")
    name = _OTHER_NAMES.get(flag, flag.replace("-", "_"))
    if name not in kinds or name in _POSITIONAL or "_" in flag:
        return None
    if kinds[name] == "bool":
        return None if equals else [(name, True)]
    return [(name, value if equals else None)]


def _short(word: str, kinds: dict[str, str]) -> _Taken | None:
    taken: _Taken = []
    rest = word[1:]
    while rest:
        name = _SHORT.get(rest[0])
        rest = rest[1:]
        if name is None:
            return None
        if kinds[name] == "bool":
            taken.append((name, True))
        else:
            taken.append((name, rest or None))
            return taken
    return taken or None
