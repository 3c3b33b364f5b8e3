"""--publish in all its spellings."""

from __future__ import annotations

import pytest

from engine.options.errors import OptionError
from engine.options.ports import parse_exposed, parse_port, parse_ports
from runtime.request import Port


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [Port(80)]),
        ("80/udp", [Port(80, "udp")]),
        ("80/UDP", [Port(80, "udp")]),
        ("8080:80", [Port(80, "tcp", 8080)]),
        ("0:80", [Port(80)]),
        ("127.0.0.1:8080:80", [Port(80, "tcp", 8080, "127.0.0.1")]),
        ("127.0.0.1::80", [Port(80, "tcp", 0, "127.0.0.1")]),
        (":8080:80", [Port(80, "tcp", 8080)]),
        ("80-81", [Port(80), Port(81)]),
        ("8080-8081:80-81/sctp", [Port(80, "sctp", 8080), Port(81, "sctp", 8081)]),
        ("8000-8010:80", [Port(80, "tcp", 8000, "0.0.0.0", 8010)]),
    ],
)
def test_spellings(text, ports):
    assert parse_port(text) == ports


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "No port specified"),
        ("8080:", "No port specified"),
        ("80/icmp", "Invalid proto: icmp"),
        ("a", "Invalid containerPort: a"),
        ("0", "Invalid containerPort: 0"),
        ("65536", "Invalid containerPort: 65536"),
        ("81-80", "Invalid containerPort: 81-80"),
        ("80-", "Invalid containerPort: 80-"),
        ("x:80", "Invalid hostPort: x"),
        ("70000:80", "Invalid hostPort: 70000"),
        ("8000-8002:80-81", "Invalid ranges specified for container and host Ports"),
        ("300.1.1.1:80:80", "Invalid ip address: 300.1.1.1"),
        ("host:80:80", "Invalid ip address: host"),
        ("1:2:3:4", "Invalid ip address: 1:2"),
        ("[::1]:80:80", "IPv6 addresses is not supported"),
    ],
)
def test_malformed(text, words):
    with pytest.raises(OptionError) as caught:
        parse_port(text)
    assert words in caught.value.what


def test_the_same_binding_twice_counts_once():
    assert parse_ports(["80:80", "80:80", "81:80"]) == [Port(80, "tcp", 80), Port(80, "tcp", 81)]


def test_exposed():
    assert parse_exposed("80-81/udp") == [(80, "udp"), (81, "udp")]
    assert parse_exposed("443") == [(443, "tcp")]
    with pytest.raises(OptionError):
        parse_exposed("http")
