"""Progress that BuildKit stored, and bytes that pretend to be some: read, or one kind of error."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from engine.builds.history.status_stream import StatusError, messages


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_messages(bodies: list[bytes]) -> None:
    with suppress(StatusError):
        list(messages(b"".join(len(it).to_bytes(4, "little") + it for it in bodies)))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with suppress(StatusError):
        list(messages(data))
