"""Rules about an instruction and what it meets: the variables and the config of its stage.

Each is a pure function of the instruction and of the state right before it.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from builder.ignore import IgnorePatterns
from builder.lint import rules
from builder.lint.rules import Finding
from builder.lint.words import expanded_words
from builder.plan.config import ConfigDraft
from builder.plan.scope import StageScope
from builder.plan.sources import is_git, is_url
from dockerfile_grammar import nodes
from dockerfile_grammar.expand import Expansion, expand, expand_words, expansion
from dockerfile_grammar.suggest import nearest

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_WHOLE_CONTEXT: Final = frozenset({"*", "**", "**/*"})
SUGGESTION_LIMIT: Final = 300
"""Most names that a misspelled one is compared with."""
STEERING: Final = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})
"""Arguments that speak to the builder and never become variables."""


def findings(
    node: nodes.Instruction,
    scope: StageScope,
    draft: ConfigDraft,
    *,
    escape: str,
    ignore: IgnorePatterns | None,
) -> Iterator[Finding]:
    """What these rules say about one instruction.

    Raises:
        ExpansionError: a word of the instruction is malformed.
    """
    yield from undefined_variables(node, scope, escape)
    match node:
        case nodes.Env() | nodes.Label():
            yield from _pairs(node, scope.visible, escape)
        case nodes.Arg():
            for pair in node.args:
                yield from _secret(node, "ARG", pair.key)
        case nodes.Cmd() | nodes.Entrypoint():
            if isinstance(node.command, nodes.ShellForm) and not draft.config.get("Shell"):
                yield rules.JSON_ARGS_RECOMMENDED.at(node, node.keyword)
        case nodes.Expose():
            yield from _ports(node, scope.visible, escape)
        case nodes.Copy(from_=None) | nodes.Add():
            if ignore is not None:
                yield from _ignored(node, scope.visible, escape, ignore)


def relative_workdir(node: nodes.Workdir, scope: StageScope, escape: str) -> Iterator[Finding]:
    """The first WORKDIR of a stage and of those it starts from; the caller knows it is the first.

    Raises:
        ExpansionError: the path is malformed.
    """
    path = expand(node.path, scope.visible, escape=escape)
    if not path.startswith("/"):
        yield rules.WORKDIR_RELATIVE_PATH.at(node, path)


def overridden(earlier: nodes.Instruction, later: nodes.Instruction) -> Finding:
    """Two instructions of which only the last counts; a comment above either may allow it."""
    rule = rules.MULTIPLE_INSTRUCTIONS_DISALLOWED
    comments = (*earlier.comments, *later.comments)
    return Finding(rule, rule.format(later.keyword), earlier.range, comments)


def undefined_variables(
    node: nodes.Instruction, scope: StageScope, escape: str
) -> Iterator[Finding]:
    """Variables that neither ARG, ENV nor the base defines, once for each word that uses them.

    Not those in ``${name:-word}`` and its kin, where the author has provided for it.

    Raises:
        ExpansionError: a word is malformed.
    """
    if isinstance(node, nodes.Arg):
        yield from _undefined_in_defaults(node, scope, escape)
        return
    for word, heredoc in expanded_words(node):
        found = expansion(word, scope.visible, escape=escape, heredoc=heredoc)
        yield from _undefined(node, found, scope)


def _undefined_in_defaults(node: nodes.Arg, scope: StageScope, escape: str) -> Iterator[Finding]:
    """Each default sees the arguments before it on the same line."""
    earlier: dict[str, str | None] = {}
    values = dict(scope.visible) if len(node.args) > 1 else scope.visible
    for pair in node.args:
        value = scope.build_args.get(pair.key)
        if value is None and pair.value is not None:
            word = expansion(pair.value, values, escape=escape)
            yield from _undefined(node, word, scope, declared=earlier)
            value = word.text
        elif value is None:
            value = scope.global_args.get(pair.key)
        earlier[pair.key] = value
        if len(node.args) > 1 and value is not None:
            values[pair.key] = value


def _undefined(
    node: nodes.Instruction, word: Expansion, scope: StageScope, declared: Container[str] = ()
) -> Iterator[Finding]:
    if not word.unmatched:
        return
    for name in Counter(word.unmatched) - Counter(word.guarded):
        if name not in scope.args and name not in declared and name not in STEERING:
            # Comparing with thousands of names would take longer than the build.
            known = scope.visible if len(scope.visible) <= SUGGESTION_LIMIT else ()
            yield rules.UNDEFINED_VAR.at(node, name, nearest(name, known, fold=False) or "")


def _pairs(
    node: nodes.Env | nodes.Label, values: Mapping[str, str], escape: str
) -> Iterator[Finding]:
    for pair in node.pairs:
        if pair.legacy:
            yield rules.LEGACY_KEY_VALUE_FORMAT.at(node, node.keyword)
        if isinstance(node, nodes.Env):
            yield from _secret(node, "ENV", expand(pair.key, values, escape=escape))


def _secret(node: nodes.Instruction, instruction: str, key: str) -> Iterator[Finding]:
    if _SECRET.search(key) and not _HARMLESS.search(key):
        yield rules.SECRETS_USED_IN_ARG_OR_ENV.at(node, instruction, key)


def _ports(node: nodes.Expose, values: Mapping[str, str], escape: str) -> Iterator[Finding]:
    for written in sorted(node.ports):
        for port in expand_words(written, values, escape=escape):
            address, _, protocol = port.partition("/")
            if protocol != protocol.lower():
                yield rules.EXPOSE_PROTO_CASING.at(node, port)
            if address.rpartition(":")[0]:
                yield rules.EXPOSE_INVALID_FORMAT.at(node, port)


def _ignored(
    node: nodes.Copy | nodes.Add,
    values: Mapping[str, str],
    escape: str,
    ignore: IgnorePatterns,
) -> Iterator[Finding]:
    """Nothing where a line of the file takes paths back in: then only a walk could tell."""
    if any(pattern.keeps for pattern in ignore.patterns):
        return
    command = "Add" if isinstance(node, nodes.Add) else "Copy"
    for source in _paths(node, values, escape):
        path = posixpath.normpath(source)
        whole = path in (".", "/")
        if whole and not any(pattern.text in _WHOLE_CONTEXT for pattern in ignore.patterns):
            continue
        if whole or ignore.matches(path.lstrip("/")):
            yield rules.COPY_IGNORED_FILE.at(node, command, path)


def _paths(node: nodes.Copy | nodes.Add, values: Mapping[str, str], escape: str) -> Iterable[str]:
    for written in node.sources:
        source = expand(written, values, escape=escape)
        if not (is_url(source) or is_git(source)):
            yield source
