"""Frozen value types that cost almost nothing to define.

A frozen dataclass with slots compiles six methods and builds its class twice: about a millisecond
each, so the thirty node types would take longer to import than a cached build may last. These share
their methods instead. Type checkers read them as dataclasses (PEP 681), and ``dataclasses.replace``
and its kin work.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Iterable

_Record = TypeVar("_Record", bound="Record")
_set = object.__setattr__


class KeywordOnly:
    """The default of a field that is given by name only."""

    __slots__ = ("default",)

    def __init__(self, default: object) -> None:
        self.default = default


def by_name(*, default: Any, kw_only: Literal[True]) -> Any:
    """Declare a keyword-only field; type checkers want to see ``kw_only=True`` spelled out."""
    del kw_only
    return KeywordOnly(default)


class DataclassFields:
    """What the functions of ``dataclasses`` look for, made when one of them asks."""

    def __get__(self, instance: Record | None, owner: type[Record]) -> dict[str, Any]:
        return _dataclass_fields(owner)


@cache
def _dataclass_fields(cls: type[Record]) -> dict[str, Any]:
    import dataclasses

    made = dataclasses.make_dataclass(cls.__name__, field_names(cls))
    return {field.name: field for field in dataclasses.fields(made)}


class RecordType(type):
    """Turns a class's annotations into slots, keeping their order, defaults and inheritance."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> RecordType:
        """Create the class; fields without default must come before those with one."""
        positional: tuple[str, ...] = ()
        named: tuple[str, ...] = ()
        defaults: dict[str, object] = {}
        for base in bases:
            positional += getattr(base, "__match_args__", ())
            named += getattr(base, "__keyword_fields__", ())
            defaults |= getattr(base, "__field_defaults__", {})
        own = tuple(namespace.get("__annotations__", ()))
        for field in own:
            default = namespace.pop(field, namespace)
            if isinstance(default, KeywordOnly):
                named += (field,)
                defaults[field] = default.default
                continue
            positional += (field,)
            if default is not namespace:
                defaults[field] = default
        namespace |= {
            "__slots__": own,
            "__match_args__": positional,
            "__keyword_fields__": named,
            "__field_defaults__": defaults,
        }
        return super().__new__(mcs, name, bases, namespace)


@dataclass_transform(frozen_default=True, field_specifiers=(by_name,))
class Record(metaclass=RecordType):
    """Base of the value types: compared, hashed and printed by their fields, never changed."""

    if TYPE_CHECKING:
        __match_args__: tuple[str, ...]
        __keyword_fields__: tuple[str, ...]
        __field_defaults__: dict[str, Any]
    else:
        __dataclass_fields__ = DataclassFields()

    def __init__(self, *args: object, **named: object) -> None:
        cls = type(self)
        if len(args) > len(cls.__match_args__):
            raise TypeError(
                f"{cls.__name__} takes {len(cls.__match_args__)} values, not {len(args)}"
            )
        given = dict(zip(cls.__match_args__, args, strict=False))
        names = field_names(cls)
        if unknown := [name for name in named if name in given or name not in names]:
            raise TypeError(f"{cls.__name__} got an unexpected or repeated field {unknown[0]}")
        values = cls.__field_defaults__ | given | named
        if missing := [name for name in names if name not in values]:
            raise TypeError(f"{cls.__name__} misses the field {missing[0]}")
        for name in names:
            _set(self, name, values[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return values_of(self) == values_of(other)

    def __hash__(self) -> int:
        return hash(values_of(self))

    def __repr__(self) -> str:
        pairs = zip(field_names(type(self)), values_of(self), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return from_values, (type(self), values_of(self))


def field_names(cls: type[Record]) -> tuple[str, ...]:
    """The names of a record's fields, those given by name only last."""
    return cls.__match_args__ + cls.__keyword_fields__


def values_of(record: Record) -> tuple[Any, ...]:
    """The values of a record, in the order of ``field_names``."""
    return tuple(getattr(record, name) for name in field_names(type(record)))


def from_values(cls: type[_Record], values: Iterable[object]) -> _Record:
    """Rebuild a record from all its values, in the order of ``field_names``."""
    record = cls.__new__(cls)
    for name, value in zip(field_names(cls), values, strict=True):
        _set(record, name, value)
    return record
