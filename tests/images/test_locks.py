import os
import signal
import threading

from images.locks import flock, hold, is_held


def test_exclusive_excludes_threads_too(tmp_path):
    path = tmp_path / "a/lock"
    inside = threading.Event()
    order: list[str] = []

    def other():
        inside.wait()
        with flock(path, exclusive=True):
            order.append("second")

    thread = threading.Thread(target=other)
    thread.start()
    with flock(path, exclusive=True):
        inside.set()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_shared_locks_share(tmp_path):
    with flock(tmp_path / "l", exclusive=False), flock(tmp_path / "l", exclusive=False):
        assert is_held(tmp_path / "l")
    assert not is_held(tmp_path / "l")


def test_hold(tmp_path):
    fd = hold(tmp_path / "l")
    assert is_held(tmp_path / "l")
    os.close(fd)
    assert not is_held(tmp_path / "l")
    assert not is_held(tmp_path / "none")


def test_a_killed_holder_lets_go(tmp_path):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        hold(tmp_path / "l")
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    assert is_held(tmp_path / "l")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not is_held(tmp_path / "l")
    os.close(read)
    os.close(write)
