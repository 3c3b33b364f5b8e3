"""Shell text as commands: words with their quotes, pipelines, compound commands, here-documents.

A reader for lint, after POSIX XCU chapter 2 ("Shell Command Language") with what bash adds and
Dockerfiles use. It executes and expands nothing. Text that it does not understand to the end is
marked incomplete, so that rules can keep silent about it.
"""

from __future__ import annotations

from records import Record


class Word(Record):
    """One word. ``text`` is as written, ``value`` without quotes and with its ``$`` as they are."""

    text: str
    value: str
    start: int
    end: int
    literal: bool
    """Nothing in it is expanded: no variable, no substitution, no pattern, no home directory."""

    @property
    def bare(self) -> bool:
        """Whether it is written without quotes and escapes."""
        return self.text == self.value


class Redirect(Record):
    """``operator`` without its descriptor; the word behind it."""

    operator: str
    target: Word


class Command(Record):
    """A simple command: ``words`` are its name and arguments, positions count in the text."""

    words: tuple[Word, ...]
    assignments: tuple[Word, ...]
    redirects: tuple[Redirect, ...]
    start: int
    end: int
    depth: int
    """How many compound commands and substitutions it stands in."""

    @property
    def name(self) -> str:
        """The command's name without its directory; empty where it is not known."""
        if not self.words or not self.words[0].literal:
            return ""
        return self.words[0].value.rpartition("/")[2]


class Compound(Record):
    """A subshell, group, loop, condition, ``case``, function or test, by its first word."""

    kind: str
    start: int
    end: int


class Pipeline(Record):
    """Commands joined by ``|``; ``joined`` is what stands before it: ``&&``, ``;``, nothing..."""

    elements: tuple[Command | Compound, ...]
    joined: str
    depth: int
    tested: bool
    """Its status is asked for: a condition, or an operand of ``!``."""

    @property
    def start(self) -> int:
        """Where its first element begins."""
        return self.elements[0].start

    @property
    def end(self) -> int:
        """Where its last element ends."""
        return self.elements[-1].end


class Script(Record):
    """All commands and pipelines of a text, those in substitutions included, in order."""

    commands: tuple[Command, ...]
    pipelines: tuple[Pipeline, ...]
    complete: bool = True

    @property
    def outermost(self) -> tuple[Pipeline, ...]:
        """The pipelines that stand in no compound command."""
        return tuple(pipeline for pipeline in self.pipelines if pipeline.depth == 0)


def parse(text: str) -> Script:
    """Read a text; never raises, whatever it holds."""
    from builder.lint.shell_reader import read

    commands, pipelines, complete = read(text)
    commands.sort(key=lambda command: command.start)
    pipelines.sort(key=lambda pipeline: pipeline.start)
    return Script(tuple(commands), tuple(pipelines), complete)
