"""Lists, tuples, maps and objects."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Final

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.functions.strings import integer
from engine.bake.values import value as make
from engine.bake.values.convert import convert, unify
from engine.bake.values.types import ANY, NUMBER, STRING, list_type
from engine.bake.values.value import DECIMALS, Value, elements, equal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.bake.values.types import Type

RANGE: Final = 1024
"""Most numbers that ``range`` makes; go-cty's limit."""
PRODUCT: Final = 100_000
"""Most combinations that ``setproduct`` makes."""

_LIST: Final = Parameter("list")
_STRINGS: Final = Parameter("list", list_type(STRING), nullable=False)
_ANY_NULL: Final = Parameter("vals", nullable=True)


def sequence(value: Value, argument: int, *, sets: bool = False) -> tuple[Value, ...]:
    """The items of a list or tuple; raises FunctionError."""
    if not value.type.sequence or (value.type.name == "set" and not sets):
        raise FunctionError(f"a list or tuple is required, not {value.type.friendly()}", argument)
    items = value.data
    assert isinstance(items, tuple)
    return items


def mapping(value: Value, argument: int) -> dict[str, Value]:
    """The items of a map or object; raises FunctionError."""
    if not value.type.mapping:
        raise FunctionError(f"a map or object is required, not {value.type.friendly()}", argument)
    items = value.data
    assert isinstance(items, dict)
    return items


def like(source: Value, items: Iterable[Value]) -> Value:
    """A list where the source is one, a tuple otherwise."""
    if source.type.name == "list" and source.type.element is not None:
        return make.list_of(items, source.type.element)
    return make.tuple_of(items)


def common(values: Iterable[Value], name: str) -> tuple[list[Value], Type]:
    """All values as the one type they can have; raises FunctionError."""
    found = list(values)
    element = unify([value.type for value in found])
    if element is None:
        raise FunctionError(f"all {name} must be of one type")
    return [convert(value, element) for value in found], element


def _chunks(value: Value, size: Value) -> Value:
    items, count = sequence(value, 0), integer(size, 1)
    if count < 0:
        raise FunctionError("the size must not be negative", 1)
    step = count or max(1, len(items))
    parts = [like(value, items[at : at + step]) for at in range(0, len(items), step)]
    typed, element = common(parts, "chunks") if parts else ([], value.type)
    return make.list_of(typed, element)


def _coalesce(*values: Value) -> Value:
    typed, _ = common(values, "arguments")
    for value in typed:
        if not value.null:
            return value
    raise FunctionError("all arguments are null")


def _coalesce_list(*values: Value) -> Value:
    for index, value in enumerate(values):
        if not value.null and sequence(value, index):
            return value
    raise FunctionError("all arguments are null or empty")


def _compact(value: Value) -> Value:
    kept = [item for item in value.data if item.data]
    return make.list_of(kept, STRING)


def _concat(*values: Value) -> Value:
    if not values:
        raise FunctionError("at least one list is required")
    items = [item for index, value in enumerate(values) for item in sequence(value, index)]
    element = unify([value.type.element or ANY for value in values])
    if all(value.type.name == "list" for value in values) and element is not None:
        return make.list_of([convert(item, element) for item in items], element)
    return make.tuple_of(items)


def _contains(value: Value, wanted: Value) -> Value:
    return make.boolean(any(equal(item, wanted) for item in sequence(value, 0, sets=True)))


def _distinct(value: Value) -> Value:
    kept: list[Value] = []
    seen: set[object] = set()
    for item in value.data:
        key = make.SortKey(item)
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return make.list_of(kept, value.type.element or ANY)


def _element(value: Value, index: Value) -> Value:
    items, at = sequence(value, 0), integer(index, 1)
    if not items:
        raise FunctionError("an empty list has no elements", 0)
    return items[at % len(items)]


def _flatten(value: Value) -> Value:
    flat: list[Value] = []
    waiting = list(reversed(sequence(value, 0, sets=True)))
    while waiting:
        item = waiting.pop()
        if item.type.sequence and not item.null:
            waiting.extend(reversed(item.data))
        else:
            flat.append(item)
    return make.tuple_of(flat)


