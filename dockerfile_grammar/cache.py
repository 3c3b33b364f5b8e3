"""Parsed trees kept on disk, so that a build answered from the cache never loads the grammar.

An entry is named by a hash of the file and the format version. Entries are staged and renamed, so a
reader sees a whole one or none; a damaged one is ignored and written again. The cache may be
removed at any time. Nothing here imports the parser.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from dockerfile_grammar.codec import FORMAT, CodecError, decode, encode

if TYPE_CHECKING:
    from pathlib import Path

    from dockerfile_grammar.nodes import Dockerfile


def parse_cached(source: bytes, *, cache_dir: Path, filename: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile, or read the tree that an earlier parse left in ``cache_dir``.

    A cache that cannot be read or written costs time, never the result.

    Raises:
        DockerfileError: as ``parser.parse``; faulty files are not cached.
    """
    path = cache_dir / key(source)
    try:
        return decode(path.read_bytes())
    except (OSError, CodecError):
        pass
    from dockerfile_grammar.parser import parse

    tree = parse(source, filename=filename)
    _write(path, encode(tree))
    return tree


def key(source: bytes) -> str:
    """The name of a file's entry."""
    hasher = hashlib.sha256(f"dockerfile {FORMAT} {len(source)}\0".encode())
    hasher.update(source)
    return hasher.hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Stage beside the target, then rename; durability is not needed of a cache."""
    stage = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with stage.open("xb") as file:
            file.write(data)
        stage.replace(path)
    except OSError:
        try:
            stage.unlink(missing_ok=True)
        except OSError:
            return
