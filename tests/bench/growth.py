"""How the cost of a build grows with files and with layers, as numbers and as an SVG plot.

``python -m tests.bench.growth [--quick] [--svg FILE] [--json FILE]``; the plot of
``docs/performance.md`` is drawn by ``python -m tests.bench.growth --svg docs/growth.svg``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.bench.harness import Action, quietly
from tests.bench.main_job import LADING, make_context
from tests.bench.peers import busybox_rootfs

BASE = "bench/busybox"
FILES = (1_000, 10_000, 30_000, 100_000)
LAYERS = (10, 50, 100, 127)
QUICK_FILES = (1_000, 3_000)
QUICK_LAYERS = (10, 25)
WIDTH, HEIGHT, MARGIN = 340, 230, 46
COLOURS = ("#1f77b4", "#d62728")

Series = dict[str, list[tuple[int, float]]]
"""Milliseconds by size, by what is measured."""


def median(action: Action, runs: int, prepare: Action = lambda: None) -> float:
    """Milliseconds of the middle run."""
    times = []
    for _ in range(runs):
        prepare()
        started = time.perf_counter()
        action()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def files(folder: Path, fresh: Action, *, sizes: Sequence[int], runs: int) -> Series:
    """A context that is copied for the first time, and one where nothing changed."""
    series: Series = {"cold COPY": [], "nothing changed": []}
    for size in sizes:
        context = make_context(folder, size, f"FROM {BASE}\nCOPY . /src\n")
        build = quietly(LADING, "build", "-q", context)
        series["cold COPY"].append((size, median(build, runs, fresh)))
        series["nothing changed"].append((size, median(build, runs)))
    return series


def layers(folder: Path, fresh: Action, *, sizes: Sequence[int], runs: int) -> Series:
    """RUN steps done for the first time, and answered from the cache one by one.

    One layer of each size is the base's.
    """
    series: Series = {"cold RUN": [], "cached, step by step": []}
    for size in sizes:
        context = folder / f"layers-{size}"
        context.mkdir()
        steps = "".join(f"RUN echo {number} > /file{number}\n" for number in range(1, size))
        (context / "Dockerfile").write_text(f"FROM {BASE}\n{steps}")
        build = quietly(LADING, "build", "-q", context)
        labels = iter(range(10**6))

        def relabelled(context: Path = context, labels: Iterator[int] = labels) -> None:
            quietly(LADING, "build", "-q", "--label", f"run={next(labels)}", context)()

        series["cold RUN"].append((size, median(build, runs, fresh)))
        series["cached, step by step"].append((size, median(relabelled, runs)))
    return series


def plot(panels: dict[str, Series]) -> str:
    """One chart beside the other, linear axes from zero."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels)}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (title, series) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({number * WIDTH} 0)">')
        parts += _panel(title, series)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, series: Series) -> Iterator[str]:
    points = [point for line in series.values() for point in line]
    right, top = max(x for x, _ in points), max(y for _, y in points)
    across, up = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(x: float, y: float) -> str:
        return f"{MARGIN + across * x / right:.1f},{HEIGHT - MARGIN - up * y / top:.1f}"

    corners = " ".join((place(0, top), place(0, 0), place(right, 0)))
    yield f'<polyline points="{corners}" fill="none" stroke="#666"/>'
    yield f'<text x="{MARGIN}" y="{HEIGHT - 12}">0</text>'
    yield f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 12}" text-anchor="end">{right:,} {title}</text>'
    yield f'<text x="4" y="{MARGIN - 8}">{top / 1000:.1f} s</text>'
    for row, ((name, line), colour) in enumerate(zip(series.items(), COLOURS, strict=True)):
        path = " ".join(place(x, y) for x, y in line)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in line:
            cx, cy = place(x, y).split(",")
            yield f'<circle cx="{cx}" cy="{cy}" r="3" fill="{colour}"/>'
        yield f'<text x="{MARGIN + 12}" y="{MARGIN + 14 * row}" fill="{colour}">{name}</text>'


def main() -> None:
    """Measure, print, and draw if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--svg", type=Path, help="draw into this file")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = 1 if options.quick else 3
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bench-growth-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ["LADING_ROOT"] = str(folder / "root")
        os.environ["LADING_RUNTIME_DIR"] = str(folder / "run")
        stack.callback(quietly(LADING, "system", "shutdown"))
        archive = busybox_rootfs(folder)

        def fresh() -> None:
            shutil.rmtree(folder / "root", ignore_errors=True)
            quietly(LADING, "import", archive, BASE)()

        fresh()
        panels: dict[str, Series] = {}
        measures: dict[str, Callable[..., Series]] = {
            "files": partial(files, sizes=QUICK_FILES if options.quick else FILES),
            "layers": partial(layers, sizes=QUICK_LAYERS if options.quick else LAYERS),
        }
        for title, measure in measures.items():
            panels[title] = measure(folder, fresh, runs=runs)
            for name, line in panels[title].items():
                shown = "  ".join(f"{size:,}: {value:.0f} ms" for size, value in line)
                print(f"{title}, {name:<22} {shown}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(panels, indent=2) + "\n")
    if options.svg:
        options.svg.write_text(plot(panels))


if __name__ == "__main__":
    main()
