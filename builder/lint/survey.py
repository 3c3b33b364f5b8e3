"""A whole Dockerfile as the rules of our own look at it: stages, what they stand on, their scripts.

Everything is worked out once, and only when a rule asks. Nothing but the tree is read; for the few
rules that compare it with files, ``files`` knows the build context.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from dockerfile_grammar import nodes
from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.expand import expansion

if TYPE_CHECKING:
    from builder.lint.scripts import Script

SCRATCH: Final = "scratch"
BACKSLASH: Final = "\\"
DEFAULT_SHELL: Final = ("/bin/sh", "-c")
SHELLS: Final = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"})
"""Programs that read the language of ``builder.lint.shell``."""
DIRECTORY_NAMES: Final = frozenset({".", "..", ""})
"""Last parts of paths that are surely directories."""
_WORD = re.compile(r"\w+")
_SHOWN: Final = 40
"""Characters of a command that a message quotes."""


class Survey:
    """One file. ``files`` lists the paths of its build context, directories with a slash at the
    end; None where there is no context. ``contexts`` are the keys of its named ones.
    """

    def __init__(
        self,
        dockerfile: nodes.Dockerfile,
        build_args: Mapping[str, str],
        *,
        files: Callable[[], frozenset[str]] | None = None,
        contexts: Container[str] = (),
    ) -> None:
        self.dockerfile = dockerfile
        self.stages = dockerfile.stages
        self._build_args = build_args
        self._files = files
        self.contexts = contexts
        self._scripts: dict[int, tuple[Script, ...]] = {}

    @cached_property
    def files(self) -> frozenset[str] | None:
        """What COPY may name; None where that is not known."""
        return self._files() if self._files is not None else None

    @cached_property
    def parents(self) -> tuple[int | None, ...]:
        """For each stage the one it starts from, if it is one of this file."""
        found: list[int | None] = []
        names: dict[str, int] = {}
        for stage in self.stages:
            found.append(names.get(self.base(stage) or stage.base.image))
            if stage.name is not None:
                names[stage.name] = stage.index
        return tuple(found)

    @cached_property
    def shipped(self) -> frozenset[int]:
        """The last stage and those it starts from: their files are in the image."""
        return frozenset(self.lineage(len(self.stages) - 1))

    def lineage(self, index: int) -> list[int]:
        """A stage and what it starts from, the first one first."""
        found: list[int] = []
        current: int | None = index
        while current is not None:
            found.append(current)
            current = self.parents[current]
        return found[::-1]

    def heirs(self, index: int) -> list[int]:
        """The stages that start from a stage, directly or not."""
        found, waiting = list[int](), list(self._children.get(index, ()))
        while waiting:
            found.append(waiting.pop())
            waiting += self._children.get(found[-1], ())
        return sorted(found)

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for index, parent in enumerate(self.parents):
            if parent is not None:
                found.setdefault(parent, []).append(index)
        return found

    def base(self, stage: nodes.Stage) -> str | None:
        """What FROM names with the arguments known; None where a value is missing."""
        try:
            word = expansion(stage.base.image, self._globals, escape=self.dockerfile.escape)
        except ExpansionError:
            return None
        return None if word.unmatched or not word.text else word.text

    def scripts(self, stage: nodes.Stage) -> tuple[Script, ...]:
        """The shell text of a stage's RUN instructions, in order."""
        if stage.index not in self._scripts:
            self._scripts[stage.index] = tuple(self._read(stage))
        return self._scripts[stage.index]

    def interpreter(self, stage: nodes.Stage) -> tuple[str, ...]:
        """The SHELL at the end of a stage."""
        return self._interpreters[stage.index]

    @cached_property
    def _interpreters(self) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        for stage in self.stages:
            parent = self.parents[stage.index]
            words = DEFAULT_SHELL if parent is None else found[parent]
            for node in stage.instructions:
                if isinstance(node, nodes.Shell):
                    words = node.args
            found.append(words)
        return found

    @cached_property
    def assumes_yes(self) -> bool:
        """Whether a setting of apt in this file answers its questions."""
        return "ssume-" in self.text

    @cached_property
    def spares_recommends(self) -> bool:
        """Whether a setting of apt in this file leaves recommended packages out."""
        return "nstall-Recommends" in self.text

    @cached_property
    def text(self) -> str:
        """Every instruction with its here-documents: to see whether something is mentioned."""
        found = [text_of(node) for node in self.dockerfile.global_args]
        for stage in self.stages:
            found += (text_of(node) for node in stage.instructions)
        return "\n".join(found)

    @cached_property
    def _globals(self) -> dict[str, str]:
        values: dict[str, str] = {}
        for node in self.dockerfile.global_args:
            for pair in node.args:
                value = self._build_args.get(pair.key, pair.value)
                if value is None:
                    continue
                try:
                    word = expansion(value, values, escape=self.dockerfile.escape)
                except ExpansionError:
                    continue
                if not word.unmatched:
                    values[pair.key] = word.text
        return values

    def _read(self, stage: nodes.Stage) -> Iterator[Script]:
        if self.dockerfile.escape != BACKSLASH:
            return
        from builder.lint.scripts import scripts

        parent = self.parents[stage.index]
        words = DEFAULT_SHELL if parent is None else self.interpreter(self.stages[parent])
        for node in stage.instructions:
            if isinstance(node, nodes.Shell):
                words = node.args
            elif isinstance(node, nodes.Run):
                yield from scripts(node, words)


def text_of(node: nodes.Instruction) -> str:
    """An instruction with the bodies of its here-documents."""
    match node:
        case nodes.Copy() | nodes.Add():
            docs = node.heredocs
        case nodes.Run(command=nodes.ShellForm(heredocs=found)):
            docs = found
        case _:
            docs = ()
    return "\n".join((node.original, *(doc.content for doc in docs)))


def words_of(node: nodes.Instruction) -> frozenset[str]:
    """The words of an instruction that could be names of variables."""
    return frozenset(_WORD.findall(text_of(node)))


def mounts(node: nodes.Run, kind: str) -> Iterator[str]:
    """The targets of a RUN's mounts of one type."""
    for mount in node.mounts:
        options = dict(mount.options)
        if options.get("type", "bind") == kind:
            target = options.get("target") or options.get("dst") or options.get("destination")
            yield target or ""


def cached(node: nodes.Run, *paths: str) -> bool:
    """Whether a cache or a tmpfs is mounted at or above one of the paths."""
    for kind in ("cache", "tmpfs"):
        for target in mounts(node, kind):
            here = f"{target.rstrip('/')}/"
            if any(f"{path}/".startswith(here) or here.startswith(f"{path}/") for path in paths):
                return True
    return False


def shown(text: str) -> str:
    """The begin of a command, on one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
