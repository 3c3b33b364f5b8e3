"""Names of containers and hosts."""

from __future__ import annotations

import pytest

from engine.options import naming
from engine.options.errors import OptionError


@pytest.mark.parametrize(
    ("text", "name"), [("web", "web"), ("/web", "web"), ("a.b-c_1", "a.b-c_1")]
)
def test_container_names(text, name):
    assert naming.check_name(text) == name


@pytest.mark.parametrize("text", ["", "x", "/", "-x", "a b", "a/b", "a\n", "é1"])
def test_malformed_container_names(text):
    with pytest.raises(OptionError, match="Invalid container name"):
        naming.check_name(text)


def test_host_names():
    assert naming.check_host_name("web-1.example") == "web-1.example"
    for text in ("", "-x", "a b", "a\nb", "x" * 65, "a..b"):
        with pytest.raises(OptionError, match="invalid hostname format"):
            naming.check_host_name(text)


def test_extra_hosts():
    values = ["db:10.0.0.1", "v6:2001:db8::1", "b=[::1]", "up=host-gateway"]
    assert naming.extra_hosts(values) == (
        ("db", "10.0.0.1"),
        ("v6", "2001:db8::1"),
        ("b", "::1"),
        ("up", "host-gateway"),
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("db", "bad format for add-host"),
        (":10.0.0.1", "bad format for add-host"),
        ("db:", "invalid IP address"),
        ("db:host", "invalid IP address"),
        ("db:10.0.0.1\n1.1.1.1 evil", "invalid IP address"),
        ("d b:10.0.0.1", "invalid hostname format"),
    ],
)
def test_malformed_extra_hosts(value, words):
    with pytest.raises(OptionError) as caught:
        naming.extra_hosts([value])
    assert words in caught.value.what


def test_name_servers():
    assert naming.name_servers(["10.0.0.1", "::1"]) == ("10.0.0.1", "::1")
    with pytest.raises(OptionError, match="not correctly formatted"):
        naming.name_servers(["dns.example"])
