"""Which files make a definition, and what kind each is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.bake import definition
from engine.bake.errors import BakeError, BakeLimitError, BakeSyntaxError
from engine.bake.hcl.json import BlockShape, parse_json
from engine.bake.hcl.parser import parse_file
from engine.bake.model import Config, Group, Target
from engine.bake.source import SourceFile
from records import Record

if TYPE_CHECKING:
    from engine.bake.hcl.nodes import Body
    from engine.bake.variables import Surroundings

DEFAULT_NAMES: Final = (
    "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml",
    "docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl",
)  # fmt: skip
"""What is read when nothing is named, as far as it is there."""
SIZE: Final = 2 << 20
"""Most bytes of one file."""

_BLOCKS: Final[Mapping[str, BlockShape]] = {
    "variable": BlockShape(1, {"validation": BlockShape(0)}),
    "function": BlockShape(1),
    "group": BlockShape(1),
    "target": BlockShape(1),
}


class DefinitionFile(Record):
    """One file that was read: the name it was asked for by, and its bytes."""

    name: str
    data: bytes


def read_files(
    names: Sequence[str], directory: Path, stdin: Callable[[], bytes] | None = None
) -> list[DefinitionFile]:
    """Read the named files, ``-`` from standard input; without names those that docker looks for.

    Raises:
        BakeError: a file cannot be read, is too long, or there is none.
    """
    found = []
    for name in names or [name for name in DEFAULT_NAMES if (directory / name).is_file()]:
        if name == "-":
            data = (stdin or sys.stdin.buffer.read)()
        else:
            try:
                with (directory / name).open("rb") as file:
                    data = file.read(SIZE + 1)
            except OSError as error:
                raise BakeError(f"cannot be read: {error.strerror}", where=name) from error
        if len(data) > SIZE:
            raise BakeLimitError(f"longer than {SIZE} bytes", where=name)
        found.append(DefinitionFile(name, data))
    if not found:
        raise BakeError(
            "there is no bake file here",
            where=str(directory),
            fix=f"write docker-bake.hcl, or name a file with -f; these are looked for: "
            f"{', '.join(DEFAULT_NAMES)}",
        )
    return found


def load_files(
    files: Sequence[DefinitionFile], surroundings: Surroundings, directory: Path
) -> Config:
    """All files as one definition; ``directory`` is where compose files' own files are.

    Raises:
        BakeError: with the place in the file that is to blame.
    """
    bodies: list[Body] = []
    composes: list[SourceFile] = []
    for file in files:
        source = SourceFile(file.name, _text(file))
        body = _body(source)
        if body is None:
            composes.append(source)
        else:
            bodies.append(body)
    configs = []
    if composes:
        from engine.bake.compose.load import load_compose

        configs.append(load_compose(composes, surroundings, directory))
    if bodies:
        configs.append(definition.load(bodies, surroundings))
    return _joined(configs)


def _text(file: DefinitionFile) -> str:
    try:
        return file.data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BakeSyntaxError("this file is not UTF-8", where=file.name) from error


def _body(source: SourceFile) -> Body | None:
    """The tree of an HCL or JSON file, None for a compose file.

    A name that does not say which it is (``-``, ``Bakefile``) is tried as each.
    """
    name = source.name.lower()
    if name.endswith((".yml", ".yaml")):
        return None
    if name.endswith(".json"):
        return parse_json(source, _BLOCKS)
    if name.endswith(".hcl"):
        return parse_file(source)
    if source.text.lstrip().startswith("{"):
        return parse_json(source, _BLOCKS)
    try:
        return parse_file(source)
    except BakeSyntaxError:
        from engine.bake.compose.load import is_compose

        if is_compose(source):
            return None
        raise


def _joined(configs: Sequence[Config]) -> Config:
    """Compose files and bake files of the same names build upon one another."""
    groups: dict[str, Group] = {}
    targets: dict[str, Target] = {}
    for config in configs:
        for group in config.groups:
            groups[group.name] = group
        for target in config.targets:
            before_target = targets.get(target.name)
            targets[target.name] = before_target.merged(target) if before_target else target
    return Config(
        tuple(groups.values()),
        tuple(targets.values()),
        tuple(variable for config in configs for variable in config.variables),
        tuple(warning for config in configs for warning in config.warnings),
        tuple(path for config in configs for path in config.reads),
    )
