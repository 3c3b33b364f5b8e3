"""The whole way from bytes to a Dockerfile: lines, statements, instructions, stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockerfile_grammar.errors import DockerfileError, SyntaxFault
from dockerfile_grammar.instructions import build_instruction
from dockerfile_grammar.lines import read_source
from dockerfile_grammar.nodes import (
    Arg,
    Dockerfile,
    From,
    Instruction,
    ParseWarning,
    SourceRange,
    Stage,
)
from dockerfile_grammar.syntax import read_statement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dockerfile_grammar.lines import LogicalLine, Source


def parse(source: bytes | str, *, filename: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile.

    Args:
        source: the file; bytes must be UTF-8, a byte order mark is dropped.
        filename: how messages name it.

    Raises:
        DockerfileError: the first fault in the file, with its lines and where known its column.
    """
    lines = read_source(source, filename=filename)
    instructions = _instructions(lines)
    global_args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    for instruction in instructions:
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            global_args.append(instruction)
        else:
            raise DockerfileError(
                "no build stage in current context",
                filename=filename,
                lines=lines.physical,
                range=instruction.range,
                code="dockerfile-no-stage",
                fix="begin with FROM; only ARG may stand before it",
            )
    return Dockerfile(
        directives=lines.directives,
        escape=lines.escape,
        global_args=tuple(global_args),
        stages=tuple(
            Stage(index, base, tuple(members)) for index, (base, members) in enumerate(stages)
        ),
        warnings=tuple(_warnings(lines.lines)),
    )


def _instructions(source: Source) -> Iterable[Instruction]:
    for line in source.lines:
        try:
            statement = read_statement(line.text, escape=source.escape)
            yield build_instruction(statement, line, source.escape)
        except SyntaxFault as fault:
            raise DockerfileError(
                fault.what,
                filename=source.filename,
                lines=source.physical,
                range=line.range,
                caret=line.locate(fault.offset) if fault.offset is not None else None,
                fix=fault.fix,
                code=fault.code,
            ) from fault


def _warnings(lines: Iterable[LogicalLine]) -> Iterable[ParseWarning]:
    for line in lines:
        if line.empty_continuation:
            last = SourceRange(line.range.end, line.range.end)
            yield ParseWarning("NoEmptyContinuation", "Empty continuation line", last)
