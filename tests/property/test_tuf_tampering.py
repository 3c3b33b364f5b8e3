"""No change of a byte anywhere in trust data is believed, by a fresh client or an old one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.tuf.kit import GUN, NOW, Repository, load, signed_repository
from trust.tuf import roles, tags
from trust.tuf.errors import TufError
from trust.tuf.trusted import TrustedSet

ROLES = (roles.ROOT, roles.TIMESTAMP, roles.SNAPSHOT, roles.TARGETS, roles.RELEASES)


@pytest.fixture(scope="module")
def repository() -> Repository:
    return signed_repository()


def believed(files: dict[str, bytes]) -> TrustedSet | None:
    try:
        return load(TrustedSet.begin(GUN, files[roles.ROOT], now=NOW), files)
    except TufError:
        return None


@pytest.mark.parametrize("role", ROLES)
def test_no_bit_may_change(repository: Repository, role: str) -> None:
    """Every byte of every role, with one of its bits turned."""
    raw = repository.files[role]
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1 << position % 8
        assert believed({**repository.files, role: bytes(changed)}) is None, position


@settings(max_examples=300)
@given(data=st.data())
def test_no_byte_may_change_appear_or_go(repository: Repository, data: st.DataObject) -> None:
    role = data.draw(st.sampled_from(ROLES))
    raw = repository.files[role]
    position = data.draw(st.integers(0, len(raw) - 1))
    edit = data.draw(st.sampled_from(("change", "insert", "remove", "cut")))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = {
        "change": raw[:position] + byte + raw[position + 1 :],
        "insert": raw[:position] + byte + raw[position:],
        "remove": raw[:position] + raw[position + 1 :],
        "cut": raw[:position],
    }[edit]
    found = believed({**repository.files, role: changed})
    if found is None or changed == raw:
        return
    # Blanks between members of an envelope that no parent's hash covers mean nothing.
    assert role in (roles.ROOT, roles.TIMESTAMP)
    assert changed.translate(None, b" \t\r\n") == raw
    assert tags.resolve(found, "latest") == tags.resolve(repository.trusted(), "latest")
