"""``lading build``: flags into a request."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from builder.request import BuildRequest
from builder.runner import Dns, Ulimit
from engine.options.errors import OptionError
from lading.actions.bake_orders import _OF_THE_COMMAND, order_of
from lading.actions.build_order import _platforms, make_order
from lading.actions.build_request import make_request, ssh_keys
from lading.errors import UsageError
from lading.flags.build import BUILD
from lading.parse import parse
from tests.engine.bake.support import selection

SHOWN_ALONE = {
    "plan",
    "explain",
    "on_error",
    "check",
    "call",
    "quiet",
    "progress",
    "iidfile",
    "metadata_file",
    "outputs",
    "push",
    "load",
    "squash",
    "verify_reproducible",
    "annotations",
    "platforms",
    "insecure_registry",
    "policy",
    "verify_key",
    "attest",
    "attest_as",
    "provenance",
    "sbom",
    "builder",
    "build_contexts",
    "context_report",
    "cache_from",
    "cache_to",
}
"""Flags that are not part of a request."""


def request_of(*words: str) -> BuildRequest:
    values: dict[str, Any] | None = parse(BUILD, words)
    assert values is not None
    return make_request(
        **{name: value for name, value in values.items() if name not in SHOWN_ALONE}
    )


def test_the_default_platform_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_DEFAULT_PLATFORM", raising=False)
    assert _platforms(()) == ()
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    assert [str(platform) for platform in _platforms(())] == ["linux/arm64"]
    given = _platforms(("linux/s390x,linux/amd64", "linux/s390x"))
    assert [str(platform) for platform in given] == ["linux/s390x", "linux/amd64"]


def test_limits_are_read_as_run_reads_them() -> None:
    limits = request_of(
        *("-m", "64m", "--cpus", "0.5", "--cpuset-cpus", "0", "--ulimit", "nofile=64:128"),
        *("--dns", "9.9.9.9", "--dns-search", "lan", "--dns-option", "ndots:2", "-c", "512"),
    ).resources
    assert limits is not None
    assert (limits.memory_limit, limits.memory_swap) == (64 << 20, 128 << 20)
    assert (limits.cpu_quota, limits.cpu_period, limits.cpu_shares) == (50_000, 100_000, 512)
    assert limits.cpuset_cpus == "0"
    assert limits.ulimits == (Ulimit("nofile", 64, 128),)
    assert limits.dns == Dns(("9.9.9.9",), ("lan",), ("ndots:2",))


@pytest.mark.parametrize("words", [("-m", "1k"), ("--cpus", "x"), ("--memory-swap", "1g")])
def test_malformed_limits(words: tuple[str, ...]) -> None:
    with pytest.raises(OptionError):
        request_of(*words)


def test_without_limits_there_are_none() -> None:
    assert request_of().resources is None


def test_the_epoch_comes_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert request_of().build_args == {}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12")
    assert request_of().build_args == {"SOURCE_DATE_EPOCH": "12"}
    given = request_of("--build-arg", "SOURCE_DATE_EPOCH=13").build_args
    assert given == {"SOURCE_DATE_EPOCH": "13"}


def test_choices_of_the_cache() -> None:
    request = request_of("--no-cache-filter", "a,b", "--no-cache-filter", "c")
    assert request.no_cache_stages == ("a", "b", "c")
    assert not request.precise_args
    assert request.rewrite_timestamps
    request = request_of("--build-arg-scope", "used", "--no-rewrite-timestamp")
    assert request.precise_args
    assert not request.rewrite_timestamps


def test_agents_and_files_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        path = str(tmp_path / "agent")
        assert ssh_keys(("default", f"a={path}", "b=k1,k2", "c=k3")) == {
            "b": ("k1", "k2"),
            "c": ("k3",),
        }
        assert ssh_keys(("b=k1", "b")) == {}
        with pytest.raises(UsageError, match="a socket stands alone"):
            ssh_keys((f"a=k1,{path}",))


@pytest.mark.parametrize(
    ("context", "agents", "given"),
    [
        ("git@example.com:a/b.git", (), {"default"}),
        ("ssh://git@example.com/a", (), {"default"}),
        ("https://example.com/a.git", (), set()),
        ("git@example.com:a/b.git", ("other=/run/other",), {"other"}),
    ],
)
def test_a_repository_behind_ssh_means_the_agent(
    monkeypatch: pytest.MonkeyPatch, context: str, agents: tuple[str, ...], given: set[str]
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    words = [*(f"--ssh={agent}" for agent in agents), context]
    values = parse(BUILD, words)
    assert values is not None
    order = make_order(**{key: it for key, it in values.items() if key not in _OF_THE_COMMAND})
    assert set(order.request.ssh) == given
    target = selection(f'target "default" {{ context = "{context}" }}', "default")
    assert order_of(target.targets["default"]).request.ssh == {}
