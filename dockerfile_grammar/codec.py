"""The parsed tree as plain data and back, for the cache on disk.

The form is marshal's: no import, fast, and only None, booleans, numbers, strings and tuples come
out, checked against the classes' fields as the tree is rebuilt. A checksum in front keeps damaged
bytes away from marshal, which promises nothing about them.
"""

from __future__ import annotations

import hashlib
import marshal
from typing import Any

from dockerfile_grammar import nodes
from records import Record, from_values, values_of

FORMAT = 1
"""Raise this whenever nodes.py or the meaning of what the parser writes there changes."""

_MAGIC = b"lading-dockerfile\0"
_VERSION = 4
_CLASSES: tuple[type[Record], ...] = (
    nodes.Dockerfile,
    nodes.Stage,
    nodes.Directive,
    nodes.ParseWarning,
    nodes.SourceRange,
    nodes.Heredoc,
    nodes.ShellForm,
    nodes.ExecForm,
    nodes.KeyValue,
    nodes.Mount,
    nodes.From,
    nodes.Arg,
    nodes.Env,
    nodes.Label,
    nodes.Run,
    nodes.Copy,
    nodes.Add,
    nodes.Cmd,
    nodes.Entrypoint,
    nodes.Shell,
    nodes.Workdir,
    nodes.User,
    nodes.Expose,
    nodes.Volume,
    nodes.Stopsignal,
    nodes.Maintainer,
    nodes.Healthcheck,
    nodes.Onbuild,
)
_TAGS: dict[type, int] = {cls: tag for tag, cls in enumerate(_CLASSES)}


class CodecError(ValueError):
    """The bytes are not an encoded Dockerfile of this format."""


def encode(tree: nodes.Dockerfile) -> bytes:
    """Magic, checksum, and the tree in marshal's form."""
    payload = marshal.dumps(_pack(tree), _VERSION)
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def decode(data: bytes) -> nodes.Dockerfile:
    """Rebuild a tree.

    Raises:
        CodecError: damaged, or of another format.
    """
    start = len(_MAGIC) + 32
    payload = data[start:]
    if data[:start] != _MAGIC + hashlib.sha256(payload).digest():
        raise CodecError("damaged")
    try:
        tree = _unpack(marshal.loads(payload))  # noqa: S302 - guarded by the checksum above
    except (ValueError, EOFError, TypeError, IndexError) as error:
        raise CodecError("not a tree of this format") from error
    if not isinstance(tree, nodes.Dockerfile):
        raise CodecError("not a Dockerfile")
    return tree


def _pack(value: Any) -> Any:
    """An object becomes (tag, fields...), a tuple (-1, items...)."""
    if isinstance(value, tuple):
        return (-1, *map(_pack, value))
    tag = _TAGS.get(type(value))
    if tag is None:
        return value
    return (tag, *map(_pack, values_of(value)))


def _unpack(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    tag = value[0]
    items = tuple(map(_unpack, value[1:]))
    if tag == -1:
        return items
    return from_values(_CLASSES[tag], items)
