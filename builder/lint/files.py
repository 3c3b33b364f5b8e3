"""Rules that need the Dockerfile's text alone; they look at every stage, built or not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from builder.lint import rules
from builder.lint.rules import Finding
from builder.lint.settings import is_check_comment
from dockerfile_grammar import nodes

RESERVED_NAMES: Final = frozenset({"scratch", "context"})


def findings(dockerfile: nodes.Dockerfile) -> Iterator[Finding]:
    """Everything these rules have to say, rule by rule."""
    yield from _empty_continuations(dockerfile)
    for stage in dockerfile.stages:
        yield from _name_casing(stage.base)
    yield from _descriptions(dockerfile)
    yield from _maintainers(dockerfile)
    yield from _stage_names(dockerfile)
    yield from _instruction_casing(dockerfile)


def _empty_continuations(dockerfile: nodes.Dockerfile) -> Iterator[Finding]:
    comments = {node.range.end: node.comments for node in _everything(dockerfile)}
    for warning in dockerfile.warnings:
        if warning.rule == rules.NO_EMPTY_CONTINUATION.name:
            rule = rules.NO_EMPTY_CONTINUATION
            above = comments.get(warning.range.end, ())
            yield Finding(rule, rule.format(), warning.range, above)


def _name_casing(base: nodes.From) -> Iterator[Finding]:
    name, keyword = base.alias_written, base.as_keyword
    if name is not None and name != name.lower():
        yield rules.STAGE_NAME_CASING.at(base, name)
    if keyword is None or not _is_uniform(base.keyword):
        return
    lower = base.keyword == base.keyword.lower()
    if keyword != (keyword.lower() if lower else keyword.upper()):
        yield rules.FROM_AS_CASING.at(base, keyword, base.keyword)


def _descriptions(dockerfile: nodes.Dockerfile) -> Iterator[Finding]:
    """The last comment line above an ARG or a named stage must begin with its name."""
    for node in _everything(dockerfile):
        match node:
            case nodes.Arg():
                names = [pair.key for pair in node.args]
            case nodes.From(alias=str() as alias):
                names = [alias]
            case _:
                continue
        prose = [comment for comment in node.comments if not is_check_comment(comment)]
        if prose and prose[-1].split(" ")[0] not in names:
            wanted = names[0] if len(names) == 1 else "<arg_key>"
            keyword = node.keyword.upper()
            yield rules.INVALID_DEFINITION_DESCRIPTION.at(node, keyword, wanted)


def _maintainers(dockerfile: nodes.Dockerfile) -> Iterator[Finding]:
    for node in _everything(dockerfile):
        if isinstance(node, nodes.Maintainer):
            yield rules.MAINTAINER_DEPRECATED.at(node)


def _stage_names(dockerfile: nodes.Dockerfile) -> Iterator[Finding]:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        if stage.name is None:
            continue
        if stage.name in RESERVED_NAMES:
            yield rules.RESERVED_STAGE_NAME.at(stage.base, stage.name)
        if stage.name in seen:
            yield rules.DUPLICATE_STAGE_NAME.at(stage.base, stage.name)
        seen.add(stage.name)


def _instruction_casing(dockerfile: nodes.Dockerfile) -> Iterator[Finding]:
    """Global ARGs neither vote nor are judged; upper case wins a draw."""
    members = list(chain.from_iterable(_members(stage) for stage in dockerfile.stages))
    uniform = [node.keyword for node in members if _is_uniform(node.keyword)]
    lower = sum(keyword == keyword.lower() for keyword in uniform)
    mostly_lower = lower > len(uniform) - lower
    for node in members:
        wanted = node.keyword.lower() if mostly_lower else node.keyword.upper()
        if node.keyword != wanted:
            casing = "lowercase" if mostly_lower else "uppercase"
            yield rules.CONSISTENT_INSTRUCTION_CASING.at(node, node.keyword, casing)


def _everything(dockerfile: nodes.Dockerfile) -> Iterator[nodes.Instruction]:
    yield from dockerfile.global_args
    for stage in dockerfile.stages:
        yield from _members(stage)


def _members(stage: nodes.Stage) -> Iterator[nodes.Instruction]:
    yield stage.base
    yield from stage.instructions


def _is_uniform(word: str) -> bool:
    return word in (word.lower(), word.upper())
