"""Security options, sysctls, networks, signals, control groups."""

from __future__ import annotations

import signal

import pytest

from engine.options import isolation
from engine.options.errors import OptionError
from engine.options.isolation import Security


@pytest.mark.parametrize(
    ("values", "security"),
    [
        ([], Security()),
        (["no-new-privileges"], Security(no_new_privileges=True)),
        (["no-new-privileges=true", "no-new-privileges:false"], Security()),
        (["seccomp=unconfined"], Security(seccomp="unconfined")),
        (["seccomp:/p.json"], Security(seccomp="/p.json")),
        (["seccomp=/p.json", "seccomp=builtin"], Security()),
        (["systempaths=unconfined"], Security(unmasked=True)),
        (["apparmor=unconfined", "label=disable", "label:disable"], Security()),
    ],
)
def test_security(values, security):
    assert isolation.parse_security(values) == security


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "invalid --security-opt"),
        ("seccomp", "invalid --security-opt"),
        ("seccomp=", "invalid --security-opt"),
        ("apparmor=mine", "apparmor profiles are not supported"),
        ("label=type:x", "label profiles are not supported"),
        ("no-new-privileges=maybe", "invalid --security-opt"),
    ],
)
def test_malformed_security(value, words):
    with pytest.raises(OptionError) as caught:
        isolation.parse_security([value])
    assert words in caught.value.what


def test_sysctls():
    values = ["net.ipv4.ip_forward=1", "kernel.shmmax = 5", "fs.mqueue.msg_max=10"]
    assert isolation.parse_sysctls(values, host_network=False) == {
        "net.ipv4.ip_forward": "1",
        "kernel.shmmax": " 5",
        "fs.mqueue.msg_max": "10",
    }


@pytest.mark.parametrize(
    "value",
    [
        "kernel.core_pattern=|/x",
        "vm.swappiness=1",
        "net",
        "fs.file-max=1",
        "net.../x=1",
        "net.a b=1",
    ],
)
def test_refused_sysctls(value):
    with pytest.raises(OptionError):
        isolation.parse_sysctls([value], host_network=False)


def test_network_sysctls_of_the_host():
    with pytest.raises(OptionError, match="not allowed in host network namespace"):
        isolation.parse_sysctls(["net.core.somaxconn=1"], host_network=True)


def test_networks():
    names = ["bridge", "default", "", "none", "host"]
    assert [isolation.parse_network(name) for name in names] == [*["bridge"] * 3, "none", "host"]
    with pytest.raises(OptionError, match="network mine not found"):
        isolation.parse_network("mine")
    with pytest.raises(OptionError, match="another container's network is not supported"):
        isolation.parse_network("container:web")


@pytest.mark.parametrize("text", ["15", "TERM", "term", "SIGTERM"])
def test_signals(text):
    assert isolation.parse_signal(text) == signal.SIGTERM


def test_real_time_signals():
    assert isolation.parse_signal("SIGRTMIN+3") == signal.SIGRTMIN + 3
    assert isolation.parse_signal("RTMAX") == signal.SIGRTMAX


@pytest.mark.parametrize("text", ["", "0", "65", "SIGNOTHING", "-9"])
def test_malformed_signals(text):
    with pytest.raises(OptionError, match="Invalid signal"):
        isolation.parse_signal(text)


def test_cgroup_parents():
    assert isolation.parse_cgroup_parent("/a//b/") == "a/b"
    for text in ("/", ".", "..", "../x", "a/../../b"):
        with pytest.raises(OptionError, match="inside the hierarchy"):
            isolation.parse_cgroup_parent(text)
