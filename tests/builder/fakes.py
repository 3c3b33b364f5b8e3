"""Stand-ins for the kernel's part of a build: commands as functions, files as a dictionary."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping

from builder.errors import BuildInputError
from builder.plan.ops import Copy, Workdir
from builder.progress.events import Event, VertexCached, VertexStarted, WarningRaised
from builder.request import Material
from builder.runner import STDOUT, RunStep
from builder.solver.files import FilesOf, LazyTree, Selection
from images.errors import EnvironmentFault
from images.layers.entry import Entry
from images.layers.merged import MergedTree, entry_of
from images.platform import Platform

Command = Callable[[RunStep], int | None]


class FakeRunner:
    """Runs the function registered for a shell command; unknown commands write ``/ran/<text>``."""

    def __init__(self, commands: Mapping[str, Command] | None = None) -> None:
        self.commands = dict(commands or {})
        self.emulated: set[Platform] = set()
        self.steps: list[RunStep] = []
        self.expected = 0
        self._lock = threading.Lock()

    @property
    def texts(self) -> list[str]:
        return [step.args[-1] for step in self.steps]

    def expect(self) -> None:
        """Counts how often it was told."""
        with self._lock:
            self.expected += 1

    def check(self, platform: Platform) -> None:
        """Runs what it was made for; a machine without emulators."""
        if platform not in self.emulated:
            raise EnvironmentFault(f"no emulator for {platform}", fix="install one")

    def run(self, step: RunStep) -> int:
        with self._lock:
            self.steps.append(step)
        text = step.args[-1]
        command = self.commands.get(text)
        step.output(STDOUT, f"running {text}\n".encode())
        if command is not None:
            return command(step) or 0
        write(step, f"ran/{text.replace('/', '_')}", text)
        return 0


def write(step: RunStep, path: str, content: str) -> None:
    """What a command does when it writes a file."""
    target = step.upper / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)


def read(step: RunStep, path: str) -> str:
    """What a command sees in a file of its root."""
    text = MergedTree([step.upper, *step.lower]).read_text(path)
    assert text is not None, path
    return text


class FakeFiles:
    """COPY without its subtleties: each source is copied below the destination by its base name."""

    def __init__(self, context: Mapping[str, str] | None = None) -> None:
        self.context = dict(context or {})
        self.named: dict[str, dict[str, str]] = {}
        self.copied = 0

    def copy(self, op: Copy, source: FilesOf, base: LazyTree, *, created_ns: int) -> list[Entry]:
        self.copied += 1
        entries = []
        for entry in self._sources(op, source):
            name = op.destination.strip("/")
            inside = op.destination.endswith("/") or len(op.sources) > 1
            path = f"{name}/{entry.path}".strip("/") if inside else name
            parents = path.split("/")[:-1]
            entries += [
                Entry("/".join(parents[: end + 1]), "d", mode=0o755) for end in range(len(parents))
            ]
            entries.append(Entry(path, "f", size=entry.size, source=entry.source))
        return list({entry.path: entry for entry in entries}.values())

    def workdir(self, op: Workdir, base: LazyTree, *, created_ns: int) -> list[Entry]:
        parts = op.path.strip("/").split("/")
        return [Entry("/".join(parts[: end + 1]), "d", mode=0o755) for end in range(len(parts))]

    def selection(self, op: Copy, source: FilesOf) -> Selection:
        return _select(self._sources(op, source))

    def content(self, path: str, source: FilesOf) -> Selection:
        return _select(self.tree(path, source))

    def fetched(self) -> tuple[Material, ...]:
        return ()

    def _sources(self, op: Copy, source: FilesOf) -> list[Entry]:
        found = []
        for name in op.sources:
            content = self._read(name.strip("/"), source)
            base = name.rstrip("/").rpartition("/")[2]
            found.append(Entry(base, "f", size=len(content), source=content))
        inline = (
            Entry(doc.name, "f", size=len(doc.content), source=doc.content) for doc in op.heredocs
        )
        return [*found, *inline]

    def tree(self, path: str, source: FilesOf) -> list[Entry]:
        if source is not None and not isinstance(source, str):
            tree = MergedTree(source)
            start = tree.resolve(path)
            found = tree.lookup(start)
            if found is not None and not found.is_dir:
                return [entry_of(found, "")]
            return [
                entry_of(node, node.path.removeprefix(start).lstrip("/"))
                for node in tree.walk(start)
            ]
        held = self._held(source)
        alone = held.get(path.strip("/"))
        if alone is not None:
            return [Entry("", "f", size=len(alone), source=alone.encode())]
        return [
            Entry(name, "f", size=len(text), source=text.encode())
            for name, text in sorted(held.items())
        ]

    def _held(self, source: str | None) -> Mapping[str, str]:
        return self.context if source is None else self.named[source]

    def _read(self, path: str, source: FilesOf) -> bytes:
        if source is None or isinstance(source, str):
            text = self._held(source).get(path)
        else:
            text = MergedTree(source).read_text(path)
        if text is None:
            raise BuildInputError(f'"/{path}": not found')
        return text.encode()


def _select(entries: list[Entry]) -> Selection:
    files = {}
    for entry in entries:
        content = b""
        if entry.kind == "f":
            with entry.open_source() as source:
                content = source.read()
        files[entry.path] = hashlib.sha256(content).hexdigest()
    return Selection(hashlib.sha256(repr(sorted(files.items())).encode()).digest(), files)


class RecordingProgress:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed = True

    @property
    def cached(self) -> list[str]:
        return [event.name for event in self.events if isinstance(event, VertexCached)]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events if isinstance(event, VertexStarted)]

    @property
    def started(self) -> list[str]:
        return [
            event.name
            for event in self.events
            if isinstance(event, VertexStarted) and event.name.startswith("[")
            if not event.name.startswith("[internal]")
        ]

    @property
    def reasons(self) -> dict[str, str]:
        return {e.name: e.reason for e in self.events if isinstance(e, VertexStarted) and e.reason}

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, WarningRaised)]
