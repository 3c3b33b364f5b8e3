"""What a build context of 5,000 small files costs: scanning, hashing, planning a COPY of it all.

``python -m tests.bench.context [--quick] [--json]``
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from builder.context import ContextTree
from builder.copying.plan import plan_copy
from builder.copying.request import CopyRequest
from builder.digests import FileDigests, selection_digest
from builder.ignore import IgnorePatterns
from tests.bench.harness import figures

FILES = 5_000
DIRECTORIES = 100
REPEATS = 10
QUICK_REPEATS = 3
IGNORE = "node_modules\n**/*.pyc\n.git\n*.log\n!keep.log\n**/__pycache__\n"
OLD = 1_600_000_000


def fill(root: Path) -> None:
    """Small source files that were last changed long ago."""
    for number in range(FILES):
        path = root / f"part{number % DIRECTORIES}" / f"module{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"value = {number}\n" * 80)
        os.utime(path, (OLD, OLD))


def best(action: Callable[[], object], repeats: int) -> float:
    """The best time of an action, in milliseconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


def run(*, quick: bool) -> dict[str, float]:
    """All measurements, in milliseconds."""
    repeats = QUICK_REPEATS if quick else REPEATS
    request = CopyRequest((".",), "/app/")
    ignore = IgnorePatterns.parse(IGNORE)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root)

        def scan() -> ContextTree:
            tree = ContextTree(root, ignore)
            tree.lookup("nothing")
            return tree

        def digest(known: FileDigests) -> bytes:
            return selection_digest(request, scan(), known)

        warm = FileDigests(time.time_ns() + 10**10)
        digest(warm)
        return {
            "files": float(FILES),
            "scan_ms": best(scan, repeats),
            "scan_digest_cold_ms": best(lambda: digest(FileDigests(time.time_ns())), repeats),
            "scan_digest_warm_ms": best(lambda: digest(warm), repeats),
            "scan_plan_ms": best(lambda: plan_copy(request, scan(), None), repeats),
        }


if __name__ == "__main__":
    figures(run, __doc__ or "")
