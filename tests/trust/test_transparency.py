"""Signed heads and entries of a log: exact bytes, and nothing that only looks like them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import CheckpointError, LogProofError, TrustError
from trust.keys import Algorithm, PrivateKey
from trust.transparency.checkpoint import MAX_CHECKPOINT, Checkpoint, sign, verify
from trust.transparency.entry import Entry, Event

ORIGIN = "registry.example.com/log"
HEAD = Checkpoint(ORIGIN, 1234, bytes(range(32)))
KEY = PrivateKey.generate(Algorithm.ED25519)
NOTE = sign(HEAD, KEY)
ENTRY = Entry(Event.TAG, "team/web", "2026-06-01T12:00:00Z", "sha256:ab", "1", "", "ann")


def test_a_head_is_a_signed_note() -> None:
    text, signature = NOTE.decode().split("\n\n")
    assert text.split("\n") == [ORIGIN, "1234", base64.b64encode(bytes(range(32))).decode()]
    assert signature.startswith(f"— {ORIGIN} ")
    assert verify(NOTE, origin=ORIGIN, key=KEY.public) == HEAD


def test_the_example_of_the_specification_verifies() -> None:
    """C2SP signed-note's example: its signature holds, so what is refused is the text inside."""
    from trust.keys import PublicKey

    prefix = bytes.fromhex("302a300506032b6570032100")
    encoded = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    key = PublicKey.from_der(prefix + base64.b64decode(encoded)[1:])
    note = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "— PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    with pytest.raises(CheckpointError, match="no size and root"):
        verify(note.encode(), origin="PeterNeumann", key=key)


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_no_byte_may_change(position: int, flip: int) -> None:
    changed = NOTE[:position] + bytes([NOTE[position] ^ flip]) + NOTE[position + 1 :]
    with pytest.raises(TrustError):
        verify(changed, origin=ORIGIN, key=KEY.public)


def test_witnesses_may_sign_too() -> None:
    witness = sign(Checkpoint("witness", HEAD.size, HEAD.root), KEY).split(b"\n\n")[1]
    assert verify(NOTE + witness, origin=ORIGIN, key=KEY.public) == HEAD


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n\n",
        NOTE[:-1],
        NOTE + b"x\n",
        b"\xff" + NOTE,
        NOTE * 200,
        b"a\n\n\xe2\x80\x94 a b\n",
    ],
)
def test_what_is_no_note_is_refused(note: bytes) -> None:
    assert len(NOTE * 200) > MAX_CHECKPOINT
    with pytest.raises(CheckpointError):
        verify(note, origin=ORIGIN, key=KEY.public)


def test_another_log_or_key_is_refused() -> None:
    with pytest.raises(CheckpointError, match="did not sign"):
        verify(NOTE, origin="other", key=KEY.public)
    with pytest.raises(CheckpointError, match="did not sign"):
        verify(NOTE, origin=ORIGIN, key=PrivateKey.generate(Algorithm.ED25519).public)


def test_heads_are_signed_with_ed25519_by_a_named_log() -> None:
    with pytest.raises(CheckpointError, match="ed25519"):
        sign(HEAD, PrivateKey.generate(Algorithm.ECDSA_P256))
    with pytest.raises(CheckpointError, match="cannot name"):
        sign(Checkpoint("two words", 0, bytes(32)), KEY)


def test_an_entry_has_one_spelling() -> None:
    assert Entry.parse(ENTRY.data) == ENTRY
    assert ENTRY.data.startswith(b'{"actor":"ann","digest":"sha256:ab","event":"tag"')
    for other in (
        ENTRY.data.replace(b":", b": ", 1),
        ENTRY.data.replace(b'"tag":"1"', b'"tag":1'),
        ENTRY.data.replace(b'"event":"tag"', b'"event":"rename"'),
        ENTRY.data.replace(b"ann", b"\\u0061nn"),
        b"{}",
        b"",
    ):
        with pytest.raises(LogProofError):
            Entry.parse(other)


@given(st.text(max_size=20), st.sampled_from(Event))
def test_entries_survive(actor: str, event: Event) -> None:
    entry = Entry(event, "a/b", "2026-06-01T12:00:00Z", actor=actor)
    assert Entry.parse(entry.data) == entry
