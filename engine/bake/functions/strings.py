"""Text. Lengths and positions count what a reader sees as one character, as go-cty does."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.values import value as make
from engine.bake.values.types import NUMBER, STRING, list_type
from engine.bake.values.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

INDENT: Final = 1024
"""Most blanks that ``indent`` puts before a line."""

_STR: Final = Parameter("str", STRING)
_UNSAFE = re.compile("[^a-zA-Z0-9_-]")
_JOINERS: Final = ("\u200d", "\ufe0e", "\ufe0f")


def _text(name: str, compute: Callable[..., str], *parameters: str) -> Function:
    """A function of strings to a string."""
    named = tuple(Parameter(one, STRING) for one in parameters or ("str",))
    return Function(name, named, lambda *args: make.string(compute(*(arg.data for arg in args))))


def characters(text: str) -> list[str]:
    """A text by what a reader sees as one character: marks and joined ones stay together.

    An approximation of UAX 29 that knows combining marks, joiners, variation selectors, emoji
    modifiers, pairs of regional indicators, and CR LF.
    """
    found: list[str] = []
    for char in text:
        if found and _extends(found[-1], char):
            found[-1] += char
        else:
            found.append(char)
    return found


def _extends(before: str, char: str) -> bool:
    if before == "\r":
        return char == "\n"
    if char in _JOINERS or unicodedata.category(char) in ("Mn", "Me", "Mc"):
        return before[-1] not in "\r\n"
    if "\U0001f3fb" <= char <= "\U0001f3ff" or before[-1] == "\u200d":
        return True
    flags = ["\U0001f1e6" <= one <= "\U0001f1ff" for one in (before[-1], char)]
    return all(flags) and len(before) == 1


def integer(value: Value, argument: int) -> int:
    """The whole number an argument is; raises FunctionError."""
    data = value.data
    assert isinstance(data, Decimal)
    if data != int(data):
        raise FunctionError("a whole number is required", argument)
    return int(data)


def _chomp(text: str) -> str:
    return text.rstrip("\r\n") if text.endswith("\n") else text


def _indent(spaces: Value, text: Value) -> Value:
    count = integer(spaces, 0)
    if not 0 <= count <= INDENT:
        raise FunctionError(f"from 0 to {INDENT} blanks are possible", 0)
    return make.string(text.data.replace("\n", "\n" + " " * count))


def _join(separator: Value, *lists: Value) -> Value:
    if not lists:
        raise FunctionError("at least one list is required")
    items = [item for one in lists for item in one.data]
    if any(item.null for item in items):
        raise FunctionError("an element is null")
    return make.string(separator.data.join(item.data for item in items))


def _split(separator: Value, text: Value) -> Value:
    cut = separator.data
    parts = text.data.split(cut) if cut else list(text.data)
    return make.list_of([make.string(part) for part in parts], STRING)


def _substring(text: Value, offset: Value, length: Value) -> Value:
    found = characters(text.data)
    start, count = integer(offset, 1), integer(length, 2)
    if start < 0:
        start = max(0, len(found) + start)
    end = len(found) if count < 0 else start + count
    return make.string("".join(found[start:end]))


def _title(text: str) -> str:
    """Every letter that begins a word, as Go's strings.Title has it."""
    result, inside = [], False
    for char in text:
        result.append(char if inside else _title_case(char))
        inside = not (char.isspace() or _separates(char))
    return "".join(result)


def _title_case(char: str) -> str:
    changed = char.title()
    return changed if len(changed) == 1 else char


def _separates(char: str) -> bool:
    return char.isascii() and not (char.isalnum() or char == "_")


def _trim(text: str, cutset: str) -> str:
    return text.strip(cutset) if cutset else text


def _bytes_slice(text: Value, offset: Value, length: Value) -> Value:
    data = text.data.encode()
    start, count = integer(offset, 1), integer(length, 2)
    if start < 0:
        start += len(data)
    if not 0 <= start <= len(data):
        raise FunctionError("the offset is outside of the text", 1)
    end = len(data) if count < 0 else start + count
    if end > len(data):
        raise FunctionError("the end is outside of the text", 2)
    return make.string(data[start:end].decode("utf-8", "replace"))


def _replace(text: str, search: str, replacement: str) -> str:
    return text.replace(search, replacement)


def _reverse(text: str) -> str:
    return "".join(reversed(characters(text)))


def _length(text: Value) -> Value:
    return make.number(len(characters(text.data)))


def _space(text: str) -> str:
    return text.strip(" \t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + _EN_SPACES)


_EN_SPACES: Final = "".join(chr(code) for code in range(0x2000, 0x200B))
_SLICE: Final = (_STR, Parameter("offset", NUMBER), Parameter("length", NUMBER))
_LISTS: Any = Parameter("lists", list_type(STRING))
FUNCTIONS: Final = (
    Function("byteslen", (_STR,), lambda text: make.number(len(text.data.encode()))),
    Function("bytesslice", _SLICE, _bytes_slice),
    _text("chomp", _chomp),
    Function("indent", (Parameter("spaces", NUMBER), _STR), _indent),
    Function("join", (Parameter("separator", STRING),), _join, variadic=_LISTS),
    _text("lower", str.lower),
    _text("replace", _replace, "str", "substr", "replace"),
    _text("reverse", _reverse),
    _text("sanitize", lambda text: _UNSAFE.sub("_", text), "name"),
    Function("split", (Parameter("separator", STRING), _STR), _split),
    Function("strlen", (_STR,), _length),
    Function("substr", _SLICE, _substring),
    _text("title", _title),
    _text("trim", _trim, "str", "cutset"),
    _text("trimprefix", str.removeprefix, "str", "prefix"),
    _text("trimspace", _space),
    _text("trimsuffix", lambda text, end: text.removesuffix(end) if end else text, "str", "suffix"),
    _text("upper", str.upper),
)