def _has_index(value: Value, key: Value) -> Value:
    if value.type.mapping:
        return make.boolean(key.type == STRING and key.data in value.data)
    items = sequence(value, 0)
    data = key.data
    whole = isinstance(data, Decimal) and data == int(data)
    return make.boolean(whole and 0 <= int(data) < len(items))


def _index(value: Value, key: Value) -> Value:
    if not _has_index(value, key).data:
        raise FunctionError("there is no such element", 1)
    found = value.data[key.data if value.type.mapping else int(key.data)]
    assert isinstance(found, Value)
    return found


def _index_of(value: Value, wanted: Value) -> Value:
    for index, item in enumerate(sequence(value, 0)):
        if equal(item, wanted):
            return make.number(index)
    raise FunctionError("the list does not have this value", 1)


def _keys(value: Value) -> Value:
    names = [make.string(name) for name in mapping(value, 0)]
    return make.list_of(names, STRING) if value.type.name == "map" else make.tuple_of(names)


def _length(value: Value) -> Value:
    if not (value.type.sequence or value.type.mapping):
        raise FunctionError("a list, tuple, set, map or object is required", 0)
    return make.number(len(value.data))


def _lookup(value: Value, key: Value, default: Value) -> Value:
    items = mapping(value, 0)
    if key.data not in items:
        if value.type.name == "map":
            return convert(default, value.type.element or ANY)
        return default
    return items[key.data]


def _merge(*values: Value) -> Value:
    merged: dict[str, Value] = {}
    kinds = set()
    for index, value in enumerate(values):
        if not value.null:
            merged |= mapping(value, index)
            kinds.add(value.type)
    if len(kinds) == 1:
        (kind,) = kinds
        if kind.name == "map":
            return make.map_of(merged, kind.element or ANY)
    return make.object_of(merged)


