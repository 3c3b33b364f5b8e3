"""``python -m tests.fuzz``: list the parsers, fuzz some of them, or try one input again.

    python -m tests.fuzz                                  the parsers
    python -m tests.fuzz NAME... --seconds 60             fuzz them, the time shared out evenly
    python -m tests.fuzz NAME --replay SEED:NUMBER        one input, as a failure printed it
    python -m tests.fuzz NAME --file PATH                 one input from a file

Exit status 1 means a fault was found; its input is kept in ``.cache/fuzz``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import time
import traceback
from pathlib import Path

import tests.fuzz as package
from tests.fuzz.harness import Failure, Mark, Target, attempt, fuzz, limit_memory, replay

KEPT = Path(__file__).parents[2] / ".cache" / "fuzz"


def targets() -> dict[str, Target]:
    """Every parser that a module ``tests/fuzz/*_targets.py`` lists in its ``TARGETS``."""
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    modules = [
        importlib.import_module(f"{package.__name__}.{name}")
        for name in names
        if name.endswith("_targets")
    ]
    return {target.name: target for module in modules for target in module.TARGETS}


def main(argv: list[str]) -> int:
    known = targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*known, []])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", default=str(time.time_ns()))
    parser.add_argument("--replay", metavar="SEED:NUMBER")
    parser.add_argument("--file", type=Path)
    options = parser.parse_args(argv)
    chosen = [known[name] for name in options.names]
    if not chosen:
        print("\n".join(known))
        return 0
    limit_memory()
    if options.replay is not None or options.file is not None:
        target = chosen[0]
        data = options.file.read_bytes() if options.file else replay(target, options.replay)
        failure = attempt(target, options.replay or str(options.file), data)
        print(f"{len(data)} bytes: {data[:2000]!r}")
        return _told(failure)
    status = 0
    for target in chosen:
        mark = Mark(KEPT / f"running-{target.name}-{os.getpid()}")
        outcome = fuzz(target, seconds=options.seconds / len(chosen), seed=options.seed, mark=mark)
        mark.remove()
        print(f"{target.name}: {outcome.tried} inputs, {outcome.accepted} accepted", flush=True)
        status |= _told(outcome.failure)
    return status


def _told(failure: Failure | None) -> int:
    if failure is None:
        return 0
    kept = failure.keep(KEPT)
    print(f"FAULT in {failure.target}, input {failure.label}, kept in {kept}; try it again with")
    print(f"  python -m tests.fuzz {failure.target} --file {kept}")
    print("".join(traceback.format_exception(failure.error)[-12:]), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
