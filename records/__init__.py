"""Frozen value types that cost almost nothing to define.

A frozen dataclass with slots compiles its methods and builds its class twice: close to a
millisecond each, so the value types alone would take longer to import than a cached build may last.
Records share their methods instead. They behave as ``@dataclass(frozen=True, slots=True)`` does,
type checkers read them as dataclasses (PEP 681), and the functions of ``dataclasses`` take them.

    class Digest(Record, order=True):
        algorithm: str
        hex: str

Their price is paid by instance: one takes about twice as long to make. So what is made by the ten
thousand, an entry of a layer for instance, is better a dataclass, or a named tuple where a cold
start needs it. The standard library alone is imported, and little of that.
"""

from __future__ import annotations

from functools import cache
from operator import attrgetter, ge, gt, le, lt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar, dataclass_transform

    _Record = TypeVar("_Record", bound="Record")
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda cls: cls


__all__ = [
    "Record",
    "RecordType",
    "defaults_of",
    "field",
    "field_names",
    "from_values",
    "replace",
    "values_of",
]

_NOTHING: Any = object()
_NEVER_ALONE = ("__doc__", "__doc__")
_set = object.__setattr__


class Field:
    """What ``field`` was told."""

    __slots__ = ("compare", "default", "default_factory", "hash", "kw_only", "repr")

    def __init__(
        self,
        default: Any,
        default_factory: Any,
        *,
        repr: bool,
        hash: bool,
        compare: bool,
        kw_only: bool,
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.repr = repr
        self.hash = hash
        self.compare = compare
        self.kw_only = kw_only


def field(
    *,
    default: Any = _NOTHING,
    default_factory: Callable[[], Any] = _NOTHING,
    repr: bool = True,
    hash: bool | None = None,
    compare: bool = True,
    kw_only: bool = False,
) -> Any:
    """Declare a field that is more than a name and a default; as ``dataclasses.field``."""
    hashed = compare if hash is None else hash
    return Field(default, default_factory, repr=repr, hash=hashed, compare=compare, kw_only=kw_only)


_PLAIN: Field = field()


class RecordType(type):
    """Turns a class's annotations into slots, keeping their order, defaults and inheritance."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, order: bool = False
    ) -> RecordType:
        """Create the class; fields without default must come before those with one."""
        positional: tuple[str, ...] = ()
        named: tuple[str, ...] = ()
        defaults: dict[str, Any] = {}
        settings: dict[str, Field] = {}
        for base in bases:
            positional += getattr(base, "__match_args__", ())
            named += getattr(base, "__keyword_fields__", ())
            defaults |= getattr(base, "__field_defaults__", {})
            settings |= getattr(base, "__field_settings__", {})
        kinds = namespace.get("__annotations__", {})
        own = tuple(key for key, kind in kinds.items() if "ClassVar" not in str(kind))
        for key in own:
            default = namespace.pop(key, _NOTHING)
            if isinstance(default, Field):
                settings[key], default = default, default.default
            if default is not _NOTHING:
                defaults[key] = default
            if settings.get(key, _PLAIN).kw_only:
                named += (key,)
            else:
                positional += (key,)
        fields = positional + named
        namespace |= {
            "__slots__": own,
            "__match_args__": positional,
            "__keyword_fields__": named,
            "__record_fields__": fields,
            "__field_defaults__": defaults,
            "__field_settings__": settings,
            # Two more than the fields, because a getter of one attribute makes no tuple.
            "__compared__": attrgetter(
                *_NEVER_ALONE, *(key for key in fields if settings.get(key, _PLAIN).compare)
            ),
            "__hashed__": attrgetter(
                *_NEVER_ALONE, *(key for key in fields if settings.get(key, _PLAIN).hash)
            ),
        }
        if order:
            namespace |= _ORDER
        return super().__new__(mcs, name, bases, namespace)


class DataclassFields:
    """What the functions of ``dataclasses`` look for, made when one of them asks."""

    def __get__(self, instance: Record | None, owner: type[Record]) -> dict[str, Any]:
        return _dataclass_fields(owner)


@cache
def _dataclass_fields(cls: type[Record]) -> dict[str, Any]:
    import dataclasses

    made = dataclasses.make_dataclass(cls.__name__, field_names(cls))
    return {item.name: item for item in dataclasses.fields(made)}


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record(metaclass=RecordType):
    """Base of the value types: compared, hashed and printed by their fields, never changed.

    A ``__post_init__`` is called when all fields are set, to refuse values that make no sense.
    """

    if TYPE_CHECKING:
        __match_args__: tuple[str, ...]
        __keyword_fields__: tuple[str, ...]
        __record_fields__: tuple[str, ...]
        __field_defaults__: dict[str, Any]
        __field_settings__: dict[str, Field]
        __compared__: attrgetter[tuple[Any, ...]]
        __hashed__: attrgetter[tuple[Any, ...]]
    else:
        __dataclass_fields__ = DataclassFields()

    def __init__(self, *args: object, **named: object) -> None:
        cls = type(self)
        fields = cls.__record_fields__
        by_name = named or cls.__keyword_fields__ or len(args) != len(fields)
        values = _complete(cls, args, named) if by_name else args
        for name, value in zip(fields, values, strict=True):
            _set(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields; this one accepts all."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__compared__(self) == self.__compared__(other)

    def __hash__(self) -> int:
        return hash(self.__hashed__(self))

    def __repr__(self) -> str:
        settings = self.__field_settings__
        shown = (name for name in self.__record_fields__ if settings.get(name, _PLAIN).repr)
        pairs = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({pairs})"

    def __reduce__(self) -> tuple[Any, ...]:
        return from_values, (type(self), values_of(self))


def field_names(cls: type[Record]) -> tuple[str, ...]:
    """The names of a record's fields, those given by name only last."""
    return cls.__record_fields__


def defaults_of(cls: type[Record]) -> dict[str, Any]:
    """The defaults of a record's fields by name; what is required is not among them."""
    made = {
        name: setting.default_factory()
        for name, setting in cls.__field_settings__.items()
        if setting.default_factory is not _NOTHING
    }
    return cls.__field_defaults__ | made


def values_of(record: Record) -> tuple[Any, ...]:
    """The values of a record, in the order of ``field_names``."""
    return tuple([getattr(record, name) for name in record.__record_fields__])


def from_values(cls: type[_Record], values: Iterable[object]) -> _Record:
    """Rebuild a record from all its values, in the order of ``field_names``, without its check."""
    record = cls.__new__(cls)
    for name, value in zip(cls.__record_fields__, values, strict=True):
        _set(record, name, value)
    return record


def replace(record: _Record, /, **changes: Any) -> _Record:
    """The record with these fields changed, checked like a new one."""
    unchanged = zip(record.__record_fields__, values_of(record), strict=True)
    return type(record)(**{**dict(unchanged), **changes})


def _complete(cls: type[Record], args: tuple[object, ...], named: dict[str, Any]) -> list[Any]:
    """The values of all fields, in order; raises TypeError as calls of functions do."""
    given = cls.__match_args__[: len(args)]
    values = cls.__field_defaults__ | dict(zip(given, args, strict=False)) | named
    for name, setting in cls.__field_settings__.items():
        if name not in values and setting.default_factory is not _NOTHING:
            values[name] = setting.default_factory()
    fields = cls.__record_fields__
    if len(values) != len(fields) or len(given) != len(args) or not named.keys().isdisjoint(given):
        raise TypeError(_complaint(cls, args, named, values))
    try:
        return [values[name] for name in fields]
    except KeyError as error:
        raise TypeError(_complaint(cls, args, named, values)) from error


def _complaint(
    cls: type[Record], args: tuple[object, ...], named: Iterable[str], values: Iterable[str]
) -> str:
    positional, fields = cls.__match_args__, cls.__record_fields__
    if len(args) > len(positional):
        return f"{cls.__name__} takes {len(positional)} values, not {len(args)}"
    for name in named:
        if name not in fields or name in positional[: len(args)]:
            return f"{cls.__name__} got an unexpected or repeated field {name}"
    missing = next(name for name in fields if name not in values)
    return f"{cls.__name__} misses the field {missing}"


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Record, Record], Any]:
    def method(self: Record, other: Record) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return compare(self.__compared__(self), other.__compared__(other))

    return method


_ORDER = {f"__{compare.__name__}__": _ordering(compare) for compare in (lt, le, gt, ge)}
