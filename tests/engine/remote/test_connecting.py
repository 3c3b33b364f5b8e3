"""The way over ssh when it breaks: what the user is told, and what stays behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.remote.connecting import connected
from engine.remote.errors import ChannelError
from engine.remote.nodes import make_node

NODE = make_node("ssh://builder.example")
LARGE = 4 << 20
"""Bytes: more than a pipe holds."""


def program(folder: Path, body: str) -> dict[str, str]:
    """An environment where ``body``, in Python, is what ssh is."""
    path = folder / "ssh"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return {"LADING_SSH": str(path)}


def test_an_end_that_stops_reading_is_told_as_gone(tmp_path: Path) -> None:
    environ = program(tmp_path, "import os; os.read(0, 1); os.close(0)")
    told = pytest.raises(ChannelError, match=r"ssh://builder\.example: the connection ended")
    with told, connected(NODE, environ) as channel:
        channel.send("build", filler="x" * LARGE)


def test_a_program_that_is_not_there() -> None:
    told = pytest.raises(ChannelError, match="/nowhere/ssh: No such file")
    with told as caught, connected(NODE, {"LADING_SSH": "/nowhere/ssh -F none"}):
        pytest.fail("there is no session")
    assert "LADING_SSH" in (caught.value.fix or "")
