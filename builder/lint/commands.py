"""Rules about what RUN, CMD and ENTRYPOINT tell a shell to do: what is recommended."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from builder.lint import own, shell
from builder.lint.invocations import Invocation, invocation
from builder.lint.mistakes import STATE
from builder.lint.rules import Change, Finding, Fix, Place
from builder.lint.scripts import Script, is_set, set_options
from builder.lint.shell import Command, Pipeline
from builder.lint.survey import SHELLS, Survey, shown
from dockerfile_grammar import nodes

_HARMLESS: Final = frozenset(
    {"echo", "printf", "true", ":", "yes", "set", "export", "shopt", "trap", "tee"}
)
_FETCHERS: Final = frozenset({"curl", "wget"})
_INTERPRETERS: Final = SHELLS | {"python", "python3", "perl", "ruby", "node", "php"}
_INLINE_FETCH = re.compile(r"(?:\$|<)\(\s*(curl|wget)\b|`\s*(curl|wget)\b")
_TEMPORARY = re.compile(r"(?:/var)?/tmp(?:/|\Z)|/dev/shm")
_VARIABLE: Final = r"\$\{?(\w+)"
_CREDENTIALS: Final = tuple(
    re.compile(pattern + _VARIABLE)
    for pattern in (
        r"://[^\s/@'\"$]{0,100}",
        r"--?(?:[\w-]{0,40}-)?(?:password|passwd|token|secret|api-?key|passphrase)[= ]['\"]?",
        r"(?i:authorization|private-token|x-api-key)['\"]?\s{0,9}:[^'\"\n$]{0,100}",
        r"_auth(?:Token)?[= ]['\"]?",
        r"(?:-u|--user)[ =]['\"]?[^\s'\":$]{0,100}:",
    )
)
"""Where a variable stands for a password or a token: in an address, a flag, a header."""
_ADDRESS_END = re.compile(r"\}?[^\s/@'\"]{0,100}@")
"""What follows a variable in an address when it is no part of its path."""


def directories(survey: Survey) -> Iterator[Finding]:
    """``cd`` at the begin of a RUN, and ``mkdir`` followed by it."""
    for stage in survey.stages:
        for script in survey.scripts(stage):
            found = _simple(script)
            if script.heredoc is not None or len(found) < 2:
                continue
            first, *rest = found
            if first.name == "cd" and len(first.words) == 2 and first.words[1].literal:
                path = first.words[1].value
                place = script.place(first.start, first.end)
                if path.startswith("/"):
                    yield own.WORKDIR_INSTEAD_OF_CD.at(script.node, path, place=place)
            elif first.name == "mkdir":
                yield from _made_and_entered(script, first, rest)


def _made_and_entered(script: Script, made: Command, rest: list[Command]) -> Iterator[Finding]:
    entered = rest[0]
    operands = [word for word in made.words[1:] if not word.value.startswith("-")]
    if entered.name != "cd" or len(operands) != 1 or len(entered.words) != 2:
        return
    path = operands[0].value
    if not operands[0].literal or entered.words[1].value != path or _is_temporary(path, rest):
        return
    if any(word.value.startswith("-m") for word in made.words[1:]):
        return
    place = script.place(made.start, entered.end)
    yield own.WORKDIR_INSTEAD_OF_MKDIR.at(script.node, path, place=place)


def _is_temporary(path: str, commands: list[Command]) -> bool:
    """Whether the directory is gone at the end, or left again."""
    if _TEMPORARY.match(path):
        return True
    return any(command.name in ("rm", "cd", "popd") for command in commands[1:])


def _simple(script: Script) -> list[Command]:
    """The outermost commands, where all are simple and joined by ``&&``, ``;`` or a line break."""
    if not script.parsed.complete:
        return []
    found: list[Command] = []
    for pipeline in script.parsed.outermost:
        element = pipeline.elements[0]
        if not isinstance(element, Command) or pipeline.joined in ("||", "&"):
            break
        found.append(element)
    return found


def sudo(survey: Survey) -> Iterator[Finding]:
    """``sudo`` where commands run as root anyway; not where it takes another user's place."""
    root = _root_at(survey)
    for stage in survey.stages:
        for script in survey.scripts(stage):
            if id(script.node) not in root:
                continue
            for command in script.parsed.commands if script.parsed.complete else ():
                flags = {word.value for word in command.words[1:2]}
                if command.name == "sudo" and not flags & {"-u", "--user", "-g", "-i", "-iu"}:
                    word = command.words[0]
                    place = script.place(word.start, word.end)
                    yield own.SUDO_IN_RUN.at(script.node, place=place)


