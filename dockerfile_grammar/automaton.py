"""An LALR(1) automaton with a contextual scanner, run from tables that lark computed.

lark is a generator of parsers; importing it takes longer than reading most Dockerfiles, and its
tables are all that is needed for that. What comes out is what lark's parser gives, trees and faults
alike, which is tested: Aho, Lam, Sethi and Ullman, section 4.7, with the terminals tried that the
state allows. Rules whose names begin with ``_`` leave their children to the rule above.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

END = "$END"
"""The terminal after the last."""


class Mismatch(Exception):
    """A text has not the shape of its start rule.

    ``position`` is where that shows; None in an empty text. ``expected`` are the terminals that
    would do there, none where nothing in the grammar matches the text.
    """

    def __init__(self, position: int | None, expected: frozenset[str]) -> None:
        super().__init__(position, expected)
        self.position = position
        self.expected = expected


class Token(str):
    """A piece of the text: its terminal, and where it begins."""

    __slots__ = ("start", "type")

    type: str
    start: int

    @classmethod
    def of(cls, kind: str, text: str, start: int) -> Token:
        """Make one."""
        token = cls(text)
        token.type = kind
        token.start = start
        return token


class Tables(Record):
    """The automaton, in plain values; states and rules are numbered."""

    terminals: Sequence[tuple[str, str]]
    """Names and regular expressions."""
    rules: Sequence[tuple[str, Sequence[bool]]]
    """Names, and for each symbol whether it is among the children."""
    states: Sequence[Mapping[str, int]]
    """By symbol the next state, or -1 less the number of the rule that ends here."""
    lexers: Sequence[Sequence[int]]
    """For each state the terminals that are tried, in this order."""
    starts: Mapping[str, int]
    ends: Mapping[str, int]
    """The first and the last state of each start rule."""


class _Node:
    """A match of a rule."""

    __slots__ = ("children", "name", "value")

    def __init__(self, name: str, children: list[Any]) -> None:
        self.name = name
        self.children = children
        self.value: Any = None


class Automaton:
    """Reads texts; ``values`` has a method for each rule that is called with its children."""

    def __init__(self, tables: Tables, values: object) -> None:
        self._tables = tables
        self._values = values
        self._patterns: dict[int, Callable[[str, int], re.Match[str] | None]] = {}

    def parse(self, text: str, *, start: str) -> Any:
        """The value of ``text``, read by one start rule.

        Raises:
            Mismatch: it does not have that shape.
        """
        tables = self._tables
        states = [tables.starts[start]]
        values: list[Any] = []
        nodes: list[_Node] = []
        position, before = 0, None
        while position < len(text):
            token = self._scan(text, position, states[-1])
            self._feed(token.type, position, states, values, nodes)
            states.append(tables.states[states[-1]][token.type])
            values.append(token)
            position, before = position + len(token), position
        self._feed(END, before, states, values, nodes, end=tables.ends[start])
        # Only now is it sure to have this shape, and every node's children come before it.
        for node in nodes:
            node.value = getattr(self._values, node.name)(
                [it.value if isinstance(it, _Node) else it for it in node.children]
            )
        return values[-1].value

    def _scan(self, text: str, position: int, state: int) -> Token:
        """What comes next, as one of the terminals that the state allows."""
        tables = self._tables
        tried = tables.lexers[state]
        for number in tried:
            match = self._pattern(number)(text, position)
            if match is not None:
                return Token.of(tables.terminals[number][0], match.group(), position)
        known = any(self._pattern(it)(text, position) for it in range(len(tables.terminals)))
        names = frozenset(tables.terminals[number][0] for number in tried)
        raise Mismatch(position, names if known else frozenset())

    def _pattern(self, number: int) -> Callable[[str, int], re.Match[str] | None]:
        """A terminal's, compiled when it is first tried."""
        found = self._patterns.get(number)
        if found is None:
            found = self._patterns[number] = re.compile(self._tables.terminals[number][1]).match
        return found

    def _feed(
        self,
        kind: str,
        position: int | None,
        states: list[int],
        values: list[Any],
        nodes: list[_Node],
        *,
        end: int | None = None,
    ) -> None:
        """Reduce until the terminal can be shifted, or the start rule has ended."""
        tables = self._tables
        while True:
            action = tables.states[states[-1]].get(kind)
            if action is None:
                expected = frozenset(it for it in tables.states[states[-1]] if it.isupper())
                raise Mismatch(position, expected)
            if action >= 0:
                return
            name, kept = tables.rules[-1 - action]
            first = len(values) - len(kept)
            children = _children(values[first:], kept)
            del states[len(states) - len(kept) :], values[first:]
            if name.startswith("_"):
                values.append(children)
            else:
                node = _Node(name, children)
                nodes.append(node)
                values.append(node)
            states.append(tables.states[states[-1]][name])
            if states[-1] == end:
                return


def _children(values: list[Any], kept: Sequence[bool]) -> list[Any]:
    """What a rule keeps of its symbols' values; a list stands for its members."""
    children: list[Any] = []
    for value, keep in zip(values, kept, strict=True):
        if not isinstance(value, list):
            if keep:
                children.append(value)
        elif children:
            children += value
        else:
            # Nobody else has it, and a repetition begins with the shorter one.
            children = value
    return children
