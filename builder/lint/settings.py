"""Which rules speak: ``# check=`` at the top of the file or above an instruction.

``skip=A,B;error=true;experimental=C``, in any order; ``all`` stands for every rule. The build
argument BUILDKIT_DOCKERFILE_CHECK takes the place of the directive. Rules of our own answer to
hadolint's numbers too, and to its comment ``# hadolint ignore=DL3008`` above an instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Self

from builder.errors import BuildInputError
from builder.lint.selection import BUILDKIT, Selection
from dockerfile_grammar.quoting import quoted
from records import Record, replace

if TYPE_CHECKING:
    from builder.lint.rules import Rule
    from dockerfile_grammar.nodes import Dockerfile

BUILD_ARGUMENT: Final = "BUILDKIT_DOCKERFILE_CHECK"
OPTIONS: Final = ("skip", "error", "experimental")
ALL: Final = "all"
_COMMENT = re.compile(r"check\s*=\s*(\S*)", re.IGNORECASE)
_HADOLINT = re.compile(r"hadolint\s+(?:\w+=\S+\s+)*ignore\s*=\s*([\w, ]*)")
_BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class LintOptionError(BuildInputError):
    """What ``check=`` says is not understood."""

    code = "lint-option"


class LintSettings(Record):
    """Rules left out and experimental rules asked for; ``all`` among them means every one.

    ``error`` makes a build fail that has findings.
    """

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    @classmethod
    def parse(cls, text: str, *, where: str | None = None) -> Self:
        """Read the value of ``check=``.

        Raises:
            LintOptionError: an unknown option, or ``error`` with a value that is no boolean.
        """
        values: dict[str, str] = {}
        for part in text.split(";") if text.strip() else ():
            name, equal, value = part.partition("=")
            if not equal or name.strip() not in OPTIONS:
                written = quoted(name.strip() if equal else part)
                raise LintOptionError(
                    f"failed to parse check options: invalid check option {written}",
                    where=where,
                    fix=f"use {', '.join(f'{option}=' for option in OPTIONS)} separated by ;",
                )
            values[name.strip()] = value.strip()
        error = _BOOLEANS.get(values.get("error", "false"))
        if error is None:
            raise LintOptionError(
                "failed to parse check options: error is not a boolean: " + quoted(values["error"]),
                where=where,
                fix="write error=true or error=false",
            )
        return cls(_names(values.get("skip", "")), _names(values.get("experimental", "")), error)

    @classmethod
    def of(cls, dockerfile: Dockerfile, build_args: Mapping[str, str], *, filename: str) -> Self:
        """The settings of a build: the build argument's, else the directive's.

        Raises:
            LintOptionError: as ``parse``.
        """
        if BUILD_ARGUMENT in build_args:
            return cls.parse(build_args[BUILD_ARGUMENT], where=BUILD_ARGUMENT)
        for directive in dockerfile.directives:
            if directive.name == "check":
                return cls.parse(directive.value, where=f"{filename}:{directive.line}")
        return cls()

    def allows(
        self, rule: Rule, comments: Iterable[str] = (), *, selection: Selection = BUILDKIT
    ) -> bool:
        """Whether a finding of ``rule`` counts, at an instruction below ``comments``.

        ``experimental=all`` means BuildKit's experimental rules; ours are asked for by name.
        """
        here = _from_comments(comments)
        asked = self.experimental | here.experimental
        if rule.experimental:
            return rule.name in asked or ALL in asked or selection.wants(rule)
        names = {rule.name, *rule.aliases}
        if not selection.wants(rule) and names.isdisjoint(asked):
            return False
        return (names | {ALL}).isdisjoint(self.skip | here.skip)


def is_check_comment(comment: str) -> bool:
    """Whether a comment holds settings rather than prose."""
    return _COMMENT.match(comment) is not None


def asked_in(comments: Iterable[str]) -> frozenset[str]:
    """The rules that a comment above an instruction asks for."""
    return _from_comments(comments).experimental


def _from_comments(comments: Iterable[str]) -> LintSettings:
    """What the first ``check=`` comment says, and what hadolint's say; nothing where it is not
    understood, as a comment may say anything.
    """
    found: LintSettings | None = None
    ignored = frozenset[str]()
    for comment in comments:
        foreign = _HADOLINT.match(comment)
        if foreign is not None:
            ignored |= _names(foreign[1])
        match = _COMMENT.match(comment)
        if match is not None and found is None:
            try:
                found = LintSettings.parse(match[1])
            except LintOptionError:
                found = LintSettings()
    settings = found or LintSettings()
    return replace(settings, skip=settings.skip | ignored) if ignored else settings


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