def _root_at(survey: Survey) -> set[int]:
    """The RUN instructions with no USER above them but root."""
    ends: list[bool] = []
    found = set[int]()
    for stage in survey.stages:
        parent = survey.parents[stage.index]
        root = True if parent is None else ends[parent]
        for node in stage.instructions:
            if isinstance(node, nodes.User):
                root = node.user.partition(":")[0] in ("root", "0")
            elif root:
                found.add(id(node))
        ends.append(root)
    return found


def pipes(survey: Survey) -> Iterator[Finding]:
    """Pipelines that hide a failure, and downloads that go straight into an interpreter."""
    for stage in survey.stages:
        for script in survey.scripts(stage):
            if script.parsed.complete:
                yield from _hidden_failures(script)
                yield from _unseen_downloads(script)


def _hidden_failures(script: Script) -> Iterator[Finding]:
    if script.pipefail:
        return
    pipefail = _option_from(script, "", "pipefail")
    for index, pipeline in enumerate(pipelines := script.parsed.outermost):
        if pipeline.start >= pipefail:
            return
        if len(pipeline.elements) < 2 or pipeline.tested:
            continue
        if pipelines[index + 1 : index + 2] and pipelines[index + 1].joined == "||":
            continue
        for element in pipeline.elements[:-1]:
            if isinstance(element, Command) and invocation(script, element).name not in _HARMLESS:
                text = shown(script.text[element.start : element.end])
                place = script.place(element.start, element.end)
                yield own.PIPE_WITHOUT_PIPEFAIL.at(script.node, text, place=place)
                break


def _unseen_downloads(script: Script) -> Iterator[Finding]:
    for pipeline in script.parsed.pipelines:
        first, last = pipeline.elements[0], pipeline.elements[-1]
        if not (isinstance(first, Command) and isinstance(last, Command)):
            continue
        source, reader = invocation(script, first), invocation(script, last)
        name = ""
        if len(pipeline.elements) > 1 and source.name in _FETCHERS and _reads_stdin(reader):
            name = source.name
        elif len(pipeline.elements) == 1 and reader.name in _INTERPRETERS:
            inline = [_INLINE_FETCH.search(word.text) for word in reader.arguments]
            name = next((found[1] or found[2] for found in inline if found), "")
        if name:
            place = script.place(pipeline.start, pipeline.end)
            yield own.DOWNLOAD_PIPED_TO_SHELL.at(script.node, reader.name, name, place=place)


def _reads_stdin(run: Invocation) -> bool:
    """Whether an interpreter reads its program from its input: no file, ``-``, or ``-s``."""
    if run.name not in _INTERPRETERS:
        return False
    words = [word.value for word in run.arguments]
    if run.name not in SHELLS:
        return not words or words[0] == "-"
    operands = [word for word in words if not word.startswith("-")]
    return not operands or "-" in words or is_set(tuple(words), "s", "stdin")


def errexit(survey: Survey) -> Iterator[Finding]:
    """Here-documents for a shell whose first lines may fail unnoticed."""
    for stage in survey.stages:
        for script in survey.scripts(stage):
            if script.heredoc is None or script.errexit or not script.parsed.complete:
                continue
            pipelines = script.parsed.outermost
            strict = _option_from(script, "e", "errexit")
            for index, pipeline in enumerate(pipelines[:-1]):
                if pipeline.start >= strict:
                    break
                if pipelines[index + 1].joined in (";", "\n") and _may_fail(script, pipeline):
                    yield _unnoticed(script, pipeline)
                    break