def _range(*numbers: Value) -> Value:
    if not 1 <= len(numbers) <= 3:
        raise FunctionError("from one to three numbers are required")
    bounds = [number.data for number in numbers]
    start, end = (Decimal(0), bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    step = bounds[2] if len(bounds) == 3 else Decimal(-1 if end < start else 1)
    if not step or (len(bounds) == 3 and end != start and (end > start) != (step > 0)):
        raise FunctionError("the step does not lead from the first number to the last")
    made: list[Value] = []
    while (start < end) if step > 0 else (start > end):
        if len(made) >= RANGE:
            raise FunctionError(f"more than {RANGE} numbers")
        made.append(make.number(start))
        start = DECIMALS.add(start, step)
    return make.list_of(made, NUMBER)


def _reverse(value: Value) -> Value:
    return like(value, reversed(sequence(value, 0)))


def _slice(value: Value, start: Value, end: Value) -> Value:
    items, first, last = sequence(value, 0), integer(start, 1), integer(end, 2)
    if not 0 <= first <= len(items):
        raise FunctionError("the start is outside of the list", 1)
    if not first <= last <= len(items):
        raise FunctionError("the end is before the start or outside of the list", 2)
    return like(value, items[first:last])


def _sort(value: Value) -> Value:
    if any(item.null for item in value.data):
        raise FunctionError("an element is null", 0)
    return make.list_of(sorted(value.data, key=make.SortKey), STRING)


def _values(value: Value) -> Value:
    items = [item for _, item in elements(value)] if mapping(value, 0) else []
    if value.type.name == "map" and value.type.element is not None:
        return make.list_of(items, value.type.element)
    return make.tuple_of(items)


def _zip_map(keys: Value, values: Value) -> Value:
    items = sequence(values, 1)
    if len(keys.data) != len(items):
        raise FunctionError(f"{len(keys.data)} keys do not go with {len(items)} values")
    if any(key.null for key in keys.data):
        raise FunctionError("a key is null", 0)
    pairs = {key.data: item for key, item in zip(keys.data, items, strict=True)}
    if values.type.name == "list" and values.type.element is not None:
        return make.map_of(pairs, values.type.element)
    return make.object_of(pairs)


# -- sets ------------------------------------------------------------------------------------


def _as_sets(values: tuple[Value, ...]) -> tuple[list[list[Value]], Type]:
    if not values:
        raise FunctionError("at least one set is required")
    parts = [sequence(value, index, sets=True) for index, value in enumerate(values)]
    typed, element = common([item for part in parts for item in part], "elements")
    remaining = iter(typed)
    return [[next(remaining) for _ in part] for part in parts], element


def _union(*values: Value) -> Value:
    sets, element = _as_sets(values)
    return make.set_of([item for one in sets for item in one], element)


def _keys_of(items: list[Value]) -> set[make.SortKey]:
    return {make.SortKey(item) for item in items}


def _intersection(*values: Value) -> Value:
    (first, *rest), element = _as_sets(values)
    others = [_keys_of(one) for one in rest]
    kept = [item for item in first if all(make.SortKey(item) in other for other in others)]
    return make.set_of(kept, element)


def _subtract(minuend: Value, subtrahend: Value) -> Value:
    (first, second), element = _as_sets((minuend, subtrahend))
    gone = _keys_of(second)
    return make.set_of([item for item in first if make.SortKey(item) not in gone], element)


def _symmetric_difference(*values: Value) -> Value:
    sets, element = _as_sets(values)
    kept: dict[make.SortKey, Value] = {}
    for one in sets:
        current = {make.SortKey(item): item for item in one}
        both = {**kept, **current}
        kept = {key: item for key, item in both.items() if (key in kept) != (key in current)}
    return make.set_of(kept.values(), element)


def _product(*values: Value) -> Value:
    if len(values) < 2:
        raise FunctionError("at least two sets or lists are required")
    parts = [sequence(value, index, sets=True) for index, value in enumerate(values)]
    count = 1
    for part in parts:
        count *= len(part)
    if count > PRODUCT:
        raise FunctionError(f"more than {PRODUCT} combinations")
    typed = [common(part, "elements of a set")[0] for part in parts]
    rows = [make.tuple_of(row) for row in product(*typed)]
    element = rows[0].type if rows else ANY
    if all(value.type.name == "set" for value in values):
        return make.set_of(rows, element)
    return make.list_of(rows, element)


_ANY_LIST: Final = Parameter("list", list_type(ANY))
_SETS: Final = Parameter("sets")
FUNCTIONS: Final = (
    Function("chunklist", (_LIST, Parameter("size", NUMBER)), _chunks),
    Function("coalesce", (), _coalesce, variadic=_ANY_NULL),
    Function("coalescelist", (), _coalesce_list, variadic=_ANY_NULL),
    Function("compact", (_STRINGS,), _compact),
    Function("concat", (), _concat, variadic=Parameter("seqs")),
    Function("contains", (_LIST, Parameter("value", nullable=True)), _contains),
    Function("distinct", (_ANY_LIST,), _distinct),
    Function("element", (_LIST, Parameter("index", NUMBER)), _element),
    Function("flatten", (_LIST,), _flatten),
    Function("hasindex", (Parameter("collection"), Parameter("key")), _has_index),
    Function("index", (Parameter("collection"), Parameter("key")), _index),
    Function("indexof", (_LIST, Parameter("value")), _index_of),
    Function("keys", (Parameter("inputMap"),), _keys),
    Function("length", (Parameter("collection"),), _length),
    Function(
        "lookup",
        (Parameter("inputMap"), Parameter("key", STRING), Parameter("default", nullable=True)),
        _lookup,
    ),
    Function("merge", (), _merge, variadic=Parameter("maps", nullable=True)),
    Function("range", (), _range, variadic=Parameter("params", NUMBER)),
    Function("reverselist", (_LIST,), _reverse),
    Function("sethaselement", (Parameter("set"), Parameter("elem")), _contains),
    Function("setintersection", (), _intersection, variadic=_SETS),
    Function("setproduct", (), _product, variadic=_SETS),
    Function("setsubtract", (Parameter("a"), Parameter("b")), _subtract),
    Function("setsymmetricdifference", (), _symmetric_difference, variadic=_SETS),
    Function("setunion", (), _union, variadic=_SETS),
    Function(
        "slice",
        (_LIST, Parameter("start_index", NUMBER), Parameter("end_index", NUMBER)),
        _slice,
    ),
    Function("sort", (_STRINGS,), _sort),
    Function("values", (Parameter("mapping"),), _values),
    Function("zipmap", (Parameter("keys", list_type(STRING)), Parameter("values")), _zip_map),
)
