"""Where a definition comes from: files here, or a git repository or archive elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.bake.files import load_files, read_files
from engine.bake.resolve import is_remote
from lading.errors import UsageError
from records import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.progress.events import ProgressSink
    from engine.bake.model import Config
    from engine.builds.building import Yard
    from lading.actions.bake import Asked

HERE = "cwd://"
"""What a file begins with that is here although the definition is not."""


@contextmanager
def defined(asked: Asked, yard: Yard, sink: ProgressSink) -> Iterator[tuple[Config, Asked]]:
    """The definition, and what is asked of it without the URL that named it; for the block.

    Raises:
        BakeError: there is none, or it is malformed.
    """
    from lading.actions.bake import surroundings

    if asked.names and is_remote(asked.names[0]):
        raise UsageError("definitions from elsewhere", where=asked.names[0])
    files = read_files([name.removeprefix(HERE) for name in asked.files], Path())
    yield load_files(files, surroundings(asked, HERE), Path()), replace(asked)
    del yard, sink
