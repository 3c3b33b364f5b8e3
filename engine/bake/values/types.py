"""Types of values, as ``type = list(string)`` names them."""

from __future__ import annotations

from typing import Final

from records import Record


class Type(Record):
    """``name`` says which kind it is, and which of the other fields count."""

    name: str
    element: Type | None = None
    """Of a list, set or map."""
    elements: tuple[Type, ...] = ()
    """Of a tuple."""
    attributes: tuple[tuple[str, Type], ...] = ()
    """Of an object, sorted by name."""
    optional: frozenset[str] = frozenset()
    """Attributes that a value converted to this may lack; they are null then."""

    @property
    def primitive(self) -> bool:
        """Whether it is string, number or bool."""
        return self.name in ("string", "number", "bool")

    @property
    def sequence(self) -> bool:
        """Whether its values have elements in an order."""
        return self.name in ("list", "tuple", "set")

    @property
    def mapping(self) -> bool:
        """Whether its values have elements by name."""
        return self.name in ("map", "object")

    def attribute(self, name: str) -> Type | None:
        """The type of an object's attribute."""
        return dict(self.attributes).get(name)

    def friendly(self) -> str:
        """How messages name it."""
        if self.name == "any":
            return "dynamic"
        if self.element is not None:
            of = "any single type" if self.element == ANY else self.element.friendly()
            return f"{self.name} of {of}"
        return self.name


STRING: Final = Type("string")
NUMBER: Final = Type("number")
BOOL: Final = Type("bool")
ANY: Final = Type("any")
"""No type in particular: what a literal null has, and what a parameter of any type says."""


def list_type(element: Type) -> Type:
    """``list(element)``."""
    return Type("list", element)


def set_type(element: Type) -> Type:
    """``set(element)``."""
    return Type("set", element)


def map_type(element: Type) -> Type:
    """``map(element)``."""
    return Type("map", element)


def tuple_type(elements: tuple[Type, ...]) -> Type:
    """``tuple([...])``."""
    return Type("tuple", elements=elements)


def object_type(attributes: dict[str, Type], optional: frozenset[str] = frozenset()) -> Type:
    """``object({...})``."""
    return Type("object", attributes=tuple(sorted(attributes.items())), optional=optional)
