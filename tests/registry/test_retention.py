"""Retention and immutable tags: what the rules select, keep and refuse."""

from __future__ import annotations

import pytest

from images.mediatype import OCI_MANIFEST
from registry.errors import RegistryConfigError
from registry.retention import Immutability, ImmutableRule, Retention, RetentionRule, TagRow
from tests.registry.conftest import StartRegistry
from tests.registry.kit import digest_of

NOW = 1000.0
OCI = {"Content-Type": OCI_MANIFEST}


def row(name: str, moved: int, *, used: int = 0, referenced: bool = False) -> TagRow:
    return TagRow(name, moved, moved, max(moved, used), referenced)


ROWS = [row("v1", 100), row("v2", 200, used=990), row("v3", 300), row("dev", 400)]


def doomed(*rules: RetentionRule, rows: list[TagRow] = ROWS, repository: str = "team/app") -> str:
    retention = Retention(rules, Immutability([ImmutableRule(tags="keep-*")]))
    return " ".join(retention.doomed(repository, rows, now=NOW))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RetentionRule(keep_last=2), "v1 v2"),
        (RetentionRule(keep_last=0), "dev v1 v2 v3"),
        (RetentionRule(tags="v*", keep_last=1), "v1 v2"),
        (RetentionRule(pushed_within=750), "v1 v2"),
        (RetentionRule(pulled_within=50), "dev v1 v3"),
        (RetentionRule(keep_last=1, pulled_within=50), "v1 v3"),
        (RetentionRule(repositories="other/**", keep_last=0), ""),
        (RetentionRule(repositories="team/*", tags="[d]*", keep_last=0), "dev"),
    ],
)
def test_rules(rule: RetentionRule, expected: str) -> None:
    assert doomed(rule) == expected


def test_one_rule_that_keeps_is_enough() -> None:
    assert doomed(RetentionRule(keep_last=0), RetentionRule(tags="v*", keep_last=2)) == "dev v1"


def test_referenced_and_immutable_tags_stay() -> None:
    rows = [row("child", 1, referenced=True), row("keep-1", 2), row("x", 3)]
    assert doomed(RetentionRule(keep_last=0), rows=rows) == "x"
    assert doomed(RetentionRule(keep_last=0, keep_referenced=False), rows=rows) == "child x"


def test_of_tags_that_moved_in_one_second_the_later_ones_stay() -> None:
    rows = [TagRow(name, 100, 100, 100, False, turn) for turn, name in enumerate("bdac", 1)]
    assert doomed(RetentionRule(keep_last=2), rows=rows) == "b d"


@pytest.mark.parametrize(
    "fields",
    [{}, {"keep_last": -1}, {"keep_last": 1, "repositories": "A"}, {"repositories": "{user}"}],
)
def test_rules_that_make_no_sense(fields: dict[str, object]) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        RetentionRule(**fields)  # type: ignore[arg-type]
    assert caught.value.what


async def test_20_no_way_around_an_immutable_tag(start: StartRegistry) -> None:
    """By tag, by digest with ?tag=, among mutable tags, `latest`, by DELETE of tag or digest."""
    rule = ImmutableRule(repositories="lib/**", tags="v*")
    client = await start(immutable=(rule, ImmutableRule("lib/**", "latest")))
    first = await client.push_image("lib/app", "v1", "latest", "dev")
    other = await client.push_image("lib/app", "dev", layers=[b"other"])
    put = "/v2/lib/app/manifests/"
    for path in (
        f"{put}v1",
        f"{put}latest",
        f"{put}{digest_of(other)}?tag=v1",
        f"{put}{digest_of(other)}?tag=new&tag=v1&tag=newer",
    ):
        answer = await client.send("PUT", path, data=other, headers=OCI)
        assert (answer.status, answer.code) == (403, "DENIED"), path
        assert "lib/**" in answer.json["errors"][0]["message"]
    for path in (f"{put}v1", f"{put}{digest_of(first)}"):
        answer = await client.send("DELETE", path)
        assert (answer.status, answer.code) == (403, "DENIED"), path
    tags = (await client.send("GET", "/v2/lib/app/tags/list")).json["tags"]
    assert tags == ["dev", "latest", "v1"], "a refused list of tags leaves none of them"
    for tag in ("v1", "latest"):
        answer = await client.send("GET", put + tag)
        assert answer.headers["Docker-Content-Digest"] == digest_of(first)
    again = await client.send("PUT", f"{put}v1", data=first, headers=OCI)
    assert again.status == 201, "the same content again is no move"


async def test_rules_hold_where_they_match(start: StartRegistry) -> None:
    client = await start(immutable=(ImmutableRule(repositories="lib/**", tags="v*"),))
    await client.push_image("lib", "v1")
    await client.push_image("lib", "v1", layers=[b"x"])
    await client.push_image("lib/app", "dev")
    await client.push_image("lib/app", "dev", layers=[b"x"])
    assert (await client.send("DELETE", "/v2/lib/manifests/v1")).status == 202