def _may_fail(script: Script, pipeline: Pipeline) -> bool:
    last = pipeline.elements[-1]
    if pipeline.tested or pipeline.joined == "||" or not isinstance(last, Command):
        return False
    if not last.words:
        return False
    return invocation(script, last).name not in _HARMLESS


def _unnoticed(script: Script, pipeline: Pipeline) -> Finding:
    begin = re.match(r"(?:#![^\n]*\n)?", script.text)
    start = begin.end() if begin else 0
    change = Change(Place(start, start, script.heredoc), "set -e\n")
    return own.HEREDOC_WITHOUT_ERREXIT.at(
        script.node,
        shown(script.text[pipeline.start : pipeline.end]),
        place=script.place(pipeline.start, pipeline.end),
        fix=Fix("begin with set -e", (change,), safe=False),
    )


def _option_from(script: Script, letter: str, name: str) -> int:
    """Where ``set`` turns an option on; behind the text where nothing does."""
    for command in script.parsed.commands:
        if is_set(set_options(command), letter, name):
            return command.start
    return len(script.text) + 1


def credentials(survey: Survey) -> Iterator[Finding]:
    """Build arguments that stand where a password or a token stands."""
    declared: list[frozenset[str]] = []
    for stage in survey.stages:
        parent = survey.parents[stage.index]
        inherited = frozenset[str]() if parent is None else declared[parent]
        declared.append(inherited | _declared(stage))
        for script in survey.scripts(stage) if declared[-1] else ():
            told = _secrets(script.node)
            for match in _credentials(script.text):
                if match[1] in declared[-1] and match[1] not in told:
                    told.add(match[1])
                    place = script.place(match.start(), match.end())
                    yield own.BUILD_ARG_AS_CREDENTIAL.at(script.node, match[1], place=place)


def _secrets(node: nodes.Run) -> set[str]:
    """The variables that secret mounts give a RUN, which are no build arguments there."""
    return {dict(mount.options).get("env") or "" for mount in node.mounts}


def _declared(stage: nodes.Stage) -> frozenset[str]:
    arguments = (node for node in stage.instructions if isinstance(node, nodes.Arg))
    return frozenset(pair.key for node in arguments for pair in node.args)


def _credentials(text: str) -> Iterator[re.Match[str]]:
    for pattern in _CREDENTIALS:
        for match in pattern.finditer(text):
            address = match[0].startswith("://")
            if not address or _ADDRESS_END.match(text, match.end()):
                yield match


def signals(survey: Survey) -> Iterator[Finding]:
    """CMD and ENTRYPOINT in exec form whose ``sh -c`` stays between the program and signals."""
    for stage in survey.stages:
        for node in stage.instructions:
            if not isinstance(node, nodes.Cmd | nodes.Entrypoint):
                continue
            if isinstance(node.command, nodes.ExecForm):
                program = _not_replaced(node.command.args)
                if program:
                    yield own.SHELL_WITHOUT_EXEC.at(node, node.keyword.upper(), program)


def _not_replaced(words: tuple[str, ...]) -> str:
    """The last program of a ``sh -c`` of several commands; shells replace themselves by one."""
    if (
        len(words) < 3
        or posixpath.basename(words[0]) not in SHELLS
        or not is_set(words[1:2], "c", "")
    ):
        return ""
    parsed = shell.parse(words[2])
    names = {command.name for command in parsed.commands}
    if not parsed.complete or names & {"exec", "trap", "wait"} or len(parsed.outermost) < 2:
        return ""
    last = parsed.outermost[-1]
    element = last.elements[0]
    if len(last.elements) > 1 or not isinstance(element, Command) or last.joined == "||":
        return ""
    return "" if element.name in _HARMLESS | STATE else element.name
