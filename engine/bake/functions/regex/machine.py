"""Patterns as programs, run on all possibilities at once (Pike's machine).

At each character there is at most one thread for each instruction, in the order of preference, so
the time is the program's length times the text's, and the match is the one backtracking would find.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from engine.bake.functions.regex.syntax import (
    Assertion,
    Character,
    Choice,
    Group,
    Node,
    Pattern,
    PatternError,
    Repeat,
    Sequence,
    Test,
    in_ranges,
    parse_pattern,
)

PROGRAM: Final = 3000
"""Most instructions; counted repetitions are written out."""
STEPS: Final = 3_000_000
"""Most instructions that one search executes."""

_WORD: Final = in_ranges("09AZ__az")
Spans = tuple[int, ...]
"""Begin and end of the match and of each group; -1 where a group took no part."""


class _Instruction(NamedTuple):
    """``operation`` is test, split, jump, save, assert or match."""

    operation: str
    first: int = 0
    second: int = 0
    test: Test | None = None
    kind: str = ""


class Machine:
    """A compiled pattern; raises PatternError when it is malformed or too long."""

    def __init__(self, source: str) -> None:
        pattern: Pattern = parse_pattern(source)
        self.names = pattern.names
        self._program: list[_Instruction] = []
        self._emit(_Instruction("save", 0))
        self._compile(pattern.root)
        self._emit(_Instruction("save", 1))
        self._emit(_Instruction("match"))

    # -- compiling ---------------------------------------------------------------------------

    def _emit(self, instruction: _Instruction) -> int:
        if len(self._program) >= PROGRAM:
            raise PatternError("the pattern is too large when its repetitions are written out")
        self._program.append(instruction)
        return len(self._program) - 1

    def _compile(self, node: Node) -> None:
        match node:
            case Character(test=test):
                self._emit(_Instruction("test", test=test))
            case Assertion(kind=kind):
                self._emit(_Instruction("assert", kind=kind))
            case Sequence(parts=parts):
                for part in parts:
                    self._compile(part)
            case Group(number=number, inner=inner):
                self._emit(_Instruction("save", 2 * number))
                self._compile(inner)
                self._emit(_Instruction("save", 2 * number + 1))
            case Choice(parts=parts):
                self._choice(parts)
            case Repeat():
                self._repeat(node)

    def _choice(self, parts: tuple[Node, ...]) -> None:
        ends = []
        for part in parts[:-1]:
            split = self._emit(_Instruction("split"))
            self._compile(part)
            ends.append(self._emit(_Instruction("jump")))
            self._program[split] = _Instruction("split", split + 1, len(self._program))
        self._compile(parts[-1])
        for end in ends:
            self._program[end] = _Instruction("jump", len(self._program))

    def _repeat(self, node: Repeat) -> None:
        for _ in range(node.least):
            self._compile(node.inner)
        if node.most is None:
            split = self._emit(_Instruction("split"))
            self._compile(node.inner)
            self._emit(_Instruction("jump", split))
            self._fork(split, greedy=node.greedy)
            return
        splits = []
        for _ in range(node.most - node.least):
            splits.append(self._emit(_Instruction("split")))
            self._compile(node.inner)
        for split in splits:
            self._fork(split, greedy=node.greedy)

    def _fork(self, split: int, *, greedy: bool) -> None:
        more, less = split + 1, len(self._program)
        first, second = (more, less) if greedy else (less, more)
        self._program[split] = _Instruction("split", first, second)

    # -- running -----------------------------------------------------------------------------

    def search(self, text: str, start: int = 0) -> Spans | None:
        """The leftmost match at or after ``start``; raises PatternError when it takes too long."""
        blank = (-1,) * (2 * len(self.names) + 2)
        pending: list[tuple[int, Spans]] = []
        found: Spans | None = None
        steps = 0
        for position in range(start, len(text) + 1):
            if found is None:
                pending.append((0, blank))
            elif not pending:
                break
            threads = self._follow(pending, text, position)
            pending = []
            char = text[position : position + 1]
            for pc, spans in threads:
                test = self._program[pc].test
                if test is None:
                    found = spans
                    break
                if char and test(char):
                    pending.append((pc + 1, spans))
            steps += 1 + 3 * len(threads)
            if steps > STEPS:
                raise PatternError("looking for this pattern in this text takes too long")
        return found

    def _follow(
        self, starts: list[tuple[int, Spans]], text: str, position: int
    ) -> list[tuple[int, Spans]]:
        """Threads at tests and matches that can be reached without a character, best first."""
        reached: list[tuple[int, Spans]] = []
        seen: set[int] = set()
        waiting = list(reversed(starts))
        while waiting:
            pc, spans = waiting.pop()
            if pc in seen:
                continue
            seen.add(pc)
            instruction = self._program[pc]
            match instruction.operation:
                case "jump":
                    waiting.append((instruction.first, spans))
                case "split":
                    waiting += [(instruction.second, spans), (instruction.first, spans)]
                case "save":
                    slot = instruction.first
                    waiting.append((pc + 1, (*spans[:slot], position, *spans[slot + 1 :])))
                case "assert":
                    if _holds(instruction.kind, text, position):
                        waiting.append((pc + 1, spans))
                case _:
                    reached.append((pc, spans))
        return reached

    def find_all(self, text: str) -> Iterator[Spans]:
        """Matches that do not overlap; an empty one never touches the one before."""
        position, before = 0, -1
        while position <= len(text):
            spans = self.search(text, position)
            if spans is None:
                return
            begin, end = spans[:2]
            if begin != end or begin != before:
                yield spans
            position = end + (1 if begin == end else 0)
            before = end


def _holds(kind: str, text: str, position: int) -> bool:
    match kind:
        case "begin":
            return position == 0
        case "end":
            return position == len(text)
        case "line begin":
            return position == 0 or text[position - 1] == "\n"
        case "line end":
            return position == len(text) or text[position] == "\n"
    around = [text[at : at + 1] for at in (position - 1, position) if at >= 0]
    words = sum(bool(char) and _WORD(char) for char in around)
    return (words == 1) == (kind == "word")
