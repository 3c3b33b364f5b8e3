"""An agent's socket lent to another user."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from engine.builds.agent_socket import AgentSocket


@pytest.fixture
def agent(tmp_path):
    """A program that answers each connection once."""
    path = tmp_path / "real"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                client, _ = listener.accept()
                with client:
                    question = client.recv(100)
                    if question == b"stop":
                        return
                    client.sendall(b"answer to " + question)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"stop")
        thread.join()


def ask(path: Path, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(question)
        answer = b""
        while data := client.recv(100):
            answer += data
        return answer


def lend(agent: Path, folder: Path, **changes) -> AgentSocket:
    values = {"mode": 0o600, "uid": os.getuid(), "gid": os.getgid(), **changes}
    return AgentSocket(agent, folder, **values)


def test_questions_and_answers_go_through(agent, tmp_path):
    with lend(agent, tmp_path / "lent") as path:
        assert ask(path, b"one") == b"answer to one"
        assert ask(path, b"two") == b"answer to two"
    assert not path.exists()


def test_mode_and_folder(agent, tmp_path):
    with lend(agent, tmp_path / "lent", mode=0o640) as path:
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_dead_agent_closes_the_connection(tmp_path):
    with lend(tmp_path / "nobody", tmp_path / "lent") as path, suppress(ConnectionError):
        assert ask(path, b"one") == b""


def test_ending_while_connected(agent, tmp_path):
    with socket.socket(socket.AF_UNIX) as client:
        with lend(agent, tmp_path / "lent") as path:
            client.connect(str(path))
            client.sendall(b"one")
            assert client.recv(100) == b"answer to one"
        assert client.recv(100) == b""


@pytest.mark.root
def test_owner(agent, tmp_path):
    with lend(agent, tmp_path / "lent", uid=1000, gid=50) as path:
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (1000, 50)
