"""The shell text of RUN instructions: which shell reads it, its options, and where it stands.

SHELL chooses the shell of a stage and of those that start from it. A RUN has one text, or the body
of a here-document; bodies for programs other than a shell are none of ours.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from builder.lint import shell
from builder.lint.rules import Place
from builder.lint.shell import Command
from builder.lint.survey import SHELLS
from dockerfile_grammar import nodes
from records import Record

_SHEBANG = re.compile(r"#!\s*(\S+)([^\n]*)")
_ENV_SHEBANG = re.compile(r"#!\s*\S*/env\s+(?:-S\s+)?(\S+)([^\n]*)")


class Script(Record):
    """A text for a shell. Positions in ``parsed`` count from its start."""

    node: nodes.Run
    text: str
    offset: int
    """Where the text begins in the instruction's, 0 for a here-document."""
    heredoc: int | None
    parsed: shell.Script
    errexit: bool
    """The shell ends at the first command that fails (``set -e``), from the start."""
    pipefail: bool
    """A pipeline fails when any of its commands does, from the start."""

    def place(self, start: int, end: int) -> Place:
        """A part of the text as a part of the instruction."""
        return Place(self.offset + start, self.offset + end, self.heredoc)


def scripts(node: nodes.Run, interpreter: tuple[str, ...]) -> Iterator[Script]:
    """What of a RUN a shell reads; ``interpreter`` is the stage's SHELL.

    Nothing for other shells (PowerShell, cmd) and for the exec form.
    """
    command = node.command
    if not isinstance(command, nodes.ShellForm) or _base(interpreter[0]) not in SHELLS:
        return
    text, docs = command.text, command.heredocs
    if not docs:
        yield _script(node, text, interpreter)
        return
    parsed = shell.parse(text)
    only = parsed.commands[0] if len(parsed.commands) == 1 else None
    if only is not None and len(docs) == 1:
        words = _reader(only, docs[0], interpreter)
        if words is not None:
            yield _script(node, docs[0].content, words, heredoc=0)
            return
    yield _script(node, text, interpreter)


def is_set(words: tuple[str, ...], letter: str, name: str) -> bool:
    """Whether arguments of a shell or of ``set`` turn an option on: ``-eu`` or ``-o errexit``."""
    for index, word in enumerate(words):
        if re.fullmatch(r"-[A-Za-z]+", word):
            if letter and letter in word:
                return True
            if word.endswith("o") and words[index + 1 : index + 2] == (name,):
                return True
    return False


def set_options(command: Command) -> tuple[str, ...]:
    """The arguments of ``set``; nothing for other commands."""
    if command.name != "set":
        return ()
    return tuple(word.value for word in command.words[1:])


def _reader(
    command: Command, doc: nodes.Heredoc, interpreter: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The shell that a body is for, with its arguments; None where it is for something else."""
    if not command.words and not command.assignments:
        shebang = _ENV_SHEBANG.match(doc.content) or _SHEBANG.match(doc.content)
        if shebang is None:
            return interpreter
        words = (shebang[1], *shebang[2].split())
    else:
        words = tuple(word.value for word in command.words)
    return words if words and _base(words[0]) in SHELLS else None


def _script(
    node: nodes.Run, text: str, interpreter: tuple[str, ...], *, heredoc: int | None = None
) -> Script:
    offset = 0 if heredoc is not None else max(0, node.original.rfind(text))
    arguments = interpreter[1:]
    return Script(
        node,
        text,
        offset,
        heredoc,
        shell.parse(text),
        errexit=is_set(arguments, "e", "errexit"),
        pipefail=is_set(arguments, "", "pipefail"),
    )


def _base(path: str) -> str:
    return posixpath.basename(path)
