"""Which flags each instruction takes, and reading their values.

Dockerfile reference; the messages are BuildKit's. ARG, STOPSIGNAL and HEALTHCHECK NONE drop flags
unread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dockerfile_grammar.durations import parse_duration
from dockerfile_grammar.errors import SyntaxFault
from dockerfile_grammar.quoting import quoted
from dockerfile_grammar.suggest import nearest, with_suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockerfile_grammar.syntax import Flag

_MILLISECOND = 10**6
_NUMBER = re.compile(r"[-+]?[0-9]{1,10}\Z", re.ASCII)

TEXT, BOOLEAN, LIST = "text", "boolean", "list"

KNOWN: Mapping[str, Mapping[str, str]] = {
    "ADD": {
        "checksum": TEXT,
        "chmod": TEXT,
        "chown": TEXT,
        "exclude": LIST,
        "keep-git-dir": BOOLEAN,
        "link": BOOLEAN,
        "parents": BOOLEAN,
        "unpack": BOOLEAN,
    },
    "COPY": {
        "chmod": TEXT,
        "chown": TEXT,
        "exclude": LIST,
        "from": TEXT,
        "link": BOOLEAN,
        "parents": BOOLEAN,
    },
    "FROM": {"platform": TEXT},
    "HEALTHCHECK": {
        "interval": TEXT,
        "retries": TEXT,
        "start-interval": TEXT,
        "start-period": TEXT,
        "timeout": TEXT,
    },
    "RUN": {"device": LIST, "mount": LIST, "network": TEXT, "security": TEXT},
}
"""Instructions that take flags; every other takes none."""


class FlagValues:
    """The flags of one instruction, checked against what it takes."""

    def __init__(self, keyword: str, flags: tuple[Flag, ...]) -> None:
        """Check the flags of an instruction.

        Raises:
            SyntaxFault: unknown, given twice, without value, or a boolean that is none.
        """
        known = KNOWN.get(keyword, {})
        self._given: dict[str, list[Flag]] = {}
        for flag in flags:
            kind = known.get(flag.name)
            if kind is None:
                raise _unknown(keyword, flag, known)
            if flag.name in self._given and kind != LIST:
                raise SyntaxFault(
                    f"duplicate flag specified: --{flag.name}",
                    code="dockerfile-flag",
                    fix="keep one of them",
                    offset=flag.offset,
                )
            _check_value(flag, kind)
            self._given.setdefault(flag.name, []).append(flag)

    def text(self, name: str) -> str | None:
        """The value of a flag; None where it was not given."""
        given = self._given.get(name)
        return given[0].value if given else None

    def listed(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be repeated."""
        return tuple(flag.value or "" for flag in self._given.get(name, ()))

    def boolean(self, name: str) -> bool | None:
        """True for the bare flag; None where it was not given."""
        given = self._given.get(name)
        return (given[0].value or "true").lower() == "true" if given else None

    def duration(self, name: str) -> int:
        """Nanoseconds; 0 where not given.

        Raises:
            SyntaxFault: not a duration, or shorter than a millisecond.
        """
        value = self.text(name)
        if not value:
            return 0
        try:
            duration = parse_duration(value)
        except SyntaxFault as error:
            error.offset = self.offset(name)
            raise
        if duration < _MILLISECOND:
            raise SyntaxFault(
                f"Interval {quoted(name)} cannot be less than 1ms",
                code="dockerfile-duration",
                fix=f"write --{name}=30s, or leave it out",
                offset=self.offset(name),
            )
        return duration

    def count(self, name: str) -> int:
        """A whole number; 0 where not given.

        Raises:
            SyntaxFault: not a number, negative, or beyond 32 bits.
        """
        value = self.text(name)
        if not value:
            return 0
        if not _NUMBER.match(value) or abs(int(value)) >= 2**31:
            raise SyntaxFault(
                f"invalid number of {name}: {value}",
                code="dockerfile-flag",
                fix="write a whole number",
                offset=self.offset(name),
            )
        if int(value) < 0:
            raise SyntaxFault(
                f"--{name} cannot be negative ({int(value)})",
                code="dockerfile-flag",
                fix=f"write --{name}=3, or leave it out",
                offset=self.offset(name),
            )
        return int(value)

    def offset(self, name: str, index: int = 0) -> int | None:
        """Where a flag was written."""
        given = self._given.get(name)
        return given[index].offset if given else None


def _unknown(keyword: str, flag: Flag, known: Mapping[str, str]) -> SyntaxFault:
    near = nearest(flag.name, known)
    if near is not None:
        fix = f"write --{near}"
    elif known:
        fix = f"{keyword} takes {', '.join(f'--{name}' for name in known)}"
    else:
        fix = f"{keyword} takes no flags"
    return SyntaxFault(
        with_suggestion(f"unknown flag: --{flag.name}", flag.name, known),
        code="dockerfile-flag",
        fix=fix,
        offset=flag.offset,
    )


def _check_value(flag: Flag, kind: str) -> None:
    missing = "" if kind == BOOLEAN else None
    if flag.value == missing:
        raise SyntaxFault(
            f"missing a value on flag: --{flag.name}",
            code="dockerfile-flag",
            fix=f"write --{flag.name}=...",
            offset=flag.offset,
        )
    if kind == BOOLEAN and flag.value is not None and flag.value.lower() not in ("true", "false"):
        raise SyntaxFault(
            f"expecting boolean value for flag --{flag.name}, not: {flag.value}",
            code="dockerfile-flag",
            fix=f"write --{flag.name} or --{flag.name}=false",
            offset=flag.offset,
        )
