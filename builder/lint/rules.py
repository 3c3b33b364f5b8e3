"""What a rule is, and BuildKit's: their names, descriptions, pages and messages, word for word.

What makes a rule of BuildKit fire is in ``files`` (the text alone), ``bases`` (FROM and the global
arguments) and ``stages`` (an instruction with the variables and the config it meets). The rules of
our own are in ``own``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from dockerfile_grammar.quoting import quoted
from records import Record

if TYPE_CHECKING:
    from dockerfile_grammar.nodes import Node, SourceRange

PAGES: Final = "https://docs.docker.com/go/dockerfile/rule/"
OWN_PAGES: Final = "docs/lint/"
"""Where in the project the pages are."""
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Level(IntEnum):
    """When a rule speaks without being asked for by name."""

    DEFAULT = 0
    """In every build: what it finds is almost surely a mistake."""
    RECOMMENDED = 1
    """In a check and in ``lading lint``."""
    OPTIONAL = 2
    """Never: a matter of taste, or of what the image is for."""


class Rule(Record):
    """One check. ``format`` makes the message of a finding from the words it is about."""

    name: str
    description: str
    format: Callable[..., str]
    experimental: bool = False
    """Only reported where ``experimental=`` asks for it, and not silenced by ``skip=``."""
    level: Level = Level.DEFAULT
    aliases: tuple[str, ...] = ()
    """What hadolint calls it."""
    advice: str = ""
    """How to mend it, where the message does not say."""
    own: bool = False
    """Not one of BuildKit's."""

    @property
    def url(self) -> str:
        """The page that explains the rule: for BuildKit's the one its users know, else ours."""
        if self.own:
            return f"{OWN_PAGES}{self.name}.md"
        return f"{PAGES}{_WORD.sub('-', self.name).lower()}/"

    def at(
        self, node: Node, *words: object, place: Place | None = None, fix: Fix | None = None
    ) -> Finding:
        """A finding of this rule at an instruction, or at ``place`` in it."""
        return Finding(self, self.format(*words), node.range, node.comments, node, place, fix)


class Place(Record):
    """Characters of an instruction's text, from ``start`` up to ``end``.

    With ``heredoc``, those of the content of its here-document of that number.
    """

    start: int
    end: int
    heredoc: int | None = None


class Change(Record):
    """``text`` in place of what stands at ``place``; an insertion where that is empty."""

    place: Place
    text: str


class Fix(Record):
    """What mends a finding. A safe one leaves what is built as it was meant."""

    what: str
    changes: tuple[Change, ...]
    safe: bool = True


class Finding(Record):
    """A rule that fired: where, and the comment lines right above that place.

    ``node`` is the instruction, None where a whole line is at fault. ``fix`` is known for rules of
    our own; ``repairs`` knows those of BuildKit's.
    """

    rule: Rule
    message: str
    range: SourceRange
    comments: tuple[str, ...] = ()
    node: Node | None = None
    place: Place | None = None
    fix: Fix | None = None


def _undefined_from(name: str, near: str) -> str:
    suggestion = f" (did you mean {near}?)" if near else ""
    return f"FROM argument '{name}' is not declared{suggestion}"


def _undefined_variable(name: str, near: str) -> str:
    suggestion = f" (did you mean ${near}?)" if near else ""
    return f"Usage of undefined variable '${name}'{suggestion}"


