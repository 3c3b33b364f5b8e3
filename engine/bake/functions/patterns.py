"""Regular expressions: Go's syntax as far as Python's engine has it.

Python's engine backtracks, so a hostile pattern could run for ever. Patterns in which a repeated
group repeats something itself are refused, and texts have a limit.
"""

from __future__ import annotations

import re
from typing import Final

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.values import value as make
from engine.bake.values.types import STRING, list_type, map_type
from engine.bake.values.value import Value

TEXT: Final = 1 << 16
"""Characters that are searched."""
PATTERN: Final = 1000
"""Characters of a pattern."""

_PATTERN_PARAMETER: Final = Parameter("pattern", STRING)
_TEXT_PARAMETER: Final = Parameter("string", STRING)
_CLASSES: Final = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f", "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~",
    "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_CLASS = re.compile(r"\[:([a-z]+):\]")
_GO_ONLY = re.compile(r"(\\\\)|\\(z)|\\(Q)|\\([pP])|\(\?<([A-Za-z_])")
_BACKTRACKING = re.compile(r"(?<!\\)\(\?(?:[=!(#>]|<[=!]|P=)|(?<!\\)(?:\\\\)*\\[1-9]")
_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


def compile_pattern(source: str) -> re.Pattern[str]:
    """A pattern in Go's syntax.

    Raises:
        FunctionError: it is malformed, uses what Python has and Go has not or the other way round,
            or may take time that grows faster than the text.
    """
    if len(source) > PATTERN:
        raise FunctionError(f"the pattern is longer than {PATTERN} characters", 0)
    if _BACKTRACKING.search(source):
        raise FunctionError("the pattern looks around or back, which Go's patterns cannot", 0)
    try:
        pattern = re.compile(_translate(source), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise FunctionError(f"the pattern is malformed: {error}", 0) from error
    return pattern


def _translate(source: str) -> str:
    def named(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in _CLASSES:
            raise re.error(f"unknown class [:{name}:]")
        return _CLASSES[name]

    def change(match: re.Match[str]) -> str:
        escaped, end, quote, unicode, group = match.groups()
        if quote or unicode:
            raise re.error(f"\\{quote or unicode} is not supported")
        return escaped or (r"\Z" if end else f"(?P<{group}")

    return _GO_ONLY.sub(change, _CLASS.sub(named, source))


def _search(pattern: Value, text: Value) -> tuple[re.Pattern[str], str]:
    if len(text.data) > TEXT:
        raise FunctionError(f"the text is longer than {TEXT} characters", 1)
    return compile_pattern(pattern.data), text.data


def _captures(match: re.Match[str]) -> Value:
    """The whole match, or what its groups caught: a map by name or a list by number."""
    pattern = match.re
    if not pattern.groups:
        return make.string(match.group())

    def caught(text: str | None) -> Value:
        return make.null(STRING) if text is None else make.string(text)

    if not pattern.groupindex:
        return make.tuple_of(caught(text) for text in match.groups())
    if len(pattern.groupindex) < pattern.groups:
        raise FunctionError("either all groups have names or none has", 0)
    return make.object_of({name: caught(text) for name, text in match.groupdict().items()})


def _regex(pattern: Value, text: Value) -> Value:
    compiled, searched = _search(pattern, text)
    match = compiled.search(searched)
    if match is None:
        raise FunctionError("the pattern matches nothing in this text", 1)
    return _captures(match)


def _regex_all(pattern: Value, text: Value) -> Value:
    compiled, searched = _search(pattern, text)
    found = [_captures(match) for match in compiled.finditer(searched)]
    element = STRING
    if compiled.groups:
        element = (map_type if compiled.groupindex else list_type)(STRING)
        element = found[0].type if found else element
    return make.list_of(found, element)


def _regex_replace(text: Value, pattern: Value, replacement: Value) -> Value:
    compiled, searched = _search(pattern, text)

    def expand(match: re.Match[str]) -> str:
        def referred(reference: re.Match[str]) -> str:
            dollar, braced, bare = reference.groups()
            if dollar:
                return "$"
            name = braced or bare
            known: int | str = int(name) if name.isdigit() else name
            try:
                return match.group(known) or ""
            except IndexError:
                return ""

        return _REFERENCE.sub(referred, replacement.data)

    return make.string(compiled.sub(expand, searched))


FUNCTIONS: Final = (
    Function("regex", (_PATTERN_PARAMETER, _TEXT_PARAMETER), _regex),
    Function("regexall", (_PATTERN_PARAMETER, _TEXT_PARAMETER), _regex_all),
    Function(
        "regex_replace",
        (Parameter("str", STRING), _PATTERN_PARAMETER, Parameter("replace", STRING)),
        _regex_replace,
    ),
)
