"""Timing that can be trusted on a noisy machine: interleaved runs, medians, ratios from one run.

A benchmark builds `Case`s (a name, our callable, the peers' callables, a target) for `main`, and
`Reading`s where something other than time was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Action = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One comparison; ``prepare`` runs untimed before each timed run of that contestant."""

    name: str
    contestants: Mapping[str, Action]
    target: str = ""
    runs: int = 5
    prepare: Mapping[str, Action] = field(default_factory=dict)
    unit: str = "ms"


@dataclass(frozen=True)
class Reading:
    """What was read off rather than timed: ours first, then the peers'."""

    name: str
    values: Mapping[str, float]
    unit: str
    target: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """As a result."""
        ours, *_ = self.values.values()
        peers = list(self.values.items())[1:]
        return {
            "case": self.name,
            "target": self.target,
            "unit": self.unit,
            "values": {name: round(value, 2) for name, value in self.values.items()},
            "ratio": {name: round(ours / value, 3) for name, value in peers},
        }


def measure(case: Case, runs: int) -> dict[str, Any]:
    """Run the contestants in turn, ``runs`` times after one warm-up each; times in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in case.contestants}
    for turn in range(runs + 1):
        for name, action in case.contestants.items():
            case.prepare.get(name, lambda: None)()
            started = time.perf_counter()
            action()
            elapsed = (time.perf_counter() - started) * 1000
            if turn:
                times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = next(iter(medians.values()))
    return {
        "case": case.name,
        "target": case.target,
        "runs": runs,
        "median_ms": {name: round(value, 2) for name, value in medians.items()},
        "ratio": {
            name: round(ours / value, 3) for name, value in list(medians.items())[1:] if value
        },
        "all_ms": {name: [round(v, 2) for v in values] for name, values in times.items()},
    }


def show(row: Mapping[str, Any]) -> None:
    """Print one result as a line a person reads."""
    unit, values = row.get("unit", "ms"), row.get("median_ms") or row["values"]
    medians = "  ".join(f"{name} {value:.1f} {unit}" for name, value in values.items())
    ratios = "  ".join(f"{value:.2f} x {name}" for name, value in row["ratio"].items())
    print(f"{row['case']:<44} {medians}   {ratios}   target {row['target'] or '-'}", flush=True)


def main(
    cases: Callable[..., Iterable[Case | Reading]], description: str, groups: Sequence[str] = ()
) -> None:
    """Parse the flags, measure each case, print, and write the JSON file if asked.

    ``cases`` is called with ``quick``, and when there are ``groups`` also with the one asked for
    or ``""``. Each case is measured before the next one is asked for.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    if groups:
        parser.add_argument("--only", choices=groups, default="", help="measure this group alone")
    options = parser.parse_args()
    # What users get: an installed program has its bytecode beside it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    rows = []
    chosen = (options.only,) if groups else ()
    for case in cases(options.quick, *chosen):
        if isinstance(case, Reading):
            rows.append(case.row)
        else:
            rows.append(measure(case, min(case.runs, 3) if options.quick else case.runs))
        show(rows[-1])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def figures(run: Callable[..., dict[str, float]], description: str) -> None:
    """Parse the flags, print what ``run(quick=...)`` measured by name, and write it if asked."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="few repeats")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    results = run(quick=options.quick)
    width = max(map(len, results))
    for name, value in results.items():
        print(f"{name:{width}} {value:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def quietly(*argv: str | Path, **kwargs: Any) -> Action:
    """A callable that runs a command, throws its output away and fails loudly."""

    def run() -> None:
        done = subprocess.run(argv, capture_output=True, text=True, **kwargs)
        if done.returncode != 0:
            sys.exit(
                f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )

    return run
