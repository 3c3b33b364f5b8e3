"""Records behave as frozen dataclasses do; the property tests compare the two."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from operator import lt
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import (
    Record,
    RecordType,
    defaults_of,
    field,
    field_names,
    from_values,
    replace,
    values_of,
)


class Pair(Record, order=True):
    key: str
    value: str
    legacy: bool = False


class Named(Pair):
    LIMIT: ClassVar[int] = 3
    comments: tuple[str, ...] = field(default=(), kw_only=True)
    tags: dict[str, str] = field(default_factory=dict, hash=False)


class Even(Record):
    number: int
    secret: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")

    @property
    def half(self) -> int:
        return self.number // 2


class Nothing(Record):
    pass


PAIR = Pair("a", "b")


class TestRecord:
    def test_is_frozen(self) -> None:
        with pytest.raises(AttributeError, match="cannot assign to field 'key'"):
            PAIR.key = "x"  # type: ignore[misc]
        with pytest.raises(AttributeError, match="cannot delete field 'key'"):
            del PAIR.key
        with pytest.raises(AttributeError):
            PAIR.other = 1
        assert not hasattr(PAIR, "__dict__")

    def test_compares_by_type_and_fields(self) -> None:
        assert Pair("a", "b") == PAIR
        assert hash(Pair("a", "b")) == hash(PAIR)
        assert Pair("a", "c") != PAIR
        assert PAIR != ("a", "b", False)
        assert Named("a", "b") != PAIR
        assert Nothing() == Nothing()

    def test_fields_left_out_of_comparison_hash_and_text(self) -> None:
        assert Even(2, "x") == Even(2, "y")
        assert hash(Even(2, "x")) == hash(Even(2, "y"))
        assert repr(Even(2, "x")) == "Even(number=2)"
        assert Named("a", "b", tags={"k": "v"}) != Named("a", "b")
        assert hash(Named("a", "b", tags={"k": "v"})) == hash(Named("a", "b"))

    def test_orders_by_its_fields_among_its_kind(self) -> None:
        assert sorted([Pair("b", ""), Pair("a", "z"), PAIR]) == [
            PAIR,
            Pair("a", "z"),
            Pair("b", ""),
        ]
        assert PAIR <= PAIR
        assert PAIR >= PAIR
        with pytest.raises(TypeError):
            assert Named("a", "b") > PAIR
        with pytest.raises(TypeError):
            assert Even(2) < Even(4)  # type: ignore[operator]

    def test_constructor_checks_its_arguments(self) -> None:
        with pytest.raises(TypeError, match="misses the field value"):
            Pair("a")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected or repeated field nope"):
            Pair("a", nope=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected or repeated field key"):
            Pair("a", "b", key="c")  # type: ignore[misc]
        with pytest.raises(TypeError, match="takes 3 values, not 4"):
            Pair("a", "b", True, 4)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected or repeated field nope"):
            Pair("a", "b", nope=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="takes 4 values, not 5"):
            Named("a", "b", True, {}, ("comment",))  # type: ignore[call-arg]

    def test_checks_its_values_whichever_way_it_is_made(self) -> None:
        assert Even(4).half == 2
        with pytest.raises(ValueError, match="3 is odd"):
            Even(3)
        with pytest.raises(ValueError, match="5 is odd"):
            Even(number=5)
        with pytest.raises(ValueError, match="7 is odd"):
            replace(Even(4), number=7)

    def test_replace_keeps_the_rest(self) -> None:
        named = Named("a", "b", True, {"k": "v"}, comments=("c",))
        assert replace(named, value="z") == Named("a", "z", True, {"k": "v"}, comments=("c",))
        with pytest.raises(TypeError, match="unexpected or repeated field nope"):
            replace(named, nope=1)

    def test_defaults_are_told_without_a_record(self) -> None:
        assert defaults_of(Named) == {"legacy": False, "tags": {}, "comments": ()}
        assert defaults_of(Named)["tags"] is not defaults_of(Named)["tags"]

    def test_inherits_fields_in_order(self) -> None:
        named = Named("a", "b", comments=("c",))
        assert field_names(Named) == ("key", "value", "legacy", "tags", "comments")
        assert values_of(named) == ("a", "b", False, {}, ("c",))
        assert from_values(Named, values_of(named)) == named
        assert Named.LIMIT == 3
        match named:
            case Pair(key, _, legacy):
                assert (key, legacy) == ("a", False)

    def test_a_factory_makes_a_value_for_each(self) -> None:
        first, second = Named("a", "b"), Named("a", "b")
        first.tags["k"] = "v"
        assert second.tags == {}

    def test_standard_library_takes_it_for_a_dataclass(self) -> None:
        changed = dataclasses.replace(PAIR, value="z")
        assert changed == Pair("a", "z")
        assert dataclasses.asdict(changed) == {"key": "a", "value": "z", "legacy": False}
        assert [item.name for item in dataclasses.fields(Pair)] == ["key", "value", "legacy"]
        assert pickle.loads(pickle.dumps(changed)) == copy.deepcopy(changed) == changed
        assert repr(changed) == "Pair(key='a', value='z', legacy=False)"


NAMES = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon"])
VALUES = st.one_of(st.integers(-3, 3), st.text(max_size=2), st.none())


@st.composite
def declarations(draw: st.DrawFn) -> list[tuple[str, dict[str, Any] | None]]:
    """Names with the settings of ``field``, or None for a bare name."""
    found: list[tuple[str, dict[str, Any] | None]] = []
    defaults = False
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        flags = dict.fromkeys(("repr", "compare", "kw_only"), st.booleans())
        settings = dict[str, Any](draw(st.fixed_dictionaries({}, optional=flags)))
        if settings.get("kw_only"):
            has_default = draw(st.booleans())
        else:
            has_default = defaults = defaults or draw(st.booleans())
        if has_default:
            settings["default"] = draw(VALUES)
        found.append((name, settings or None))
    # A record keeps the fields given by name behind the others, wherever they are declared.
    return sorted(found, key=lambda item: (item[1] or {}).get("kw_only", False))


def twins(declared: list[tuple[str, dict[str, Any] | None]], *, order: bool) -> tuple[Any, Any]:
    """The same class as a record and as a dataclass."""
    annotations = dict.fromkeys((name for name, _ in declared), "object")

    def body(make: Any) -> dict[str, Any]:
        members = {name: make(**settings) for name, settings in declared if settings is not None}
        return {**members, "__annotations__": annotations, "__qualname__": "Twin"}

    record = RecordType("Twin", (Record,), body(field), order=order)
    plain = type("Twin", (), body(dataclasses.field))
    return record, dataclasses.dataclass(frozen=True, slots=True, order=order)(plain)


def outcome(make: Any, *args: Any, **named: Any) -> Any:
    try:
        return make(*args, **named)
    except (TypeError, AttributeError) as error:
        return type(error)


@given(
    declarations(),
    st.booleans(),
    st.lists(st.tuples(st.lists(VALUES, max_size=6), st.dictionaries(NAMES, VALUES)), max_size=3),
)
def test_agrees_with_dataclasses(
    declared: list[tuple[str, dict[str, Any] | None]],
    order: bool,
    calls: list[tuple[list[Any], dict[str, Any]]],
) -> None:
    record, plain = twins(declared, order=order)
    assert record.__match_args__ == plain.__match_args__
    ours = [outcome(record, *args, **named) for args, named in calls]
    theirs = [outcome(plain, *args, **named) for args, named in calls]
    names = [name for name, _ in declared]
    for mine, other in zip(ours, theirs, strict=True):
        assert repr(mine) == repr(other)
        if mine is not TypeError:
            assert [getattr(mine, n) for n in names] == [getattr(other, n) for n in names]
    made = [pair for pair in zip(ours, theirs, strict=True) if pair[0] is not TypeError]
    for mine, other in made:
        for my_second, other_second in made:
            assert (mine == my_second) == (other == other_second)
            assert outcome(lt, mine, my_second) == outcome(lt, other, other_second)
            if other == other_second:
                assert hash(mine) == hash(my_second)


@given(st.lists(VALUES, min_size=3, max_size=3), st.dictionaries(NAMES, VALUES, max_size=2))
def test_replace_agrees_with_dataclasses(values: list[Any], changes: dict[str, Any]) -> None:
    record, plain = twins([("alpha", None), ("beta", None), ("gamma", None)], order=False)
    ours = outcome(lambda: replace(record(*values), **changes))
    assert repr(ours) == repr(outcome(lambda: dataclasses.replace(plain(*values), **changes)))
