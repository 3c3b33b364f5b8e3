"""Secrets from files and variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import BuildInputError
from builder.secrets import SIZE_LIMIT, Secret, by_id


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"s3cret\n")
    secret = Secret.parse(f"id=t,src={tmp_path}/token", {})
    assert secret == Secret("t", b"s3cret\n")
    assert "s3cret" not in repr(secret)


def test_from_a_variable() -> None:
    assert Secret.parse("id=t,env=TOKEN", {"TOKEN": "x"}).content == b"x"
    assert Secret.parse("id=TOKEN", {"TOKEN": "x"}).content == b"x"
    assert Secret.parse("type=env,id=TOKEN", {"TOKEN": "x"}).content == b"x"
    assert Secret.parse("id=t,type=env,src=TOKEN", {"TOKEN": "x"}).content == b"x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id=t,nonsense", "invalid secret option 'nonsense'"),
        ("id=t,source=/nowhere/at/all", "cannot read /nowhere/at/all"),
        ("id=t,env=UNSET", "environment variable UNSET is not set"),
        ("type=file", "a secret needs an id"),
        ("id=t,type=vault", "unsupported secret type 'vault'"),
    ],
)
def test_bad_ones_say_why(text: str, message: str) -> None:
    with pytest.raises(BuildInputError) as caught:
        Secret.parse(text, {})
    assert message in caught.value.what


def test_too_long(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (SIZE_LIMIT + 1))
    with pytest.raises(BuildInputError, match="longer than"):
        Secret.parse(f"id=t,src={tmp_path}/big", {})


def test_the_last_of_equal_ids_wins() -> None:
    assert by_id([Secret("a", b"1"), Secret("a", b"2")]) == {"a": b"2"}
