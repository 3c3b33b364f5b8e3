"""If-Match and If-None-Match: a tag is read, changed and written back, and nobody is overwritten.

RFC 9110, section 13; the codes are ours, as the specification names none.
"""

from __future__ import annotations

import asyncio

import pytest

from images.mediatype import OCI_INDEX, OCI_MANIFEST
from tests.registry import kit
from tests.registry.contract import holds
from tests.registry.kit import Answer, Client, digest_of

D = digest_of
OLD, NEW = kit.manifest(annotations={"v": "old"}), kit.manifest(annotations={"v": "new"})
TAG = "/v2/a/manifests/t"


@pytest.fixture
async def tagged(client: Client) -> Client:
    """A registry where the tag ``t`` of ``a`` is the old manifest."""
    await client.push_blob("a", b"{}")
    await client.push_manifest("a", OLD, "t")
    return client


async def put(client: Client, path: str, raw: bytes, **conditions: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    return await client.send(
        "PUT", path, data=raw, headers={"Content-Type": OCI_MANIFEST, **headers}
    )


def quoted(raw: bytes) -> str:
    return f'"{D(raw)}"'


HOLD = [
    {"If_Match": quoted(OLD)},
    {"If_Match": D(OLD)},
    {"If_Match": "*"},
    {"If_Match": f'"x", {quoted(OLD)}'},
    {"If_None_Match": quoted(NEW)},
    {"If_Match": quoted(OLD), "If_None_Match": quoted(NEW)},
]
FAIL = [
    {"If_Match": quoted(NEW)},
    {"If_Match": "W/" + quoted(OLD)},
    {"If_Match": ""},
    {"If_None_Match": "*"},
    {"If_None_Match": quoted(OLD)},
    {"If_None_Match": "W/" + quoted(OLD)},
    {"If_Match": "*", "If_None_Match": "*"},
]


@pytest.mark.parametrize("conditions", HOLD, ids=str)
async def test_a_put_goes_ahead_when_its_conditions_hold(
    tagged: Client, conditions: dict[str, str]
) -> None:
    answer = await put(tagged, TAG, NEW, **conditions)
    assert (answer.status, answer.headers["ETag"]) == (201, quoted(NEW))
    assert (await tagged.send("GET", TAG)).body == NEW


@pytest.mark.parametrize("conditions", FAIL, ids=str)
async def test_a_put_whose_conditions_fail_changes_nothing(
    tagged: Client, conditions: dict[str, str]
) -> None:
    answer = await put(tagged, TAG, NEW, **conditions)
    assert (answer.status, answer.code) == (412, "PRECONDITION_FAILED")
    assert answer.headers["ETag"] == quoted(OLD)
    assert (await tagged.send("GET", TAG)).body == OLD
    assert (await tagged.send("GET", f"/v2/a/manifests/{D(NEW)}")).status == 404


async def test_conditions_of_a_tag_that_is_not_there(tagged: Client) -> None:
    path = "/v2/a/manifests/new"
    assert (await put(tagged, path, NEW, If_Match="*")).status == 412
    assert (await put(tagged, path, NEW, If_Match=quoted(NEW))).status == 412
    assert "ETag" not in (await put(tagged, path, NEW, If_Match="*")).headers
    assert (await put(tagged, path, NEW, If_None_Match="*")).status == 201
    assert (await put(tagged, path, NEW, If_None_Match="*")).status == 412


async def test_conditions_in_a_repository_that_is_not_there(client: Client) -> None:
    answer = await client.send(
        "PUT",
        "/v2/fresh/manifests/t",
        data=kit.index(),
        headers={"If-Match": "*", "Content-Type": OCI_INDEX},
    )
    assert answer.status == 412
    assert (await client.send("GET", "/v2/_catalog")).json == {"repositories": []}


async def test_a_put_by_digest_is_judged_by_its_digest(tagged: Client) -> None:
    path = f"/v2/a/manifests/{D(NEW)}?tag=t"
    assert (await put(tagged, path, NEW, If_Match="*")).status == 412
    assert (await tagged.send("GET", TAG)).body == OLD
    assert (await put(tagged, path, NEW, If_None_Match="*")).status == 201
    assert (await tagged.send("GET", TAG)).body == NEW
    assert (await put(tagged, path, NEW, If_Match=quoted(NEW))).status == 201


@pytest.mark.parametrize("conditions", HOLD[:3], ids=str)
@pytest.mark.parametrize("path", [TAG, f"/v2/a/manifests/{D(OLD)}"])
async def test_a_delete_goes_ahead_when_its_conditions_hold(
    tagged: Client, path: str, conditions: dict[str, str]
) -> None:
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    assert (await tagged.send("DELETE", path, headers=headers)).status == 202
    assert (await tagged.send("GET", path)).status == 404


@pytest.mark.parametrize("path", [TAG, f"/v2/a/manifests/{D(OLD)}"])
@pytest.mark.parametrize("conditions", FAIL, ids=str)
async def test_a_delete_whose_conditions_fail_changes_nothing(
    tagged: Client, path: str, conditions: dict[str, str]
) -> None:
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    answer = await tagged.send("DELETE", path, headers=headers)
    assert (answer.status, answer.code) == (412, "PRECONDITION_FAILED")
    assert (await tagged.send("GET", TAG)).body == OLD


async def test_what_fails_anyhow_says_why(tagged: Client) -> None:
    """RFC 9110, section 13.2.1: conditions count only where the request would succeed."""
    never = {"If-Match": quoted(NEW)}
    assert (await tagged.send("DELETE", "/v2/a/manifests/none", headers=never)).status == 404
    missing = kit.manifest(layers=[b"never pushed"])
    assert (await put(tagged, TAG, missing, If_Match="x")).code == "MANIFEST_BLOB_UNKNOWN"
    assert (await put(tagged, TAG, b"no json", If_Match="x")).code == "MANIFEST_INVALID"


@pytest.mark.parametrize("path", [TAG, f"/v2/a/blobs/{D(b'{}')}"])
async def test_reads_under_conditions(tagged: Client, path: str) -> None:
    etag = (await tagged.send("GET", path)).headers["ETag"]
    for _ in range(2):
        for method in ("GET", "HEAD"):
            for match, status in [(etag, 200), ("*", 200), ('"x"', 412), (f"W/{etag}", 412)]:
                answer = await tagged.send(method, path, headers={"If-Match": match})
                assert answer.status == status, match
            answer = await tagged.send(method, path, headers={"If-None-Match": f'"x", W/{etag}'})
            assert (answer.status, answer.headers["ETag"], answer.body) == (304, etag, b"")


@holds("A conditional write replaces what its client read.")
async def test_one_of_many_writers_wins_each_round(tagged: Client) -> None:
    before = quoted(OLD)
    for number in range(5):
        raws = [kit.manifest(annotations={"n": f"{number}.{n}"}) for n in range(8)]
        answers = await asyncio.gather(*(put(tagged, TAG, raw, If_Match=before) for raw in raws))
        assert sorted(answer.status for answer in answers) == [201] + [412] * 7
        (won,) = [raw for raw, answer in zip(raws, answers, strict=True) if answer.status == 201]
        assert (await tagged.send("GET", TAG)).body == won
        before = quoted(won)
