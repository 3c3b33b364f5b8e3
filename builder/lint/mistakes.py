"""Rules that speak in every build, because what they find is almost surely a mistake.

They are asked whenever a build is planned, so they look at the tree first and read shell text only
where it begins like a mistake.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from builder.lint import own
from builder.lint.rules import Change, Finding, Fix, Place
from builder.lint.survey import DIRECTORY_NAMES, SHELLS, Survey, shown, text_of
from builder.plan.sources import is_git, is_url
from dockerfile_grammar import nodes

if TYPE_CHECKING:
    from builder.lint.scripts import Script
    from builder.lint.shell import Command, Compound, Pipeline

STATE: Final = frozenset({"cd", "export", "alias", "umask", "ulimit", "unset", "pushd", "popd"})
"""Commands that change their shell and nothing else."""
PLATFORM: Final = re.compile(r"(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT|OSVERSION)\Z")
"""Arguments that the builder sets by itself."""
_MAY_BE_STATE = re.compile(r"\s*(?:cd|export|alias|umask|ulimit|unset|pushd|popd|\w+=)")
LOOK_BACK: Final = 200
"""Instructions that are searched for one that makes a directory; behind more it may be anywhere."""
_OCTAL = re.compile(r"[0-7]{3,4}\Z")


def findings(survey: Survey) -> Iterator[Finding]:
    """What these rules say about a file, stage by stage."""
    for declaration in _declarations(survey):
        yield from _platform_default(declaration)
    for stage in survey.stages:
        yield from _without_effect(survey, stage)
        yield from _ignored_cmd(survey, stage)
        for position, node in enumerate(stage.instructions):
            if isinstance(node, nodes.Add | nodes.Copy):
                yield from _slash(survey, stage, position, node)
                yield from _locked(survey, node)


def _declarations(survey: Survey) -> Iterator[nodes.Arg]:
    yield from survey.dockerfile.global_args
    for stage in survey.stages:
        yield from (node for node in stage.instructions if isinstance(node, nodes.Arg))


def _platform_default(node: nodes.Arg) -> Iterator[Finding]:
    for pair in node.args:
        if pair.value is not None and PLATFORM.match(pair.key):
            fix = _without_default(node, pair)
            yield own.PLATFORM_ARG_DEFAULT.at(node, pair.key, pair.value, fix=fix)


def _without_default(node: nodes.Arg, pair: nodes.KeyValue) -> Fix | None:
    written = f"{pair.key}={pair.value}"
    start = node.original.find(written)
    if start < 0:
        return None
    change = Change(Place(start, start + len(written)), pair.key)
    return Fix("declare it without a default", (change,), safe=False)


def _without_effect(survey: Survey, stage: nodes.Stage) -> Iterator[Finding]:
    """RUN instructions whose commands only change the shell that ends with them."""
    if any(map(_may_be_state, stage.instructions)):
        for script in survey.scripts(stage):
            if _may_be_state(script.node) and _is_state(script):
                commands = script.parsed.commands
                place = script.place(commands[0].start, commands[-1].end)
                text = shown(script.text)
                yield own.RUN_WITHOUT_EFFECT.at(
                    script.node, text, _instead(commands[-1]), place=place
                )


def _may_be_state(node: nodes.Instruction) -> bool:
    match node:
        case nodes.Run(command=nodes.ShellForm(text=text, heredocs=())):
            return _MAY_BE_STATE.match(text) is not None
    return False


def _is_state(script: Script) -> bool:
    parsed = script.parsed
    if not parsed.complete or any(command.depth for command in parsed.commands):
        return False
    return bool(parsed.outermost) and all(map(_changes_state, parsed.outermost))


def _changes_state(pipeline: Pipeline) -> bool:
    from builder.lint.shell import Command

    element: Command | Compound = pipeline.elements[0]
    if len(pipeline.elements) > 1 or not isinstance(element, Command) or element.redirects:
        return False
    return element.name in STATE if element.words else bool(element.assignments)


def _instead(command: Command) -> str:
    if command.name in ("cd", "pushd", "popd"):
        return "use WORKDIR"
    if command.name == "export" or not command.words:
        return "use ENV"
    return "put it into the RUN that needs it"


def _ignored_cmd(survey: Survey, stage: nodes.Stage) -> Iterator[Finding]:
    """A CMD beside an ENTRYPOINT in shell form, which takes no arguments."""
    entry = command = None
    for node in stage.instructions:
        if isinstance(node, nodes.Entrypoint):
            entry = node
        elif isinstance(node, nodes.Cmd):
            command = node
    if entry is None or command is None or not isinstance(entry.command, nodes.ShellForm):
        return
    if posixpath.basename(survey.interpreter(stage)[0]) not in SHELLS or _is_empty(command):
        return
    if not re.search(r"\$\{?[@*0-9]", entry.command.text) and entry.command.text:
        yield own.ENTRYPOINT_IGNORES_CMD.at(command, entry.range.start)


def _is_empty(node: nodes.Cmd) -> bool:
    command = node.command
    return not (command.args if isinstance(command, nodes.ExecForm) else command.text)


def _slash(
    survey: Survey, stage: nodes.Stage, position: int, node: nodes.Add | nodes.Copy
) -> Iterator[Finding]:
    count = len(node.sources) + len(node.heredocs)
    destination = node.destination
    if count < 2 or "$" in destination or destination.rpartition("/")[2] in DIRECTORY_NAMES:
        return
    if any("$" in source for source in node.sources) and count < 3:
        return
    if _is_known(survey, stage, position, destination):
        return
    written = node.original.rstrip()
    fix = None
    if written.endswith(destination):
        end = len(written)
        change = Change(Place(end, end), "/")
        fix = Fix("end the destination with a slash", (change,))
    yield own.SEVERAL_SOURCES_NEED_SLASH.at(node, node.keyword.upper(), count, destination, fix=fix)


def _is_known(survey: Survey, stage: nodes.Stage, position: int, path: str) -> bool:
    """Whether something above makes a directory of this name, or may do so."""
    wanted = posixpath.normpath(path).rstrip("/")
    for index in survey.lineage(stage.index):
        above = survey.stages[index].instructions
        above = above[:position] if index == stage.index else above
        if len(above) > LOOK_BACK:
            return True
        for node in above:
            match node:
                case nodes.Workdir():
                    made = [node.path]
                case nodes.Volume():
                    made = list(node.paths)
                case nodes.Copy() | nodes.Add():
                    made = [node.destination]
                case nodes.Run():
                    if wanted in text_of(node):
                        return True
                    continue
                case _:
                    continue
            if any("$" in item or _is_at_or_below(item, wanted) for item in made):
                return True
    return False


def _is_at_or_below(made: str, wanted: str) -> bool:
    return f"{posixpath.normpath(made)}/".startswith(f"{wanted}/")


def _locked(survey: Survey, node: nodes.Add | nodes.Copy) -> Iterator[Finding]:
    if node.chmod is None or not _OCTAL.match(node.chmod):
        return
    mode = int(node.chmod, 8)
    if not any(mode >> shift & 4 and not mode >> shift & 1 for shift in (6, 3, 0)):
        return
    local = not (isinstance(node, nodes.Copy) and node.from_ is not None)
    for source in node.sources:
        if not (is_url(source) or is_git(source)) and _holds_directories(
            survey, source, local=local
        ):
            yield own.CHMOD_HIDES_DIRECTORY.at(node, node.chmod, source)
            return


def _holds_directories(survey: Survey, source: str, *, local: bool) -> bool:
    """Whether COPY takes directories along; the one that is named keeps the destination's mode.

    Where the files are not known, only the whole of a context or a stage is taken to hold some.
    """
    files = survey.files if local else None
    path = posixpath.normpath(source).strip("/")
    if files is None:
        return path in ("", ".")
    below = "" if path == "." else f"{path}/"
    return any(name.endswith("/") and name.startswith(below) and name != below for name in files)
