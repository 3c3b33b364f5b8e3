"""One context on this machine: its tree as its ignore file shows it, and the digests of its files.

The tree is scanned once for a whole build; digests are remembered on disk under the directory's
name.
"""

from __future__ import annotations

import hashlib
import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from builder.context import ContextTree
from builder.digests import FileDigests
from builder.ignore import IgnorePatterns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.inputs import LocalInputs
    from builder.scan import ContextScan


def digest_file(digests: Path, directory: str) -> Path:
    """Where below ``digests`` those of the files of one directory are remembered."""
    return digests / hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]


class HostFiles:
    """The files of a context; nothing is looked at before it is asked for."""

    def __init__(
        self,
        inputs: LocalInputs,
        digests: Path,
        now_ns: int,
        scan: Callable[[], ContextScan | None] | None = None,
    ) -> None:
        """``digests`` is a directory for remembered digests, ``now_ns`` the time of the build.

        ``scan`` gives the walk of the context that was made already, or None.
        """
        self._inputs = inputs
        self._now_ns = now_ns
        self._scan = scan
        self._digest_file = digest_file(digests, inputs.path)
        self.lock = threading.RLock()
        """Held while files are looked at: builds that share them hash each of them once."""

    @cached_property
    def tree(self) -> ContextTree:
        """What is visible.

        Raises:
            BuildInputError: a line of the ignore file is malformed.
        """
        inputs = self._inputs
        ignore = IgnorePatterns.parse(inputs.ignore or b"", filename=inputs.ignore_name)
        return ContextTree(
            inputs.path,
            ignore,
            ignore_name=inputs.ignore_name,
            name=inputs.name,
            place=inputs.origin,
            scan=self._scan,
        )

    @cached_property
    def digests(self) -> FileDigests:
        """The digests of the tree's files, those of earlier builds included."""
        digests = FileDigests.load(self._digest_file, self._now_ns)
        digests.contents = self.tree.contents
        digests.given = self.tree.digests
        return digests

    def remember(self) -> None:
        """Keep the digests for the next build, if any were asked for."""
        if "digests" in self.__dict__:
            self.digests.save(self._digest_file)
