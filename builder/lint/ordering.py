"""Rules about variables and the cache: what nothing reads, and what a change does anew.

The cost of an order is counted in the steps below that a change invalidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from builder.lint import own
from builder.lint.invocations import Invocation, invocations
from builder.lint.mistakes import PLATFORM
from builder.lint.packages import subcommand
from builder.lint.rules import Finding
from builder.lint.survey import Survey, mentions, text_of
from builder.plan.scope import CONTROL_ARGS, is_proxy
from dockerfile_grammar import nodes

STEPS: Final = (nodes.Run, nodes.Copy, nodes.Add, nodes.Workdir)
_VOLATILE = re.compile(
    r"(?:^|_)(?:COMMIT|SHA|REVISION|REF|DATE|TIME|TIMESTAMP|CACHE_?BUST(?:ER)?|CACHEBUST)(?:_|$)"
    r"|^(?:GIT|CI|BUILD)_(?:\w+_)?(?:ID|NUMBER|NUM|TAG|BRANCH|HASH|DESCRIBE|VERSION)$",
    re.IGNORECASE,
)
"""Names of what is another value in each build."""
_WHOLE: Final = frozenset({".", "./", "/", "*", "./*"})
_LOCAL = re.compile(r"[./~]|file:|\$|-e\b|--editable")


def findings(survey: Survey) -> Iterator[Finding]:
    """What speaks in a check."""
    yield from _unused_globals(survey)
    for stage in survey.stages:
        for position, node in enumerate(stage.instructions):
            match node:
                case nodes.Arg():
                    yield from _unused(survey, stage, position, node)
                    yield from _early(stage, position, node)
                case nodes.Env():
                    yield from _set_twice(stage, position, node)
                case nodes.Copy(from_=None) | nodes.Add():
                    yield from _before_install(survey, stage, position, node)


# What nothing reads.


def _unused_globals(survey: Survey) -> Iterator[Finding]:
    """Arguments before the first FROM that no FROM mentions and no stage takes over."""
    taken = {
        pair.key
        for stage in survey.stages
        for node in stage.instructions
        if isinstance(node, nodes.Arg)
        for pair in node.args
    }
    for position, node in enumerate(survey.dockerfile.global_args):
        later = [text_of(other) for other in survey.dockerfile.global_args[position + 1 :]]
        later += [stage.base.original for stage in survey.stages]
        for pair in node.args:
            alone = len(node.args) == 1
            if pair.key in taken or _is_steering(pair.key) or not alone:
                continue
            if not any(mentions(text, pair.key) for text in later):
                yield own.UNUSED_ARG.at(node, pair.key)


def _unused(
    survey: Survey, stage: nodes.Stage, position: int, node: nodes.Arg
) -> Iterator[Finding]:
    """Arguments that no later text mentions, where no RUN could see them in its environment."""
    later = list(stage.instructions[position + 1 :])
    for heir in survey.heirs(stage.index):
        later += survey.stages[heir].instructions
    if any(isinstance(other, nodes.Run | nodes.Onbuild) for other in later):
        return
    for pair in node.args:
        own_text = node.original.replace(pair.key, "", 1)
        texts = (own_text, *map(text_of, later))
        if not _is_steering(pair.key) and not any(mentions(text, pair.key) for text in texts):
            yield own.UNUSED_ARG.at(node, pair.key)


def _is_steering(name: str) -> bool:
    """Whether it speaks to the builder, or to programs that download."""
    return name in CONTROL_ARGS or is_proxy(name)


def _set_twice(stage: nodes.Stage, position: int, node: nodes.Env) -> Iterator[Finding]:
    keys = [pair.key for pair in node.pairs]
    for key in dict.fromkeys(keys):
        if keys.count(key) > 1:
            yield own.DUPLICATE_ENV.at(node, key, node.range.start)
            continue
        earlier = _last_setting(stage.instructions[:position], key)
        value = next(pair.value for pair in node.pairs if pair.key == key) or ""
        others = (pair.value or "" for pair in node.pairs)
        if (
            earlier is not None
            and not mentions(value, key)
            and not any(mentions(text, key) for text in others)
        ):
            yield own.DUPLICATE_ENV.at(node, key, earlier.range.start)


def _last_setting(above: Sequence[nodes.Instruction], key: str) -> nodes.Env | None:
    """The ENV that set a key, if nothing since can have read it."""
    for node in reversed(above):
        match node:
            case nodes.Env():
                if any(pair.key == key for pair in node.pairs):
                    return node
            case nodes.Run():
                return None
        if mentions(text_of(node), key):
            return None
    return None


# What a change does anew.


def _early(stage: nodes.Stage, position: int, node: nodes.Arg) -> Iterator[Finding]:
    """RUN instructions between an argument that changes and the first instruction that names it."""
    below = stage.instructions[position + 1 :]
    for pair in node.args:
        if not _VOLATILE.search(pair.key) or PLATFORM.match(pair.key):
            continue
        use = next((other for other in below if mentions(text_of(other), pair.key)), None)
        if use is None:
            continue
        between = below[: below.index(use)]
        anew = [other for other in between if isinstance(other, nodes.Run)]
        if anew:
            lines = ", ".join(str(other.range.start) for other in anew)
            yield own.EARLY_ARG.at(node, pair.key, use.range.start, len(anew), lines)


def _before_install(
    survey: Survey, stage: nodes.Stage, position: int, node: nodes.Copy | nodes.Add
) -> Iterator[Finding]:
    if not _WHOLE.intersection(node.sources):
        return
    below = stage.instructions[position + 1 :]
    steps = [other for other in below if isinstance(other, STEPS)]
    for script in survey.scripts(stage):
        if not any(script.node is other for other in below):
            continue
        for run in invocations(script):
            if _installs_dependencies(run):
                later = (
                    len(steps)
                    - next(index for index, other in enumerate(steps) if other is script.node)
                    - 1
                )
                command = " ".join(word.value for word in run.words[:3])
                line = script.node.range.start
                yield own.COPY_BEFORE_INSTALL.at(node, command, line, later)
                return


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
