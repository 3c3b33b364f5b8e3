"""Two machines with a cache between them: their builds, told by which steps were done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import Lading, write

DOCKERFILE = """\
FROM {base} AS tools
RUN --mount=type=cache,target=/cache echo cached >> /cache/runs; cat /cache/runs > /runs; \
head -c 300000 /dev/urandom > /tool
FROM {base}
COPY --from=tools /tool /runs /opt/
COPY app /app
RUN cat /app > /result
"""
_STEP = re.compile(r"^#(\d+) (\[.+\] (?:RUN|COPY|ADD|WORKDIR).*)$", re.MULTILINE)


@dataclass(frozen=True)
class Built:
    """A finished build: its standard error, and the image's id."""

    log: str
    image: str

    @property
    def executed(self) -> list[str]:
        """The instructions of the steps that were done, in the order they began."""
        cached = set(re.findall(r"^#(\d+) CACHED$", self.log, re.MULTILINE))
        found = {number: name for number, name in _STEP.findall(self.log) if number not in cached}
        return [name.partition("] ")[2].split()[0] for name in found.values()]

    @property
    def pulled(self) -> int:
        """How many layers were brought in."""
        return len(set(re.findall(r"^#\d+ pulling (sha256:\w+)", self.log, re.MULTILINE)))


def build(machine: Lading, context: Path, *flags: str, status: int = 0) -> Built:
    """Build and tell; the plain log says everything."""
    done = machine("build", "--progress", "plain", *flags, context, status=status)
    image = re.search(r"^image (sha256:\w+)$", done.stderr, re.MULTILINE)
    return Built(done.stderr, "" if image is None else image[1])


def make_context(folder: Path, base: str, dockerfile: str = DOCKERFILE) -> Path:
    """The context of a small image in two stages."""
    return write(folder, {"Dockerfile": dockerfile.format(base=base), "app": "one"})


@contextmanager
def machine(folder: Path) -> Iterator[Lading]:
    """A machine that has nothing yet."""
    folder.mkdir()
    user = Lading(folder)
    try:
        yield user
    finally:
        user("system", "shutdown", status=None)


def stored_bytes(user: Lading) -> int:
    """The size of the largest blob in a machine's store."""
    blobs = (user.folder / "root" / "blobs").rglob("*")
    return max((path.stat().st_size for path in blobs if path.is_file()), default=0)
