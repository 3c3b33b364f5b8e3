"""What the tests of bake share: definitions from text, surroundings of one's own."""

from __future__ import annotations

from pathlib import Path

from engine.bake.evaluate import Budget, Evaluator
from engine.bake.files import DefinitionFile, load_files
from engine.bake.functions.library import library
from engine.bake.hcl.parser import parse_expression
from engine.bake.model import Config
from engine.bake.overrides import parse_overrides
from engine.bake.resolve import Selection, cleaned, select
from engine.bake.source import Place, SourceFile
from engine.bake.values.value import Value
from engine.bake.variables import Surroundings


def surroundings(
    environment: dict[str, str] | None = None, variables: dict[str, str] | None = None
) -> Surroundings:
    """A clock that stands at 2023-11-14T22:13:20Z, and no one's home."""
    return Surroundings(
        environment=environment or {},
        variables=variables or {},
        builtin={"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": "linux/amd64"},
        clock=lambda: 1_700_000_000.5,
        home="/home/someone",
    )


def config(text: str, name: str = "docker-bake.hcl", **given: dict[str, str]) -> Config:
    """What one file defines."""
    return load_files([DefinitionFile(name, text.encode())], surroundings(**given), Path("/none"))


def selection(
    text: str, *names: str, overrides: tuple[str, ...] = (), name: str = "docker-bake.hcl"
) -> Selection:
    """What is built of one file."""
    found = config(text, name)
    sets = parse_overrides(overrides, [target.name for target in found.targets], {})
    return cleaned(select(found, names, sets))


class NoNames:
    """A scope of the library alone."""

    def __init__(self) -> None:
        around = surroundings()
        self._library = library(around.clock, around.home)

    def variable(self, name, place):
        return None

    def path(self, names, place):
        return None

    def function(self, name):
        return self._library.get(name)

    def known(self):
        return []

    def functions(self):
        return list(self._library)


def evaluate(text: str, **variables: Value) -> Value:
    """The value of one expression."""
    place = Place(SourceFile("test", text), 1, 1)
    return Evaluator(NoNames(), Budget(), variables).value(parse_expression(text, place))
