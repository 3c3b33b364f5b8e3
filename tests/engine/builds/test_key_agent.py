"""The agent for files of keys, as OpenSSH's own programs see it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from builder.request import BuildRequest
from engine.builds.key_agent import (
    FAILURE,
    KeyFileError,
    answer,
    is_socket,
    key_agent,
    read_identity,
    with_agents,
)
from engine.builds.order import BuildOrder
from tests.conftest import require_program

KINDS = [("ed25519", ""), ("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")]


def _key(path: Path, kind: str = "ed25519", bits: str = "", *, passphrase: str = "") -> Path:
    size = ("-b", bits) if bits else ()
    command = [require_program("ssh-keygen"), "-q", "-t", kind, *size, "-N", passphrase]
    subprocess.run([*command, "-C", "me", "-f", path], check=True)
    return path


def _ask(agent: Path, *words: str | Path) -> str:
    environment = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
    command = [require_program("ssh-add"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(("kind", "bits"), KINDS, ids=[kind + bits for kind, bits in KINDS])
def test_keys_sign_what_openssh_verifies(tmp_path: Path, kind: str, bits: str) -> None:
    key = _key(tmp_path / "key", kind, bits)
    with key_agent([read_identity(key)]) as agent:
        assert is_socket(str(agent))
        listed = _ask(agent, "-L").split()
        assert listed[:2] == (tmp_path / "key.pub").read_text().split()[:2]
        _ask(agent, "-T", tmp_path / "key.pub")
    assert not agent.exists()


def test_files_of_the_older_form(tmp_path: Path) -> None:
    key = _key(tmp_path / "key", "rsa", "2048")
    subprocess.run(
        [require_program("ssh-keygen"), "-q", "-p", "-m", "PEM", "-N", "", "-f", key], check=True
    )
    assert key.read_text().startswith("-----BEGIN RSA PRIVATE KEY")
    with key_agent([read_identity(key)]) as agent:
        _ask(agent, "-T", tmp_path / "key.pub")


def test_several_keys_and_several_agents(tmp_path: Path) -> None:
    keys = {name: str(_key(tmp_path / name)) for name in ("a", "b", "c")}
    order = BuildOrder(
        BuildRequest(None, b"FROM scratch", ssh={"one": Path("a"), "real": Path("s")}),
        keys={"one": (keys["a"], keys["b"]), "two": (keys["c"],)},
    )
    with with_agents(order) as ready:
        assert ready.request.ssh["real"] == Path("s")
        assert len(_ask(ready.request.ssh["one"], "-L").splitlines()) == 2
        assert _ask(ready.request.ssh["two"], "-l").split()[2] == "c"
        assert not ready.keys


def test_files_that_hold_no_usable_key(tmp_path: Path) -> None:
    _key(tmp_path / "locked", passphrase="secret words")
    _key(tmp_path / "key")
    (tmp_path / "text").write_text("no key")
    (tmp_path / "cut").write_text((tmp_path / "key").read_text()[:200])
    for name, says in (
        ("locked", "locked with a passphrase"),
        ("key.pub", "not a private key"),
        ("text", "not a private key"),
        ("cut", "not a private key"),
        ("missing", "cannot be read"),
        (".", "cannot be read"),
    ):
        with pytest.raises(KeyFileError, match=says) as caught:
            read_identity(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value.where)


@pytest.mark.parametrize(
    "message",
    [b"", b"\x00", b"\x0d", b"\x0d\xff\xff\xff\xff", b"\x0d\0\0\0\x01a", b"\x0d\0\0\0\x01a\0\0\0\0",
     b"\x0d\0\0\0\x01a\0\0\0\0\0\0\0\x02", b"\x11lock", b"\x19" * 40],
)  # fmt: skip
def test_messages_that_mean_nothing_are_refused(message: bytes) -> None:
    assert answer(message, {}) == bytes([FAILURE])


def test_a_client_that_talks_nonsense_disturbs_nobody(tmp_path: Path) -> None:
    with key_agent([read_identity(_key(tmp_path / "key"))]) as agent:
        with socket.socket(socket.AF_UNIX) as bad:
            bad.connect(str(agent))
            bad.sendall(b"\xff\xff\xff\xff")
            assert bad.recv(1) == b""
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(agent))
            slow.sendall(b"\0\0")
            _ask(agent, "-T", tmp_path / "key.pub")
