"""Builders as they are kept, and which node builds what."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.remote.connecting import ssh_command
from engine.remote.errors import ChannelError, NodeError
from engine.remote.nodes import Builder, Builders, Node, make_node
from engine.remote.placing import candidates, choose
from images.platform import Platform

AMD, ARM, RISCV = (Platform("linux", name) for name in ("amd64", "arm64", "riscv64"))


def test_builders_are_kept(tmp_path: Path) -> None:
    builders = Builders(tmp_path)
    builders.add("farm", make_node("ssh://me@a", platforms=("linux/x86_64",)), append=False)
    builders.add("farm", make_node("local"), append=True)
    builders.use("farm")
    again = Builders(tmp_path)
    nodes = (Node("ssh://me@a", ("linux/amd64",)), Node("local"))
    assert again.get("farm") == Builder("farm", nodes)
    assert again.chosen(None, {}) == again.get("farm")
    assert again.chosen("default", {}) is None
    assert again.chosen(None, {"BUILDX_BUILDER": "default"}) is None
    again.remove("farm")
    assert Builders(tmp_path).chosen(None, {}) is None


def test_mistakes_with_builders(tmp_path: Path) -> None:
    builders = Builders(tmp_path)
    node = make_node("ssh://a")
    builders.add("one", node, append=False)
    for name, append in (("one", False), ("two", True), ("default", False), ("-x", False)):
        with pytest.raises(NodeError):
            builders.add(name, node, append=append)
    with pytest.raises(NodeError) as caught:
        builders.get("tow")
    assert caught.value.fix == "use one of default, one"
    (tmp_path / "builder/builders.json").write_text("{}")
    with pytest.raises(NodeError, match="damaged"):
        Builders(tmp_path)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "a",
        "http://a",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://-l@a",
        "ssh://a/b",
        "tcp://a:1",
    ],
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(NodeError):
        make_node(endpoint)


def test_how_ssh_is_called() -> None:
    node = make_node("ssh://me@host:2222", command="/opt/lading")
    command = ssh_command(node, {})
    assert command[0] == "ssh"
    assert command[-9:] == [
        *("-l", "me", "-p", "2222", "--", "host", "/opt/lading", "builder", "dial-stdio")
    ]
    assert ssh_command(node, {"LADING_SSH": "my ssh -v"})[:3] == ["my", "ssh", "-v"]


def test_nodes_that_cannot_be_reached_are_passed_over() -> None:
    asked: list[str] = []

    def platforms_of(node: Node) -> tuple[str, ...]:
        asked.append(node.endpoint)
        if node.endpoint != "up":
            raise ChannelError("no answer", where=node.endpoint)
        return ("linux/amd64",)

    farm = Builder("farm", (Node("down"), Node("up"), Node("set up", ("linux/amd64",))))
    found = candidates(farm, AMD, platforms_of=platforms_of)
    assert next(found).endpoint == "set up"
    assert asked == [], "nobody is asked before it has to be"
    assert [node.endpoint for node in found] == ["up"]
    lost = candidates(Builder("farm", (Node("down"),)), AMD, platforms_of=platforms_of)
    with pytest.raises(ChannelError, match="down: no answer"):
        next(lost)


def chosen(platform: Platform, *nodes: Node, **able: tuple[str, ...]) -> str:
    known = lambda node: able[node.endpoint]  # noqa: E731
    return choose(Builder("farm", nodes), platform, platforms_of=known).endpoint


def test_the_node_that_was_set_up_for_it_comes_first() -> None:
    fixed = Node("fixed", ("linux/arm64",))
    amd, arm = Node("amd"), Node("arm")
    able = {
        "amd": ("linux/amd64", "linux/arm64"),
        "arm": ("linux/arm64", "linux/amd64"),
        "fixed": (),
    }
    assert chosen(ARM, amd, arm, fixed, **able) == "fixed"
    assert chosen(ARM, amd, arm, **able) == "arm", "its own platform is better than emulation"
    assert chosen(AMD, amd, arm, fixed, **able) == "amd"
    assert chosen(ARM, amd, **able) == "amd"
    assert chosen(RISCV, fixed, amd, arm, **able) == "amd", "there may be nothing to execute"
    with pytest.raises(NodeError, match="no node of the builder farm builds for linux/riscv64"):
        chosen(RISCV, fixed)
