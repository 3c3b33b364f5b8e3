"""Following a started container: its output to sinks, our input to it, until it ends.

One poll(2) loop, no thread. The container's output comes through pipes of ours, never through a
descriptor of the user's: a container must not hold the host's terminal (TIOCSTI), and a pipe of
ours can be opened to every user inside (``/dev/stdout`` as another user than root).
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, Self, TypeAlias

    class Followed(Protocol):
        """What ``follow`` needs of a container; ``runtime.client.Container`` is one."""

        def fileno(self) -> int:
            """Readable when ``wait`` will not block."""

        def wait(self) -> int:
            """The exit code."""


CHUNK = 1 << 16

Sink: TypeAlias = Callable[[bytes], None]
"""Takes output as it comes; raises BrokenPipeError when nobody wants more."""


class Feeder:
    """Our standard input on its way into a pipe; ends when either side does."""

    def __init__(self, source: int, target: int) -> None:
        os.set_blocking(target, False)
        self.source = source
        self.target = target
        self.pending = b""
        self.open = True

    def interest(self) -> tuple[int, int]:
        """The descriptor and the poll events that would allow the next step."""
        if self.pending:
            return self.target, select.POLLOUT
        return self.source, select.POLLIN

    def step(self) -> None:
        """Read a little, or write what was read."""
        try:
            if not self.pending:
                self.pending = os.read(self.source, CHUNK)
                if not self.pending:
                    self.close()
                    return
            written = os.write(self.target, self.pending)
            self.pending = self.pending[written:]
        except BlockingIOError:
            return
        except OSError as error:
            # EPIPE: the container reads no more. EIO: our terminal is gone.
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            self.close()

    def close(self) -> None:
        """The container sees the end of its input."""
        if self.open:
            self.open = False
            os.close(self.target)


class Pipes:
    """The standard streams of a container without a terminal, made of pipes.

    ``inside`` are the container's ends, ours until ``handed_over``. The write ends may be opened
    again by every user inside (``/dev/stdout``). With ``source`` its bytes go to the container's
    input, else that is empty.
    """

    def __init__(self, out: Sink, err: Sink, *, source: int | None = None) -> None:
        out_reader, out_writer = _output_pipe()
        err_reader, err_writer = _output_pipe()
        self.sinks = {out_reader: out, err_reader: err}
        self.feeder = None
        if source is None:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        else:
            stdin, target = os.pipe2(os.O_CLOEXEC)
            self.feeder = Feeder(source, target)
        self.inside = (stdin, out_writer, err_writer)
        self._held = list(self.inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.handed_over()
        for reader in list(self.sinks):
            self.forget(reader)
        if self.feeder is not None:
            self.feeder.close()

    def handed_over(self) -> None:
        """The container has its ends: close ours, so that the end of its output is seen."""
        while self._held:
            os.close(self._held.pop())

    def forget(self, reader: int) -> None:
        """Read this pipe no more."""
        del self.sinks[reader]
        os.close(reader)


def _output_pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.fchmod(writer, 0o666)
    os.set_blocking(reader, False)
    return reader, writer


def writer_to(descriptor: int) -> Sink:
    """A sink that writes everything to a descriptor, waiting where it must."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                # Somebody else made it non-blocking; its flags are shared and not ours to change.
                select.select([], [descriptor], [])

    return write


def follow(container: Followed, pipes: Pipes) -> int:
    """Move bytes until the container ends, then what is left in the pipes; returns its exit code.

    Raises:
        RuntimeFault: the container's supervisor died.
    """
    ended = container.fileno()
    while ended not in _step(ended, pipes):
        pass
    code = container.wait()
    for reader in list(pipes.sinks):
        while reader in pipes.sinks and _move(pipes, reader):
            pass
    return code


def _step(ended: int, pipes: Pipes) -> set[int]:
    """Wait for something to happen and deal with it; returns what was ready."""
    poller = select.poll()
    poller.register(ended, select.POLLIN)
    for reader in pipes.sinks:
        poller.register(reader, select.POLLIN)
    feeder = pipes.feeder if pipes.feeder is not None and pipes.feeder.open else None
    if feeder is not None:
        poller.register(*feeder.interest())
    ready = {descriptor for descriptor, _ in poller.poll()}
    if feeder is not None and feeder.interest()[0] in ready:
        feeder.step()
    for reader in ready.intersection(pipes.sinks):
        _move(pipes, reader)
    return ready


def _move(pipes: Pipes, reader: int) -> bool:
    """One chunk; False when there is nothing now or ever."""
    try:
        data = os.read(reader, CHUNK)
    except BlockingIOError:
        return False
    try:
        if data:
            pipes.sinks[reader](data)
            return True
    except BrokenPipeError:
        # Like in a shell's pipeline: the writer inside gets SIGPIPE.
        pass
    pipes.forget(reader)
    return False
