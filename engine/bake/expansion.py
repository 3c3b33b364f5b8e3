"""A block and its matrix: one expansion for every combination of the matrix's values."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Final

from engine.bake.errors import BakeLimitError, BakeSyntaxError, BakeValueError
from records import Record

if TYPE_CHECKING:
    from engine.bake.evaluate import Evaluator
    from engine.bake.hcl.nodes import Block, Setting
    from engine.bake.source import Place
    from engine.bake.values.value import Value

COMBINATIONS: Final = 1000
"""Most targets that one matrix makes."""

_NAME = re.compile(r"[a-zA-Z0-9_-]+")


class Expansion(Record):
    """One target or group that a block stands for, and the scope to evaluate it in."""

    name: str
    block: Block
    evaluator: Evaluator


def check_name(name: str, place: Place | None) -> str:
    """The name, when it is one of a target or group; raises BakeSyntaxError."""
    if not _NAME.fullmatch(name):
        raise BakeSyntaxError(
            f"{name!r} is no name of a target",
            place=place,
            fix="use letters, digits, _ and -; sanitize() makes a name of any text",
        )
    return name


def expand(block: Block, root: Evaluator, label: str) -> list[Expansion]:
    """All that a block stands for, in the order of the matrix's values.

    Raises:
        BakeError: a matrix that is none, too large a one, or names that are malformed or equal.
    """
    check_name(label, block.at)
    matrix, name = block.body.setting("matrix"), block.body.setting("name")
    if block.type == "group" and (matrix or name):
        raise BakeSyntaxError(
            "a group has neither matrix nor name", place=(matrix or name or block).at
        )
    if matrix is None:
        if name is not None:
            raise BakeSyntaxError(
                "a name is computed for a matrix only", place=name.at, fix="name the target itself"
            )
        return [Expansion(label, block, root)]
    made: dict[str, Expansion] = {}
    for row in _rows(matrix, root):
        evaluator = root.within(row)
        chosen = label if name is None else evaluator.text(name.value)
        check_name(chosen, (name or matrix).at)
        if chosen in made:
            raise BakeValueError(
                f"two targets of this matrix are called {chosen}",
                place=(name or matrix).at,
                fix="give a name that every value of the matrix has a part in",
            )
        made[chosen] = Expansion(chosen, block, evaluator)
    return list(made.values())


def _rows(matrix: Setting, root: Evaluator) -> list[dict[str, Value]]:
    value, place = root.value(matrix.value), matrix.value.at
    if value.null or not value.type.mapping:
        raise BakeValueError("a matrix is an object of lists", place=place)
    axes: list[list[Value]] = []
    count = 1
    for name, items in value.data.items():
        if items.null or not (items.type.sequence or items.type.mapping):
            raise BakeValueError(f"the matrix's {name} is no list", place=place)
        axes.append(list(items.data.values()) if items.type.mapping else list(items.data))
        count *= len(axes[-1])
        if count > COMBINATIONS:
            raise BakeLimitError(f"a matrix of more than {COMBINATIONS} targets", place=place)
    # The first axis turns fastest.
    names = list(value.data)
    rows = product(*reversed(axes))
    return [dict(zip(names, reversed(row), strict=True)) for row in rows]
