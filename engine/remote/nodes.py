"""The builders a user has set up: names for groups of machines, each with the platforms it builds.

Kept in ``<root>/builder/builders.json``; ``default`` is this process and needs no file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from engine.remote.errors import NodeError
from images.durable import write_durably
from images.platform import Platform
from records import Record, field_names, replace, values_of

DEFAULT: Final = "default"
LOCAL: Final = "local"
"""The endpoint of a node that is this process."""
VARIABLES: Final = ("LADING_BUILDER", "BUILDX_BUILDER")

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class Node(Record):
    """One machine. ``endpoint`` is ``ssh://[user@]host[:port]``, ``tcp://host:port`` or ``local``.

    ``platforms`` are those it shall build, of none those that it says it can. The files are
    absolute: the authority that signed its certificate, our certificate and key, for ``tcp``.
    ``command`` is what runs lading there, for ``ssh``.
    """

    endpoint: str
    platforms: tuple[str, ...] = ()
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    command: str = "lading"


class Builder(Record):
    """A name and its nodes; the first one that can builds."""

    name: str
    nodes: tuple[Node, ...]


def make_node(
    endpoint: str,
    *,
    platforms: tuple[str, ...] = (),
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    command: str = "lading",
) -> Node:
    """A checked node.

    Raises:
        NodeError: the endpoint is none, or lacks what it needs.
        InvalidPlatformError: not a platform.
    """
    if endpoint != LOCAL:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("ssh", "tcp") or not parts.hostname or parts.path.strip("/"):
            raise NodeError(
                f"{endpoint!r} is no place to build at",
                fix="write ssh://[user@]host[:port], tcp://host:port, or local",
            )
        # What begins with a dash would be an option of ssh.
        if parts.hostname.startswith("-") or (parts.username or "").startswith("-"):
            raise NodeError(f"{endpoint!r} names no host", fix="write ssh://[user@]host[:port]")
        files = (tls_ca, tls_cert, tls_key)
        if parts.scheme == "tcp" and (parts.port is None or not all(files)):
            raise NodeError(
                f"{endpoint} needs a port, and certificates of both sides",
                fix="give --tls-ca, --tls-cert and --tls-key",
            )
        for path in files:
            if path and not os.path.isfile(path):
                raise NodeError(f"there is no file {path}", where=endpoint, fix="give a PEM file")
    normal = tuple(str(Platform.parse(text)) for text in platforms)
    ca, cert, key = (os.path.abspath(path) if path else "" for path in (tls_ca, tls_cert, tls_key))
    return Node(endpoint, normal, ca, cert, key, command)


class Builders:
    """The file, read anew for each command."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._path = Path(root) / "builder/builders.json"
        self._current, self._builders = self._read()

    @property
    def current(self) -> str:
        """The name that is used where none is given."""
        return self._current

    def all(self) -> tuple[Builder, ...]:
        """By name, the default first."""
        known = sorted(self._builders.values(), key=lambda builder: builder.name)
        return (Builder(DEFAULT, (Node(LOCAL),)), *known)

    def chosen(self, flag: str | None, environ: Mapping[str, str]) -> Builder | None:
        """The builder for one command; None for this process.

        Raises:
            NodeError: there is none of that name.
        """
        named = next((environ[key] for key in VARIABLES if environ.get(key)), "")
        name = flag or named or self._current
        return None if name == DEFAULT else self.get(name)

    def get(self, name: str) -> Builder:
        """One builder.

        Raises:
            NodeError: there is none of that name.
        """
        found = next((builder for builder in self.all() if builder.name == name), None)
        if found is None:
            raise NodeError(
                f"there is no builder {name!r}",
                fix=f"use one of {', '.join(builder.name for builder in self.all())}",
            )
        return found

    def add(self, name: str, node: Node, *, append: bool) -> Builder:
        """A new builder with one node, or one node more; written durably.

        Raises:
            NodeError: the name is no good, or taken, or to be appended to and unknown.
        """
        if not _NAME.fullmatch(name) or name == DEFAULT:
            raise NodeError(
                f"{name!r} cannot be the name of a builder",
                fix=f"use letters, digits, dots and dashes, a letter first, and not {DEFAULT}",
            )
        if append:
            old = self.get(name)
            made = replace(old, nodes=(*old.nodes, node))
        elif name in self._builders:
            raise NodeError(f"there is a builder {name!r}", fix="add to it with --append")
        else:
            made = Builder(name, (node,))
        self._builders[name] = made
        self._write()
        return made

    def remove(self, name: str) -> None:
        """Forget a builder; raises ``NodeError`` as ``get``."""
        del self._builders[self.get(name).name]
        if self._current == name:
            self._current = DEFAULT
        self._write()

    def use(self, name: str) -> None:
        """Make it the one that is used where none is given; raises ``NodeError`` as ``get``."""
        self._current = self.get(name).name
        self._write()

    def _read(self) -> tuple[str, dict[str, Builder]]:
        try:
            document = json.loads(self._path.read_bytes())
            builders = [
                Builder(name, tuple(_node(row) for row in rows))
                for name, rows in document["builders"].items()
            ]
            return str(document["current"]), {builder.name: builder for builder in builders}
        except FileNotFoundError:
            return DEFAULT, {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NodeError(
                "the list of builders is damaged", where=str(self._path), fix="remove the file"
            ) from error

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "current": self._current,
            "builders": {
                builder.name: [
                    dict(zip(field_names(Node), values_of(node), strict=True))
                    for node in builder.nodes
                ]
                for builder in self._builders.values()
            },
        }
        write_durably(self._path, json.dumps(document, indent=2).encode() + b"\n")


def _node(row: dict[str, Any]) -> Node:
    return Node(**{**row, "platforms": tuple(row["platforms"])})
