"""Every registered parser is fuzzed for its share of the time; the fuzzer finds what it should.

``LADING_FUZZ_SECONDS`` (60 in CI) is shared out among them. The seed is always the same, so that a
failure is the change's own; soaks take a new one each time. ``LADING_FUZZ_SEED`` sets it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import targets
from tests.fuzz.harness import LARGE_SIZE, Target, TooSlow, attempt, fuzz, replay

SECONDS = float(os.environ.get("LADING_FUZZ_SECONDS", "5"))
NAMES = sorted(targets())
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", NAMES)
def test_only_its_own_errors_in_bounded_time(name: str) -> None:
    _fuzzed(name, seconds=SECONDS / len(NAMES), seed=os.environ.get("LADING_FUZZ_SEED", "lading"))


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_only_its_own_errors_for_inputs_never_seen(name: str) -> None:
    seed = os.environ.get("LADING_FUZZ_SEED", str(time.time_ns()))
    _fuzzed(name, seconds=float(os.environ.get("LADING_FUZZ_SECONDS", "10")), seed=seed)


def _fuzzed(name: str, *, seconds: float, seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--seed", seed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}{done.stderr}"


def _digits(data: bytes) -> None:
    if len(data) > 8 and data[:1] == b"(":
        raise KeyError("a fault that only generated inputs reach")
    if not data.isdigit():
        raise ValueError("no digits")


def _generate(random: Random) -> bytes:
    return b"(" * random.randint(9, 20)


DIGITS = Target("digits", _digits, (ValueError,), lambda: [b"123"], _generate)


def test_a_foreign_exception_is_a_failure_that_can_be_replayed(tmp_path: Path) -> None:
    outcome = fuzz(DIGITS, seconds=60, seed="1")
    failure = outcome.failure
    assert failure is not None
    assert isinstance(failure.error, KeyError)
    assert replay(DIGITS, failure.label) == failure.data
    assert failure.keep(tmp_path).read_bytes() == failure.data


def test_the_corpus_is_tried_first() -> None:
    bad = Target("digits", _digits, (ValueError,), lambda: [b"1", b"(" * 9])
    failure = fuzz(bad, seconds=0, seed="1").failure
    assert failure is not None
    assert failure.label == "corpus:1"
    assert replay(bad, failure.label) == b"(" * 9


def test_a_loop_without_end_is_a_failure() -> None:
    def loop(data: bytes) -> None:
        while True:
            try:
                len(data)
            except Exception:  # noqa: BLE001 - a parser that swallows everything
                continue

    failure = attempt(Target("loop", loop, (ValueError,), list, base_seconds=0.1), "x", b"")
    assert failure is not None
    assert isinstance(failure.error, TooSlow)


def test_what_grows_with_the_square_is_a_failure() -> None:
    def quadratic(data: bytes) -> int:
        return sum(1 for _ in data for _ in data)

    failure = fuzz(Target("square", quadratic, (), lambda: [b"ab"]), seconds=60, seed="1").failure
    assert failure is not None
    assert isinstance(failure.error, TooSlow)
    assert len(failure.data) > LARGE_SIZE / 2


def test_too_much_memory_is_a_failure(tmp_path: Path) -> None:
    script = (
        "from tests.fuzz.harness import *\n"
        "limit_memory(1 << 28)\n"
        "greedy = Target('greedy', lambda data: bytes(1 << 30), (), list)\n"
        "print(type(attempt(greedy, 'x', b'').error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "MemoryError\n", done.stderr
