"""``$NAME`` and ``${NAME:-default}`` in compose files and ``.env`` files.

https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from engine.bake.compose.document import Replacement
from engine.bake.errors import BakeLimitError, BakeValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPTH: Final = 20
"""Variables within the defaults of one another."""
LENGTH: Final = 1 << 20
"""Characters of one expanded text."""

_START = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*))")
_OPERATOR = re.compile(r":?[-?+]")


def interpolate(text: str, variables: Mapping[str, str], where: str, depth: int = 0) -> str:
    """The text with its variables replaced; ``$$`` is a dollar sign.

    Raises:
        BakeValueError: malformed, or ``${NAME?message}`` of an unset variable.
    """
    if "$" not in text:
        return text
    if depth > DEPTH:
        raise BakeLimitError(f"more than {DEPTH} variables within one another", where=where)
    made, position, length = [], 0, 0
    while position < len(text):
        dollar = text.find("$", position)
        if dollar < 0:
            dollar = len(text)
        made.append(text[position:dollar])
        if dollar == len(text):
            break
        value, position = _one(text, dollar, variables, where, depth)
        made.append(value)
        length += len(value)
        if length > LENGTH:
            raise BakeLimitError(f"more than {LENGTH} characters", where=where)
    return "".join(made)


def _one(
    text: str, start: int, variables: Mapping[str, str], where: str, depth: int
) -> tuple[str, int]:
    match = _START.match(text, start)
    if match is None:
        raise BakeValueError(
            f"{text[start : start + 12]!r} is no variable",
            where=where,
            fix="write ${NAME}, or $$ for a dollar sign",
        )
    dollar, bare, braced = match.groups()
    if dollar or bare:
        return ("$" if dollar else variables.get(bare, "")), match.end()
    end = _closing(text, match.end(), where)
    inner = text[match.end() : end]
    return _braced(braced, inner, variables, where, depth), end + 1


def _closing(text: str, start: int, where: str) -> int:
    depth, position = 1, start
    while position < len(text):
        if text.startswith("${", position):
            depth += 1
            position += 1
        elif text[position] == "}":
            depth -= 1
            if not depth:
                return position
        position += 1
    raise BakeValueError("${ is never closed", where=where)


def _braced(name: str, rest: str, variables: Mapping[str, str], where: str, depth: int) -> str:
    value = variables.get(name)
    if not rest:
        return value or ""
    match = _OPERATOR.match(rest)
    if match is None:
        raise BakeValueError(
            f"${{{name}{rest}}} is no variable", where=where, fix="write ${NAME:-default}"
        )
    operator, argument = match.group(), rest[match.end() :]
    present = value is not None and (value != "" or not operator.startswith(":"))
    if operator.endswith("+"):
        return interpolate(argument, variables, where, depth + 1) if present else ""
    if present:
        return value or ""
    other = interpolate(argument, variables, where, depth + 1)
    if operator.endswith("?"):
        raise BakeValueError(f"the variable {name} is required: {other}".rstrip(": "), where=where)
    return other


def interpolate_all(item: Any, variables: Mapping[str, str], where: str) -> Any:
    """Every text of a document; keys stay as they are. Raises as ``interpolate``."""
    if isinstance(item, str):
        return interpolate(item, variables, where)
    if isinstance(item, dict):
        return {key: interpolate_all(one, variables, f"{where}.{key}") for key, one in item.items()}
    if isinstance(item, list):
        return [interpolate_all(one, variables, f"{where}.{i}") for i, one in enumerate(item)]
    if isinstance(item, Replacement):
        return Replacement(interpolate_all(item.value, variables, where))
    return item
