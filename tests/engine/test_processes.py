"""Bytes between pipes and sinks until a container ends, with a process in the container's place."""

from __future__ import annotations

import gc
import os
import signal
import subprocess

import pytest

from engine.processes import Pipes, follow, writer_to


class Child:
    """A process that looks like a started container."""

    def __init__(self, script: str, pipes: Pipes) -> None:
        stdin, stdout, stderr = pipes.inside
        self.process = subprocess.Popen(
            ["sh", "-c", script], stdin=stdin, stdout=stdout, stderr=stderr
        )
        self.handle = os.pidfd_open(self.process.pid)
        pipes.handed_over()

    def fileno(self) -> int:
        return self.handle

    def wait(self) -> int:
        code = self.process.wait()
        os.close(self.handle)
        return code if code >= 0 else 128 - code


def run(script: str, *, source: int | None = None) -> tuple[int, bytes, bytes]:
    out, err = bytearray(), bytearray()
    with Pipes(out.extend, err.extend, source=source) as pipes:
        code = follow(Child(script, pipes), pipes)
    return code, bytes(out), bytes(err)


def test_streams_and_exit_code():
    assert run("echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")


def test_death_by_signal():
    assert run("kill -9 $$")[0] == 128 + signal.SIGKILL


def test_input_is_empty_without_a_source():
    assert run("cat; echo end") == (0, b"end\n", b"")


def test_more_than_a_pipe_holds_both_ways(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(os.urandom(3 << 20))
    with path.open("rb") as file:
        code, out, _ = run("cat", source=file.fileno())
    assert (code, out) == (0, path.read_bytes())


def test_output_written_right_before_the_end_is_not_lost():
    for _ in range(20):
        assert len(run("head -c 60000 /dev/zero")[1]) == 60000


def test_a_reader_that_stops_reading(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(bytes(1 << 20))
    with path.open("rb") as file:
        assert run("head -c 1; exec <&-; echo closed", source=file.fileno())[1] == b"\0closed\n"


def test_a_sink_that_wants_no_more_ends_the_writer():
    def refuse(data: bytes) -> None:
        raise BrokenPipeError

    with Pipes(refuse, refuse) as pipes:
        assert follow(Child("trap - PIPE; exec yes", pipes), pipes) in (1, 128 + signal.SIGPIPE)


def test_a_child_of_the_container_that_keeps_a_stream_does_not_delay_its_end():
    code, out, _ = run("sleep 5 & echo started")
    assert (code, out) == (0, b"started\n")


def test_nothing_stays_open():
    # What other tests left to the collector would be closed at any time.
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError), Pipes(bytearray().extend, bytearray().extend, source=0):
        raise RuntimeError
    run("echo x")
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == before


def test_everybody_may_open_the_output_again():
    with Pipes(bytearray().extend, bytearray().extend) as pipes:
        assert all(os.fstat(writer).st_mode & 0o777 == 0o666 for writer in pipes.inside[1:])


def test_a_writer_waits_for_a_slow_reader():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        writer_to(writer)(bytes(1 << 20))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert len(file.read()) == 1 << 20
    assert os.waitpid(pid, 0)[1] == 0
