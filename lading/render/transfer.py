"""Pull and push progress: plain lines everywhere, bars on a terminal.

The words are Docker's, so that scripts that read its output read ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TextIO

from images.client.progress import Event, LayerEvent, LayerState, StatusEvent
from lading.render.units import human_size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_WORDS = {
    LayerState.WAITING: "Waiting",
    LayerState.DOWNLOADING: "Downloading",
    LayerState.UPLOADING: "Pushing",
    LayerState.RETRYING: "Retrying",
    LayerState.VERIFYING: "Verifying Checksum",
    LayerState.SKIPPED: "Skipped",
}
_FINAL = {
    "pull": {LayerState.DONE: "Pull complete", LayerState.EXISTS: "Already exists"},
    "push": {
        LayerState.DONE: "Pushed",
        LayerState.EXISTS: "Layer already exists",
        LayerState.MOUNTED: "Mounted",
    },
}


class TransferView(Protocol):
    """Shows events until it is closed."""

    def __call__(self, event: Event, /) -> None:
        """Show one event."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


def transfer_view(verb: str, stream: TextIO, *, quiet: bool) -> TransferView:
    """The view for ``pull`` or ``push`` on this stream."""
    if quiet:
        return SilentView()
    return BarView(verb, stream) if stream.isatty() else LineView(verb, stream)


def _words(verb: str, event: LayerEvent) -> str:
    word = _FINAL[verb].get(event.state) or _WORDS.get(event.state) or event.state.value.title()
    return f"{word} {event.detail}".rstrip()


class SilentView:
    """Shows nothing."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""

    def close(self) -> None:
        """Nothing to leave."""


class LineView:
    """One line whenever a layer changes state."""

    def __init__(self, verb: str, stream: TextIO) -> None:
        self._verb = verb
        self._stream = stream
        self._states: dict[str, LayerState] = {}

    def __call__(self, event: Event, /) -> None:
        """Print the event unless only its byte count is new."""
        if isinstance(event, StatusEvent):
            line = f"{event.id}: {event.text}" if event.id else event.text
        else:
            key = event.digest.short
            if self._states.get(key) == event.state:
                return
            self._states[key] = event.state
            line = f"{key}: {_words(self._verb, event)}"
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to leave."""


class BarView:
    """A live bar a layer, by rich."""

    def __init__(self, verb: str, stream: TextIO) -> None:
        self._verb = verb
        self._progress = _progress(stream)
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def __call__(self, event: Event, /) -> None:
        """Move a bar, or print a status line above the bars."""
        if isinstance(event, StatusEvent):
            line = f"{event.id}: {event.text}" if event.id else event.text
            self._progress.console.print(line, highlight=False, markup=False)
            return
        key = event.digest.short
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(
                key, total=event.total or None, words="", bytes=""
            )
        finished = event.state in _FINAL[self._verb]
        self._progress.update(
            self._tasks[key],
            completed=event.total if finished else event.current,
            words=_words(self._verb, event),
            bytes=f"{human_size(event.current)}/{human_size(event.total)}" if not finished else "",
        )

    def close(self) -> None:
        """Stop drawing; the finished bars stay on the screen."""
        self._progress.stop()


def _progress(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[words]} {task.fields[bytes]}"),
        console=Console(file=stream),
        transient=False,
    )
