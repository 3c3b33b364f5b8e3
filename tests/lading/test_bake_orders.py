"""Targets as orders: every attribute reaches the order or is refused, none is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.bake.model import ATTRIBUTES
from images.errors import ImagesError
from lading.actions.bake_orders import order_of
from records import replace
from tests.engine.bake.support import selection

SAID = {
    "annotations": '["a=b"]',
    "args": '{ A = "b" }',
    "attest": '["type=sbom"]',
    "cache-from": '["user/app:cache"]',
    "cache-to": '["type=local,dest=c"]',
    "context": '"sub"',
    "contexts": '{ a = "./a" }',
    "dockerfile": '"Other"',
    "dockerfile-inline": '"FROM scratch"',
    "entitlements": '["security.insecure"]',
    "extra-hosts": '{ db = "10.0.0.1" }',
    "labels": '{ a = "b" }',
    "network": '"none"',
    "no-cache": "true",
    "no-cache-filter": '["a"]',
    "output": '["type=oci,dest=x.tar"]',
    "platforms": '["linux/arm64"]',
    "policy": '[{ filename = "rules.toml" }]',
    "pull": "true",
    "resources": '{ memory = "1g" }',
    "secret": '["id=a,src=token"]',
    "shm-size": '"64m"',
    "ssh": '["default=/run/agent"]',
    "tags": '["a:1"]',
    "target": '"stage"',
    "ulimits": '["nofile=1:2"]',
}
ELSEWHERE = {"description", "inherits", "call"}
"""What is shown, resolved, or looked at before there is an order."""


def order(text: str):
    return order_of(selection(f'target "default" {{\n{text}\n}}', "default").targets["default"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "token").write_text("x")


def test_the_table_has_every_attribute() -> None:
    assert set(SAID) | ELSEWHERE == set(ATTRIBUTES)


@pytest.mark.parametrize("attribute", sorted(SAID))
def test_every_attribute_changes_the_order(attribute: str) -> None:
    assert order(f"{attribute} = {SAID[attribute]}") != order("")


def test_paths_are_below_the_context_and_inline_text_is_the_dockerfile() -> None:
    request = order('context = "sub"\ndockerfile = "d/Dockerfile"').request
    assert (request.context, request.dockerfile) == ("sub", "sub/d/Dockerfile")
    assert order('dockerfile-inline = "FROM scratch"').request.dockerfile == b"FROM scratch"
    assert order('dockerfile = "cwd://d/Dockerfile"\ncontext = "sub"').request.dockerfile == (
        "d/Dockerfile"
    )


def test_a_value_that_begins_like_a_flag_is_still_a_value() -> None:
    request = order('args = { A = "--no-cache" }\ncontext = "-x"\nlabels = { l = "a=b,c" }').request
    assert (request.build_args, request.context) == ({"A": "--no-cache"}, "-x")
    assert (request.no_cache, request.labels) == (False, {"l": "a=b,c"})


def test_what_is_only_a_context_of_others_is_not_named_and_goes_nowhere() -> None:
    target = selection(
        'target "default" {\n contexts = { b = "target:base" }\n}\n'
        'target "base" {\n tags = ["base"]\n output = ["type=local,dest=x"]\n}'
    ).targets["base"]
    made = order_of(target)
    assert (made.request.register, made.outputs) == (False, ())
    assert order_of(replace(target, linked=False)).request.register


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('policy = ["filename=p.rego"]', "p.rego is not in a language known here"),
        ('policy = ["reset=true"]', "not in a language known here"),
        ('policy = ["filename=p.toml,speed=1"]', "not in a language known here"),
        ('policy = ["filename=p.toml,strict=false"]', "not strict"),
        ('policy = ["filename=a.toml", "filename=b.toml"]', "has one policy"),
        ('context = "-"', "standard input"),
        ('dockerfile = "-"', "standard input"),
        ('dockerfile = "a"\ndockerfile-inline = "b"', "exclude one another"),
        ('cache-to = ["type=nope"]', "nope"),
        ('output = ["type=nope"]', "nope"),
        ('platforms = ["linux/nope/x/y"]', "linux/nope"),
        ('tags = ["UPPER"]', "UPPER"),
        ('attest = ["type=nope"]', "nope"),
        ('shm-size = "much"', "much"),
        ('annotations = ["nope:a=b"]', "nope"),
    ],
)
def test_what_cannot_be_is_refused_with_the_target(text: str, says: str) -> None:
    with pytest.raises(ImagesError, match=says) as caught:
        order(text)
    assert caught.value.__notes__ == ["in the target default (docker-bake.hcl:1)"]


def test_a_disabled_policy_is_no_policy() -> None:
    assert order('policy = ["disabled=true"]') == order("")
    assert order('policy = ["disabled=true", "filename=p.toml,strict=true"]').policy == "p.toml"


def test_agents_are_sockets_or_hold_keys() -> None:
    found = order('ssh = [{ id = "default", paths = ["a", "b"] }, "other=c"]')
    assert found.keys == {"default": ("a", "b"), "other": ("c",)}
    assert set(found.request.ssh) == {"default", "other"}
