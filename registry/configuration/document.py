"""TOML and YAML as one tree of nodes that know the line they were written on.

A node's value is a scalar, a list of nodes, or a mapping of names to nodes. What a file says twice,
or in a way its format does not allow, is refused with its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.configuration.lines import Step, toml_lines
from registry.errors import RegistryConfigError

if TYPE_CHECKING:
    import yaml

_DEEPEST: Final = 20


@dataclass(frozen=True, slots=True)
class Node:
    """One value and where it comes from, such as ``registry.toml:12`` or a variable's name.

    ``text`` marks a value that can only be text (a variable), whatever type is wanted of it.
    ``folder`` is what a relative path is relative to; None is the working directory.
    """

    value: Any
    origin: str
    text: bool = False
    folder: Path | None = None


def read_file(path: Path) -> Node:
    """Read a configuration by its suffix: ``.toml``, ``.yaml`` or ``.yml``.

    Raises:
        RegistryConfigError: another suffix, an unreadable file, or a malformed document.
    """
    readers = {".toml": parse_toml, ".yaml": parse_yaml, ".yml": parse_yaml}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise RegistryConfigError(
            "the suffix does not say what this is", where=str(path), fix="use .toml, .yaml or .yml"
        )
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise RegistryConfigError(f"cannot read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise RegistryConfigError("this is not UTF-8", where=str(path)) from error
    return reader(text, path)


def parse_toml(text: str, path: Path) -> Node:
    """The tree of a TOML document.

    Raises:
        RegistryConfigError: it is malformed.
    """
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryConfigError(f"not TOML: {error}", where=str(path)) from error
    return _toml_node(document, path, toml_lines(text), ())


def _toml_node(
    value: Any, path: Path, lines: Mapping[tuple[Step, ...], int], steps: tuple[Step, ...]
) -> Node:
    known = next((lines[steps[:n]] for n in range(len(steps), 0, -1) if steps[:n] in lines), 1)
    if isinstance(value, dict):
        value = {
            name: _toml_node(inner, path, lines, (*steps, name)) for name, inner in value.items()
        }
    elif isinstance(value, list):
        value = [
            _toml_node(inner, path, lines, (*steps, number)) for number, inner in enumerate(value)
        ]
    return Node(value, f"{path}:{known}", folder=path.parent)


def parse_yaml(text: str, path: Path) -> Node:
    """The tree of a YAML document; an empty one is a mapping of nothing.

    Raises:
        RegistryConfigError: it is malformed, or holds what is no plain data.
    """
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return Node({}, f"{path}:1", folder=path.parent)
        return _yaml_node(root, loader, path, depth=0)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise RegistryConfigError(f"not YAML: {error.problem}", where=f"{path}{line}") from error
    except yaml.YAMLError as error:
        raise RegistryConfigError(f"not YAML: {error}", where=str(path)) from error
    finally:
        loader.dispose()


def _yaml_node(node: yaml.Node, loader: yaml.SafeLoader, path: Path, *, depth: int) -> Node:
    import yaml

    origin = f"{path}:{node.start_mark.line + 1}"
    if depth > _DEEPEST:
        raise RegistryConfigError("this is nested too deeply", where=origin)
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = {}
        for key_node, inner in node.value:
            key = loader.construct_object(key_node) if _is_scalar(key_node) else None
            place = f"{path}:{key_node.start_mark.line + 1}"
            if not isinstance(key, str):
                raise RegistryConfigError("a name here must be text", where=place)
            if key in value:
                raise RegistryConfigError(f"{key} is set twice", where=place)
            child = _yaml_node(inner, loader, path, depth=depth + 1)
            value[key] = Node(child.value, place, folder=child.folder)
    elif isinstance(node, yaml.SequenceNode):
        value = [_yaml_node(inner, loader, path, depth=depth + 1) for inner in node.value]
    else:
        value = loader.construct_object(node)
    return Node(value, origin, folder=path.parent)


def _is_scalar(node: yaml.Node) -> bool:
    import yaml

    return isinstance(node, yaml.ScalarNode)
