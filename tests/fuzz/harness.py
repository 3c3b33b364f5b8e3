"""A small fuzzer for parsers of untrusted bytes: mutation, generation, a guard on time and memory.

Every input follows from one text, ``seed:number``, so a failure is replayed by that text alone.
What counts as a failure: an exception that is not one of the parser's own, more processor time than
its size allows, or more memory than the limit that ``limit_memory`` sets for the process.
"""

from __future__ import annotations

import hashlib
import mmap
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

Generator = Callable[[Random], bytes]

MEMORY_LIMIT = 2 << 30
"""Bytes of address space beyond what the process has when it begins."""

LARGE_EVERY = 50
"""One input in so many is stretched, so that what grows faster than its input is noticed."""

LARGE_SIZE = 64 << 10
MARK_SIZE = 256


class TooSlow(BaseException):
    """The parser used more processor time than an input of this size may cost.

    Not an ``Exception``, so that no parser can swallow it.
    """


@dataclass(frozen=True)
class Target:
    """A parser and what is known of its language."""

    name: str
    run: Callable[[bytes], object]
    """Takes one input; raises only ``errors`` for those it refuses."""
    errors: tuple[type[Exception], ...]
    corpus: Callable[[], Sequence[bytes]]
    """Good inputs to begin with, and bad ones that once were faults."""
    generate: Generator | None = None
    """Makes an input by the rules of the language."""
    tokens: Sequence[bytes] = ()
    """What mutations insert besides random bytes."""
    size: int = 4096
    """Bytes at which ordinary inputs are cut."""
    base_seconds: float = 1.0
    byte_seconds: float = 50e-6
    """Processor time an input may cost: a base and so much for each byte."""


@dataclass(frozen=True)
class Failure:
    """An input that did harm, and the error it brought about."""

    target: str
    label: str
    data: bytes
    error: BaseException

    def keep(self, folder: Path) -> Path:
        """Write the input to a file named after its content."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.target}-{hashlib.sha256(self.data).hexdigest()[:16]}"
        path.write_bytes(self.data)
        return path


@dataclass(frozen=True)
class Outcome:
    """How many inputs were tried, and of those accepted; the failure that ended the run, if any."""

    tried: int
    accepted: int
    failure: Failure | None


def fuzz(
    target: Target, *, seconds: float, seed: str, mark: Callable[[str], None] | None = None
) -> Outcome:
    """Try inputs until the time is over or one fails.

    ``mark`` is told each input's label before it is tried, so that a crash of the whole process can
    be replayed too.
    """
    corpus = list(target.corpus())
    end = time.monotonic() + seconds
    tried = accepted = 0
    for number, data in enumerate(corpus):
        failure = attempt(target, f"corpus:{number}", data)
        if failure is not None:
            return Outcome(tried, accepted, failure)
    while time.monotonic() < end:
        label = f"{seed}:{tried}"
        if mark is not None:
            mark(label)
        data = make_input(target, label, corpus)
        tried += 1
        failure, good = _try(target, label, data)
        accepted += good
        if failure is not None:
            return Outcome(tried, accepted, failure)
    return Outcome(tried, accepted, None)


def replay(target: Target, label: str) -> bytes:
    """The input that a label stands for."""
    corpus = list(target.corpus())
    kind, _, number = label.partition(":")
    return corpus[int(number)] if kind == "corpus" else make_input(target, label, corpus)


def attempt(target: Target, label: str, data: bytes) -> Failure | None:
    """Give one input to the parser."""
    return _try(target, label, data)[0]


def _try(target: Target, label: str, data: bytes) -> tuple[Failure | None, bool]:
    try:
        with processor_time(target.base_seconds + len(data) * target.byte_seconds):
            target.run(data)
    except target.errors:
        return None, False
    except (Exception, TooSlow) as error:  # noqa: BLE001 - what a fuzzer is for
        return Failure(target.name, label, data, error), False
    return None, True


def make_input(target: Target, label: str, corpus: Sequence[bytes]) -> bytes:
    """The input of a label: generated, mutated, or both; the same every time."""
    random = Random(f"{target.name} {label}")
    if target.generate is not None and random.random() < 0.5:
        data = target.generate(random)
        if random.random() < 0.5:
            data = mutate(random, data, corpus, target.tokens)
    else:
        data = mutate(random, random.choice(corpus) if corpus else b"", corpus, target.tokens)
    data = data[: target.size]
    return stretch(random, data) if random.randrange(LARGE_EVERY) == 0 else data


def stretch(random: Random, data: bytes) -> bytes:
    """Repeat a part of an input until it is large."""
    if not data:
        return data
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice((1, 2, 3, 8, 40, 200)))
    times = LARGE_SIZE // (end - start)
    return data[:start] + data[start:end] * times + data[end:]


def mutate(random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Change an input in a few places."""
    for _ in range(random.choice((1, 1, 2, 3, 5, 10))):
        data = random.choice(_CHANGES)(random, data, corpus, tokens)
    return data


def _span(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((0, 1, 1, 2, 4, 16, 64, 512)))


def _replace_byte(
    random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]
) -> bytes:
    start, end = _span(random, data)
    piece = bytes(
        random.choice((random.randrange(256), 0, 10, 32, 255)) for _ in range(end - start)
    )
    return data[:start] + piece + data[end:]


def _insert_token(
    random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]
) -> bytes:
    start, _ = _span(random, data)
    token = random.choice(tokens) if tokens else random.randbytes(random.randint(1, 4))
    return data[:start] + token * random.choice((1, 1, 1, 2, 7, 100)) + data[start:]


def _delete(random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + data[end:]


def _double(random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:end] + data[start:]


def _splice(random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    other = random.choice(corpus) if corpus else b""
    start, end = _span(random, other)
    place, _ = _span(random, data)
    return data[:place] + other[start:end] + data[place:]


def _shuffle_lines(
    random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]
) -> bytes:
    lines = data.split(b"\n")
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def _flip_bit(
    random: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes]
) -> bytes:
    if not data:
        return data
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


_CHANGES = (_replace_byte, _insert_token, _delete, _double, _splice, _shuffle_lines, _flip_bit)


@contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """Raise ``TooSlow`` in the main thread once this process has computed for ``seconds``."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds:.1f} s of processor time")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def limit_memory(extra: int = MEMORY_LIMIT) -> None:
    """Let this process map no more than ``extra`` bytes beyond what it has (setrlimit(2))."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


class Mark:
    """A label in shared memory, which outlives the process that wrote it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(MARK_SIZE))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), MARK_SIZE)

    def __call__(self, label: str) -> None:
        self._memory[:] = label.encode()[:MARK_SIZE].ljust(MARK_SIZE, b"\0")

    def remove(self) -> None:
        """Forget it: nothing crashed."""
        self._memory.close()
        self._path.unlink()
