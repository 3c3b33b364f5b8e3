"""Rules about variables and the cache: what nothing reads, and what a change does anew.

The cost of an order is counted in the steps below that a change invalidates.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import Final

from builder.lint import own
from builder.lint.invocations import Invocation, invocations
from builder.lint.mistakes import PLATFORM
from builder.lint.packages import subcommand
from builder.lint.rules import Finding
from builder.lint.survey import Survey, words_of
from builder.plan.scope import CONTROL_ARGS, is_proxy
from dockerfile_grammar import nodes

STEPS: Final = (nodes.Run, nodes.Copy, nodes.Add, nodes.Workdir)
_VOLATILE = re.compile(
    r"(?:^|_)(?:COMMIT|SHA|REVISION|REF|DATE|TIME|TIMESTAMP|CACHE_?BUST(?:ER)?|CACHEBUST)(?:_|$)"
    r"|^(?:GIT|CI|BUILD)_(?:\w+_)?(?:ID|NUMBER|NUM|TAG|BRANCH|HASH|DESCRIBE|VERSION)$",
    re.IGNORECASE,
)
"""Names of what is another value in each build."""
_WORD = re.compile(r"\w+")
_SHOWN_LINES: Final = 5
"""Lines that a message counts out."""
_WHOLE: Final = frozenset({".", "./", "/", "*", "./*"})
_LOCAL = re.compile(r"[./~]|file:|\$|-e\b|--editable")


def findings(survey: Survey) -> Iterator[Finding]:
    """What speaks in a check."""
    yield from _unused_globals(survey)
    for stage in survey.stages:
        lines = _Lines(survey, stage)
        yield from _set_twice(stage)
        for position, node in enumerate(stage.instructions):
            match node:
                case nodes.Arg():
                    yield from _unused(lines, position, node)
                    yield from _early(lines, position, node)
                case nodes.Copy(from_=None) | nodes.Add():
                    yield from _before_install(lines, position, node)


class _Lines:
    """What stands where in a stage, so that no rule has to walk it for every instruction."""

    def __init__(self, survey: Survey, stage: nodes.Stage) -> None:
        self.stage = stage
        self.inherited = bool(survey.heirs(stage.index))
        self.runs: list[int] = []
        self.steps: list[int] = []
        self.words: dict[str, list[int]] = {}
        self.last_reader = -1
        """The last instruction that may read any variable from its environment."""
        for position, node in enumerate(stage.instructions):
            if isinstance(node, nodes.Run):
                self.runs.append(position)
            if isinstance(node, nodes.Run | nodes.Onbuild):
                self.last_reader = position
            if isinstance(node, STEPS):
                self.steps.append(position)
            for word in words_of(node):
                self.words.setdefault(word, []).append(position)
        numbers = {id(node): position for position, node in enumerate(stage.instructions)}
        self.installs = [
            (numbers[id(script.node)], run)
            for script in survey.scripts(stage)
            for run in invocations(script)
            if _installs_dependencies(run)
        ]

    def next_mention(self, word: str, position: int) -> int | None:
        """The first instruction below ``position`` that has a word."""
        found = self.words.get(word, [])
        index = bisect_right(found, position)
        return found[index] if index < len(found) else None


# What nothing reads.


def _unused_globals(survey: Survey) -> Iterator[Finding]:
    """Arguments before the first FROM that no FROM mentions and no stage takes over."""
    said = Counter(word for node in survey.dockerfile.global_args for word in words_of(node))
    for stage in survey.stages:
        said.update(words_of(stage.base))
        for node in stage.instructions:
            if isinstance(node, nodes.Arg):
                said.update(pair.key for pair in node.args)
    for node in survey.dockerfile.global_args:
        for pair in node.args if len(node.args) == 1 else ():
            if said[pair.key] == 1 and not _is_steering(pair.key):
                yield own.UNUSED_ARG.at(node, pair.key)


def _unused(lines: _Lines, position: int, node: nodes.Arg) -> Iterator[Finding]:
    """Arguments that no later text mentions, where no RUN could see them in its environment."""
    if position < lines.last_reader or lines.inherited:
        return
    for pair in node.args:
        others = node.original.replace(pair.key, "", 1)
        if _is_steering(pair.key) or pair.key in _WORD.findall(others):
            continue
        if lines.next_mention(pair.key, position) is None:
            yield own.UNUSED_ARG.at(node, pair.key)


def _is_steering(name: str) -> bool:
    """Whether it speaks to the builder, or to programs that download."""
    return name in CONTROL_ARGS or is_proxy(name)


def _set_twice(stage: nodes.Stage) -> Iterator[Finding]:
    """One walk: what was set and not read yet, until a RUN reads all or a text mentions it."""
    unread: dict[str, nodes.Env] = {}
    for node in stage.instructions:
        if isinstance(node, nodes.Run):
            unread.clear()
            continue
        if not isinstance(node, nodes.Env):
            for word in words_of(node) & unread.keys():
                del unread[word]
            continue
        values = " ".join(pair.value or "" for pair in node.pairs)
        for word in set(_WORD.findall(values)) & unread.keys():
            del unread[word]
        for pair in node.pairs:
            if pair.key in unread:
                yield own.DUPLICATE_ENV.at(node, pair.key, unread[pair.key].range.start)
            unread[pair.key] = node


# What a change does anew.


def _early(lines: _Lines, position: int, node: nodes.Arg) -> Iterator[Finding]:
    """RUN instructions between an argument that changes and the first instruction that names it."""
    for pair in node.args:
        if not _VOLATILE.search(pair.key) or PLATFORM.match(pair.key):
            continue
        use = lines.next_mention(pair.key, position)
        if use is None:
            continue
        runs = lines.runs
        anew = runs[bisect_right(runs, position) : bisect_left(runs, use)]
        if anew:
            below = lines.stage.instructions
            shown = [str(below[run].range.start) for run in anew[:_SHOWN_LINES]]
            shown += ["..."] if len(anew) > _SHOWN_LINES else []
            where = below[use].range.start
            yield own.EARLY_ARG.at(node, pair.key, where, len(anew), ", ".join(shown))


def _before_install(
    lines: _Lines, position: int, node: nodes.Copy | nodes.Add
) -> Iterator[Finding]:
    if not _WHOLE.intersection(node.sources):
        return
    index = bisect_right(lines.installs, position, key=lambda install: install[0])
    if index < len(lines.installs):
        at, run = lines.installs[index]
        later = len(lines.steps) - bisect_right(lines.steps, at)
        command = " ".join(word.value for word in run.words[:3])
        yield own.COPY_BEFORE_INSTALL.at(node, command, run.script.node.range.start, later)


def _installs_dependencies(run: Invocation) -> bool:
    """Whether it installs what a few files name, or nothing of the context at all."""
    verb = subcommand(run)
    name, word = run.name, verb.value if verb is not None else ""
    rest = [other.value for other in run.operands()[1:]]
    match name, word:
        case ("npm" | "pnpm" | "bun", "install" | "i" | "ci" | "clean-install"):
            return not any(_LOCAL.match(other) for other in rest)
        case ("yarn", "" | "install"):
            return not run.has("--version", "-v")
        case ("pip" | "uv pip", "install"):
            return not run.has("-e", "--editable") and not any(
                _LOCAL.match(other) and not other.endswith(".txt") for other in rest
            )
        case ("bundle", "install") | ("go", "mod") | ("cargo", "fetch") | ("dotnet", "restore"):
            return name != "go" or rest[:1] == ["download"]
        case ("apt-get" | "apt" | "dnf" | "yum" | "microdnf", "install") | ("apk", "add"):
            return bool(rest) and not any(_LOCAL.match(other) for other in rest)
    return False
