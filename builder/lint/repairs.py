"""What mends the findings of BuildKit's rules: those that can be mended without a decision.

Each function gives the changes of one instruction, or None where its text is not simple enough to
be sure that only what the rule is about changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from builder.lint import rules
from builder.lint.rules import Change, Finding, Fix, Place
from dockerfile_grammar import nodes

if TYPE_CHECKING:
    from builder.lint.places import Edit, Locator

AUTHORS: Final = "org.opencontainers.image.authors"
"""OCI image specification, annotations."""
_PLAIN_COMMAND = re.compile(r"[\w@%+=:,./-]+(?:[ \t]+[\w@%+=:,./-]+)*\Z")
_BUILTINS: Final = re.compile(
    r"[.:]|alias|cd|eval|exec|exit|export|read|return|set|shift|source|test|trap|type|ulimit|umask"
    r"|unset|wait|command|time|if|for|while|until|case|function|select"
)
"""What only a shell knows, or means something else to it."""
_PAIR = re.compile(r"\S+\s+(\S+)(\s+)(\S.*)", re.DOTALL)
_UNSURE = re.compile(r"""['"\\`]|\A=""")


class Repairs:
    """What mends the findings of one file."""

    def __init__(self, dockerfile: nodes.Dockerfile, locator: Locator) -> None:
        self._locator = locator
        kinds = {type(node) for stage in dockerfile.stages for node in stage.instructions}
        self._file = _File(dockerfile.escape, both={nodes.Cmd, nodes.Entrypoint} <= kinds)

    def edits_of(self, finding: Finding) -> tuple[Fix, tuple[Edit, ...]] | None:
        """What mends a finding, and the edits that do so; None where a person has to."""
        if finding.rule is rules.NO_EMPTY_CONTINUATION:
            lines = self._locator.blank_lines(finding.range.end)
            return Fix("remove the empty lines", ()), tuple(map(self._locator.whole_line, lines))
        fix, node = finding.fix, finding.node
        if node is None:
            return None
        if fix is None:
            repair = _REPAIRS.get(finding.rule.name)
            fix = repair(finding, node, self._file) if repair is not None else None
        if fix is None:
            return None
        edits = tuple(self._locator.edit(node, change) for change in fix.changes)
        placed = tuple(edit for edit in edits if edit is not None)
        return (fix, placed) if len(placed) == len(edits) else None


class _File(NamedTuple):
    """What a repair has to know of the whole file."""

    escape: str
    both: bool
    """There are CMD and ENTRYPOINT."""


def _stage_name(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    if not isinstance(node, nodes.From) or node.alias_written is None:
        return None
    end = len(node.original.rstrip())
    place = Place(end - len(node.alias_written), end)
    return Fix("write it in lower case", (Change(place, node.alias_written.lower()),))


def _as_keyword(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    if not isinstance(node, nodes.From) or node.as_keyword is None or node.alias_written is None:
        return None
    before = node.original.rstrip().removesuffix(node.alias_written).rstrip()
    if not before.endswith(node.as_keyword):
        return None
    word = "as" if node.keyword.islower() else "AS"
    place = Place(len(before) - len(word), len(before))
    return Fix(f"write {word}", (Change(place, word),))


def _keyword(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    lower = finding.message.endswith("(lowercase)")
    word = node.keyword.lower() if lower else node.keyword.upper()
    return Fix(f"write {word}", (Change(Place(0, len(node.keyword)), word),))


def _legacy_pair(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    """``ENV key some words`` is ``ENV key="some words"``; quotes and escapes are left to people."""
    if not isinstance(node, nodes.Env | nodes.Label):
        return None
    match = _PAIR.match(node.original.rstrip())
    if match is None or _UNSURE.search(match[3]) or _UNSURE.search(match[1]):
        return None
    quote = '"' if re.search(r"\s", match[3]) else ""
    changes = [Change(Place(*match.span(2)), f"={quote}")]
    if quote:
        changes.append(Change(Place(match.end(3), match.end(3)), quote))
    return Fix("write key=value", tuple(changes))


def _maintainer(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    if not isinstance(node, nodes.Maintainer) or re.search(r"[\\`\"]", node.name):
        return None
    name = node.name.replace("$", f"{file.escape}$")
    keyword = "label" if node.keyword.islower() else "LABEL"
    place = Place(0, len(node.original.rstrip()))
    return Fix(f"write LABEL {AUTHORS}", (Change(place, f'{keyword} {AUTHORS}="{name}"'),))


def _json_arguments(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    """Plain words alone: no variable, no quote, no operator, no word that only a shell knows.

    Beside one another CMD and ENTRYPOINT stay: a JSON array would change how they meet.
    """
    if not isinstance(node, nodes.Cmd | nodes.Entrypoint):
        return None
    command = node.command
    if not isinstance(command, nodes.ShellForm) or not _PLAIN_COMMAND.match(command.text):
        return None
    words = command.text.split()
    if _BUILTINS.fullmatch(words[0]) or "=" in words[0]:
        return None
    if file.both:
        return None
    end = len(node.original.rstrip())
    change = Change(Place(end - len(command.text), end), json.dumps(words))
    return Fix("write a JSON array", (change,))


def _protocol(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    if not isinstance(node, nodes.Expose):
        return None
    changes = [
        Change(Place(*match.span(1)), match[1].lower())
        for match in re.finditer(r"(?<=\s)[^\s$]+/([A-Za-z]+)(?!\S)", node.original)
        if match[1] != match[1].lower()
    ]
    return Fix("write it in lower case", tuple(changes)) if changes else None


def _platform(finding: Finding, node: nodes.Node, file: _File) -> Fix | None:
    match = re.search(r"--platform=\$\{?TARGETPLATFORM\}?\s+", node.original)
    if match is None:
        return None
    return Fix("leave the flag out", (Change(Place(*match.span()), ""),))


_Repair = Callable[[Finding, nodes.Node, _File], Fix | None]
_REPAIRS: Final[Mapping[str, _Repair]] = {
    rules.STAGE_NAME_CASING.name: _stage_name,
    rules.FROM_AS_CASING.name: _as_keyword,
    rules.CONSISTENT_INSTRUCTION_CASING.name: _keyword,
    rules.LEGACY_KEY_VALUE_FORMAT.name: _legacy_pair,
    rules.MAINTAINER_DEPRECATED.name: _maintainer,
    rules.JSON_ARGS_RECOMMENDED.name: _json_arguments,
    rules.EXPOSE_PROTO_CASING.name: _protocol,
    rules.REDUNDANT_TARGET_PLATFORM.name: _platform,
}
MENDABLE: Final = frozenset({*_REPAIRS, rules.NO_EMPTY_CONTINUATION.name})
"""The rules of BuildKit some of whose findings can be mended."""
