"""``regex``, ``regexall`` and ``regex_replace``."""

from __future__ import annotations

import re
from typing import Final

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.functions.regex.machine import Machine, Spans
from engine.bake.functions.regex.syntax import PatternError
from engine.bake.values import value as make
from engine.bake.values.types import STRING, tuple_type
from engine.bake.values.value import Value

TEXT: Final = 1 << 16
"""Characters that are searched."""
PATTERN: Final = 2000
"""Characters of a pattern."""

_PATTERN: Final = Parameter("pattern", STRING)
_STRING: Final = Parameter("string", STRING)
_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


def _machine(pattern: str, text: str) -> Machine:
    if len(pattern) > PATTERN:
        raise FunctionError(f"the pattern is longer than {PATTERN} characters")
    if len(text) > TEXT:
        raise FunctionError(f"the text is longer than {TEXT} characters")
    try:
        return Machine(pattern)
    except PatternError as error:
        raise FunctionError(f"the pattern is malformed: {error}") from error


def _captures(machine: Machine, spans: Spans, text: str) -> Value:
    """The whole match, or what its groups caught: an object by name or a tuple by number."""

    def caught(number: int) -> Value:
        begin, end = spans[2 * number : 2 * number + 2]
        return make.null(STRING) if begin < 0 else make.string(text[begin:end])

    if not machine.names:
        return caught(0)
    named = [name for name in machine.names if name is not None]
    if not named:
        return make.tuple_of(caught(number) for number in range(1, len(machine.names) + 1))
    if len(named) < len(machine.names):
        raise FunctionError("either all groups have names or none has", 0)
    return make.object_of({name: caught(number) for number, name in enumerate(named, 1)})


def _all(pattern: Value, text: Value) -> tuple[Machine, list[Spans]]:
    machine = _machine(pattern.data, text.data)
    try:
        return machine, list(machine.find_all(text.data))
    except PatternError as error:
        raise FunctionError(str(error)) from error


def _regex(pattern: Value, text: Value) -> Value:
    machine = _machine(pattern.data, text.data)
    try:
        spans = machine.search(text.data)
    except PatternError as error:
        raise FunctionError(str(error)) from error
    if spans is None:
        raise FunctionError("the pattern matches nothing in this text", 1)
    return _captures(machine, spans, text.data)


def _regex_all(pattern: Value, text: Value) -> Value:
    machine, matches = _all(pattern, text)
    found = [_captures(machine, spans, text.data) for spans in matches]
    element = STRING if not machine.names else tuple_type(())
    return make.list_of(found, found[0].type if found else element)


def _regex_replace(text: Value, pattern: Value, replacement: Value) -> Value:
    machine, matches = _all(pattern, text)
    made, last = [], 0
    for spans in matches:
        made.append(text.data[last : spans[0]])
        made.append(_expanded(machine, spans, text.data, replacement.data))
        last = spans[1]
    made.append(text.data[last:])
    return make.string("".join(made))


def _expanded(machine: Machine, spans: Spans, text: str, template: str) -> str:
    """``$1``, ``$name`` and ``${name}`` in a replacement; unknown ones are empty."""

    def referred(reference: re.Match[str]) -> str:
        dollar, braced, bare = reference.groups()
        if dollar:
            return "$"
        name = braced or bare
        if name in machine.names:
            number = machine.names.index(name) + 1
        elif name.isascii() and name.isdigit() and int(name) <= len(machine.names):
            number = int(name)
        else:
            return ""
        begin, end = spans[2 * number : 2 * number + 2]
        return text[begin:end] if begin >= 0 else ""

    return _REFERENCE.sub(referred, template)


FUNCTIONS: Final = (
    Function("regex", (_PATTERN, _STRING), _regex),
    Function("regexall", (_PATTERN, _STRING), _regex_all),
    Function(
        "regex_replace",
        (Parameter("str", STRING), _PATTERN, Parameter("replace", STRING)),
        _regex_replace,
    ),
)