STAGE_NAME_CASING: Final = Rule(
    "StageNameCasing",
    "Stage names should be lowercase",
    "Stage name '{}' should be lowercase".format,
)
FROM_AS_CASING: Final = Rule(
    "FromAsCasing",
    "The 'as' keyword should match the case of the 'from' keyword",
    "'{}' and '{}' keywords' casing do not match".format,
)
NO_EMPTY_CONTINUATION: Final = Rule(
    "NoEmptyContinuation",
    "Empty continuation lines will become errors in a future release",
    "Empty continuation line".format,
)
CONSISTENT_INSTRUCTION_CASING: Final = Rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    "Command '{}' should match the case of the command majority ({})".format,
)
DUPLICATE_STAGE_NAME: Final = Rule(
    "DuplicateStageName",
    "Stage names should be unique",
    lambda name: f"Duplicate stage name {quoted(name)}, stage names should be unique",
)
RESERVED_STAGE_NAME: Final = Rule(
    "ReservedStageName",
    "Reserved words should not be used as stage names",
    lambda name: f"Stage name should not use the same name as reserved stage {quoted(name)}",
)
JSON_ARGS_RECOMMENDED: Final = Rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS "
    "signals",
    "JSON arguments recommended for {} to prevent unintended behavior related to OS signals".format,
)
MAINTAINER_DEPRECATED: Final = Rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "Maintainer instruction is deprecated in favor of using label".format,
)
UNDEFINED_ARG_IN_FROM: Final = Rule(
    "UndefinedArgInFrom", "FROM command must use declared ARGs", _undefined_from
)
WORKDIR_RELATIVE_PATH: Final = Rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected "
    "results if the base image changes",
    lambda path: (
        f"Relative workdir {quoted(path)} can have unexpected results if the base image changes"
    ),
)
UNDEFINED_VAR: Final = Rule(
    "UndefinedVar", "Variables should be defined before their use", _undefined_variable
)
MULTIPLE_INSTRUCTIONS_DISALLOWED: Final = Rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    "Multiple {} instructions should not be used in the same stage because only the last one will "
    "be used".format,
)
LEGACY_KEY_VALUE_FORMAT: Final = Rule(
    "LegacyKeyValueFormat",
    "Legacy key/value format with whitespace separator should not be used",
    '"{0} key=value" should be used instead of legacy "{0} key value" format'.format,
)
INVALID_BASE_IMAGE_PLATFORM: Final = Rule(
    "InvalidBaseImagePlatform",
    "Base image platform does not match expected target platform",
    lambda image, expected, actual: (
        f"Base image {image} was pulled with platform {quoted(actual)}, expected "
        f"{quoted(expected)} for current build"
    ),
)
REDUNDANT_TARGET_PLATFORM: Final = Rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default "
    "behavior",
    "Setting platform to predefined {} in FROM is redundant as this is the default behavior".format,
)
SECRETS_USED_IN_ARG_OR_ENV: Final = Rule(
    "SecretsUsedInArgOrEnv",
    "Sensitive data should not be used in the ARG or ENV commands",
    lambda instruction, key: (
        f"Do not use ARG or ENV instructions for sensitive data ({instruction} {quoted(key)})"
    ),
)
INVALID_DEFAULT_ARG_IN_FROM: Final = Rule(
    "InvalidDefaultArgInFrom",
    "Default value for global ARG results in an empty or invalid base image name",
    "Default value for ARG {} results in empty or invalid base image name".format,
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED: Final = Rule(
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use a constant value",
    lambda platform: f"FROM --platform flag should not use constant value {quoted(platform)}",
)
COPY_IGNORED_FILE: Final = Rule(
    "CopyIgnoredFile",
    "Attempting to Copy file that is excluded by .dockerignore",
    lambda command, path: (
        f"Attempting to {command} file {quoted(path)} that is excluded by .dockerignore"
    ),
)
INVALID_DEFINITION_DESCRIPTION: Final = Rule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> "
    "<description>`. If this is not intended to be a description comment, add an empty line or "
    "comment between the instruction and the comment.",
    "Comment for {} should follow the format: `# {} <description>`".format,
    experimental=True,
)
EXPOSE_PROTO_CASING: Final = Rule(
    "ExposeProtoCasing",
    "Protocol in EXPOSE instruction should be lowercase",
    "Defined protocol '{}' in EXPOSE instruction should be lowercase".format,
)
EXPOSE_INVALID_FORMAT: Final = Rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become "
    "an error in a future release",
    "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'".format,
)

RULES: Final[Mapping[str, Rule]] = {
    rule.name: rule
    for rule in (
        STAGE_NAME_CASING,
        FROM_AS_CASING,
        NO_EMPTY_CONTINUATION,
        CONSISTENT_INSTRUCTION_CASING,
        DUPLICATE_STAGE_NAME,
        RESERVED_STAGE_NAME,
        JSON_ARGS_RECOMMENDED,
        MAINTAINER_DEPRECATED,
        UNDEFINED_ARG_IN_FROM,
        WORKDIR_RELATIVE_PATH,
        UNDEFINED_VAR,
        MULTIPLE_INSTRUCTIONS_DISALLOWED,
        LEGACY_KEY_VALUE_FORMAT,
        INVALID_BASE_IMAGE_PLATFORM,
        REDUNDANT_TARGET_PLATFORM,
        SECRETS_USED_IN_ARG_OR_ENV,
        INVALID_DEFAULT_ARG_IN_FROM,
        FROM_PLATFORM_FLAG_CONST_DISALLOWED,
        COPY_IGNORED_FILE,
        INVALID_DEFINITION_DESCRIPTION,
        EXPOSE_PROTO_CASING,
        EXPOSE_INVALID_FORMAT,
    )
}
"""Every rule by its name."""
