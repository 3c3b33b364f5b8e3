"""What a function is: typed parameters, and a Python function on values."""

from __future__ import annotations

from collections.abc import Callable

from engine.bake.values.convert import ConversionError, convert
from engine.bake.values.types import ANY, Type
from engine.bake.values.value import Value
from records import Record


class FunctionError(Exception):
    """A function cannot do it; ``argument`` counts from 0 and is None where none is to blame."""

    def __init__(self, what: str, argument: int | None = None) -> None:
        super().__init__(what)
        self.argument = argument


class Parameter(Record):
    """One parameter; arguments are converted to its type."""

    name: str
    type: Type = ANY
    nullable: bool = False


class Function(Record):
    """``implementation`` gets the converted arguments in order.

    It raises ``FunctionError``, or ``ConversionError`` and ``ArithmeticError`` for what is wrong
    with no argument in particular.
    """

    name: str
    parameters: tuple[Parameter, ...]
    implementation: Callable[..., Value]
    variadic: Parameter | None = None

    def call(self, arguments: list[Value]) -> Value:
        """The result.

        Raises:
            FunctionError: number or type of the arguments, or what the function says.
        """
        self._count(len(arguments))
        converted = [self._argument(index, value) for index, value in enumerate(arguments)]
        try:
            return self.implementation(*converted)
        except (ConversionError, ArithmeticError) as error:
            raise FunctionError(_text(error)) from error

    def _count(self, given: int) -> None:
        least = len(self.parameters)
        if given < least:
            raise FunctionError(f"{self.name} misses the argument {self.parameters[given].name}")
        if given > least and self.variadic is None:
            raise FunctionError(f"{self.name} takes {least} arguments, not {given}")

    def _argument(self, index: int, value: Value) -> Value:
        known = index < len(self.parameters)
        parameter = self.parameters[index] if known else self.variadic
        assert parameter is not None
        if value.null and not parameter.nullable:
            raise FunctionError(f"{parameter.name} must not be null", index)
        try:
            return convert(value, parameter.type)
        except ConversionError as error:
            raise FunctionError(f"{parameter.name}: {error}", index) from error


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, ConversionError) else "the number is out of range"
