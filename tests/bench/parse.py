"""What parsing costs: a 200-line Dockerfile with the parser loaded, loading it, and a cached tree.

``python -m tests.bench.parse [--quick] [--json]``
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.harness import figures

REPEATS = 30
QUICK_REPEATS = 5

STAGE = """\
# the build of one part
FROM --platform=$BUILDPLATFORM debian:bookworm AS part{0}
ARG VERSION=1.{0} TARGETARCH
ENV PATH=/opt/bin:$PATH LANG="C.UTF-8"
WORKDIR /src
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\
    apt-get update && \\
    apt-get install -y --no-install-recommends \\
      build-essential \\
      ca-certificates \\
      git && \\
    rm -rf /var/lib/apt/lists/*
COPY --chown=1000:1000 go.mod go.sum ./
COPY . .
RUN <<EOF
set -e
make -j2
make install DESTDIR=/out
EOF
CMD ["/opt/bin/part", "--serve"]
"""


def dockerfile() -> bytes:
    """Two hundred lines of the kind people write."""
    return "".join(STAGE.format(number) for number in range(10)).encode()


def measure(action: Callable[[], object], repeats: int) -> float:
    """The best time of an action, in milliseconds."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - begin)
    return best * 1e3


def cold(statement: str) -> Callable[[], object]:
    """A fresh interpreter that runs one statement."""
    return lambda: subprocess.run([sys.executable, "-c", statement], check=True)


def run(*, quick: bool) -> dict[str, float]:
    """All measurements, in milliseconds."""
    from dockerfile_grammar.cache import parse_cached
    from dockerfile_grammar.parser import parse

    repeats = QUICK_REPEATS if quick else REPEATS
    source = dockerfile()
    parse(source)
    with tempfile.TemporaryDirectory() as folder:
        cache_dir = Path(folder)
        parse_cached(source, cache_dir=cache_dir)
        path = cache_dir / "Dockerfile"
        path.write_bytes(source)
        read = (
            "from pathlib import Path; from dockerfile_grammar.cache import parse_cached; "
            f"parse_cached(Path({str(path)!r}).read_bytes(), cache_dir=Path({folder!r}))"
        )
        fresh = (
            f"from dockerfile_grammar.parser import parse; parse(open({str(path)!r}, 'rb').read())"
        )
        empty = measure(cold("from pathlib import Path"), repeats)
        return {
            "lines": float(source.count(b"\n")),
            "parse_ms": measure(lambda: parse(source), repeats),
            "cached_ms": measure(lambda: parse_cached(source, cache_dir=cache_dir), repeats),
            "cold_parse_ms": measure(cold(fresh), repeats) - empty,
            "cold_cached_ms": measure(cold(read), repeats) - empty,
        }


if __name__ == "__main__":
    figures(run, __doc__ or "")
