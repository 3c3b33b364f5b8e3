"""Platforms as people write them."""

from __future__ import annotations

import pytest

from images.errors import InvalidPlatformError
from images.platform import Platform


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("Linux/ARM/6", "linux/arm/v6"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("macos/arm64", "darwin/arm64"),
    ],
)
def test_names_are_normalised(text: str, shown: str) -> None:
    assert str(Platform.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/amd64/v1/x", "li nux/amd64"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidPlatformError):
        Platform.parse(text)


def test_an_architecture_alone_has_no_variant_behind_it() -> None:
    with pytest.raises(InvalidPlatformError) as caught:
        Platform.parse("arm/v6")
    assert caught.value.fix == "write linux/arm/v6"


def test_lists_keep_their_order_and_say_everything_once() -> None:
    found = Platform.parse_list(["linux/s390x, linux/arm64/v8", "linux/arm64", "local"])
    assert list(map(str, found)) == list(
        dict.fromkeys(["linux/s390x", "linux/arm64", str(Platform.host())])
    )
    assert Platform.parse_list([]) == ()
    with pytest.raises(InvalidPlatformError):
        Platform.parse_list(["linux/arm64,"])
