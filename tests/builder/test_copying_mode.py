"""--chmod: octal and symbolic."""

from __future__ import annotations

import pytest

from builder.copying.mode import ModeError, parse_mode


@pytest.mark.parametrize(
    ("text", "mode", "directory", "expected"),
    [
        ("644", 0o755, False, 0o644),
        ("0", 0o755, False, 0),
        ("07777", 0, True, 0o7777),
        ("+x", 0o644, False, 0o755),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("a-w", 0o777, False, 0o555),
        ("o=", 0o777, False, 0o770),
        ("g=u", 0o750, False, 0o770),
        ("go-u", 0o755, False, 0o700),
        ("u+s,g+s,+t", 0o755, False, 0o7755),
        ("ug-s", 0o6755, False, 0o755),
        ("u=rw", 0o4755, False, 0o655),
        ("u+r-w", 0o200, False, 0o400),
        ("=r", 0o777, False, 0o444),
    ],
)
def test_change(text: str, mode: int, directory: bool, expected: int) -> None:
    assert oct(parse_mode(text)(mode, directory)) == oct(expected)


@pytest.mark.parametrize(
    "text", ["888", "10000", "x", "u", "u+", "z+x", "u=rwx,", "+rq", "0o644", "-1", "u=ug", "٤"]
)
def test_invalid(text: str) -> None:
    if text == "u+":
        assert parse_mode(text)(0o644, False) == 0o644
        return
    with pytest.raises(ModeError) as caught:
        parse_mode(text)
    assert caught.value.what == (
        f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
    )
