"""The trust service over HTTP: paths, rights, bodies and what clients are answered."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest

from engine.content_trust.server import multipart
from tests.registry.kit import Answer, Client
from tests.trust.tuf.kit import MANIFEST, key
from trust.tuf import limits
from trust.tuf.draft import Draft
from trust.tuf.keys import parse_key

BOUNDARY = "b0undary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def host_of(client: Client) -> str:
    return client.base.removeprefix("http://")


def tuf(client: Client, name: str = "", repository: str = "lib/app") -> str:
    return f"/v2/{host_of(client)}/{repository}/_trust/tuf/{name}"


async def first_upload(client: Client, repository: str = "lib/app") -> dict[str, bytes]:
    now = datetime.now(UTC)
    served = {}
    for role in ("timestamp", "snapshot"):
        answer = await client.send("GET", tuf(client, f"{role}.key", repository))
        served[role] = parse_key(answer.body, limit=limits.KEY)
    gun = f"{host_of(client)}/{repository}"
    from datetime import timedelta

    root = key("targets").certified(gun, start=now - timedelta(hours=1), end=now + timedelta(9))
    alice = key("alice")
    draft = Draft.new(gun, root=[root.key], targets=alice.key, **served, now=now)
    draft = draft.delegate("targets/releases", add=[alice.key])
    draft = draft.add_target("targets/releases", "latest", MANIFEST)
    ring = {signer.key.id: signer for signer in (root, alice)}
    return draft.sign(lambda public: ring.get(public.id), now=now)


async def post(client: Client, files: dict[str, bytes], repository: str = "lib/app") -> Answer:
    body = multipart(files, BOUNDARY)
    return await client.send("POST", tuf(client, "", repository), data=body, headers=FORM)


@pytest.fixture
async def published(client: Client) -> dict[str, bytes]:
    files = await first_upload(client)
    answer = await post(client, files)
    assert (answer.status, answer.body) == (200, b"")
    return files


async def test_what_was_published_is_served_by_name_hash_and_version(client, published):
    root = published["root"]
    names = ["root.json", "1.root.json"]
    names += [
        f"root.{hashlib.new(a, root).hexdigest()}.json" for a in ("sha256", "sha384", "sha512")
    ]
    for name in names:
        answer = await client.send("GET", tuf(client, name))
        assert (answer.status, answer.body) == (200, root), name
    releases = published["targets/releases"]
    name = f"targets/releases.{hashlib.sha256(releases).hexdigest()}.json"
    assert (await client.send("GET", tuf(client, name))).body == releases
    for role in ("timestamp", "snapshot"):
        answer = await client.send("GET", tuf(client, f"{role}.json"))
        assert answer.json["signed"]["version"] == 1


async def test_a_whole_set_is_served_to_our_own_client(client, published):
    assert "Lading-Trust-Set" in (await client.send("GET", tuf(client, "root.json"))).headers
    path = f"/v2/{host_of(client)}/lib/app/_trust/lading/set"
    found = (await client.send("GET", path)).json
    assert set(found) == {"timestamp", "snapshot", "targets", "targets/releases"}
    for role in ("targets", "targets/releases"):
        assert found[role].encode() == published[role]
    assert (await client.send("GET", path.replace("app", "none"))).status == 404


async def test_immutable_names_may_be_cached_and_current_ones_not(client, published):
    hashed = hashlib.sha256(published["root"]).hexdigest()
    for name, word in (
        (f"root.{hashed}.json", "immutable"),
        ("1.root.json", "immutable"),
        ("root.json", "no-cache"),
    ):
        assert word in (await client.send("GET", tuf(client, name))).headers["Cache-Control"]


async def test_a_repository_without_trust_data_is_404(client):
    answer = await client.send("GET", tuf(client, "root.json"))
    assert (answer.status, answer.code) == (404, "METADATA_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/{host}/lib/app/_trust/tuf/nothing.json", 404, "METADATA_NOT_FOUND"),
        ("GET", "/v2/{host}/lib/app/_trust/tuf/targets/a.b.json", 404, "METADATA_NOT_FOUND"),
        ("GET", "/v2/{host}/lib/app/_trust/tuf/targets.key", 404, "METADATA_NOT_FOUND"),
        ("GET", "/v2/{host}/lib/app/_trust/tuf/root.0000.json", 404, "METADATA_NOT_FOUND"),
        ("GET", "/v2/{host}/lib/app/_trust/else", 404, "GENERIC_NOT_FOUND"),
        ("PUT", "/v2/{host}/lib/app/_trust/tuf/root.json", 404, "GENERIC_NOT_FOUND"),
        ("GET", "/v2/{host}/lib/app/_trust/tuf/", 404, "GENERIC_NOT_FOUND"),
        ("GET", "/v2/{host}/../app/_trust/tuf/root.json", 400, "NAME_INVALID"),
        ("GET", "/v2/{host}/lib%2fapp/_trust/tuf/root.json", 400, "INVALID_GUN"),
        ("GET", "/v2/{host}/lib%00app/_trust/tuf/root.json", 400, "INVALID_GUN"),
        ("GET", "/v2/{host}/LIB/_trust/tuf/root.json", 400, "INVALID_GUN"),
        ("GET", "/v2/other.example.com/lib/app/_trust/tuf/root.json", 400, "NAME_INVALID"),
        ("GET", "/v2/lib/app/_trust/tuf/root.json", 400, "NAME_INVALID"),
        ("GET", "/v2/{host}/lib/app/_trust/changefeed", 400, "INVALID_PARAMETERS"),
        ("GET", "/v2/{host}/lib/app/_trust/changefeed?records=x", 400, "INVALID_PARAMETERS"),
        (
            "GET",
            "/v2/{host}/lib/app/_trust/changefeed?records=1&change_id=a",
            400,
            "INVALID_PARAMETERS",
        ),
    ],
)
async def test_refusals_have_notarys_codes(client, method, path, status, code):
    answer = await client.send(method, path.format(host=host_of(client)))
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"{}", {"Content-Type": "application/json"}, "MALFORMED_UPLOAD"),
        (b"", FORM, "MALFORMED_UPLOAD"),
        (b"--b0undary--\r\n", FORM, "MALFORMED_UPLOAD"),
        (multipart({"root": b"{}"}, BOUNDARY)[:-9], FORM, "MALFORMED_UPLOAD"),
        (multipart({"root": b"{}"}, "another"), FORM, "MALFORMED_UPLOAD"),
        (multipart({"": b"{}"}, BOUNDARY), FORM, "NO_FILENAME"),
        (
            multipart({"root": b"{}"}, BOUNDARY).replace(b"; filename=", b"; other="),
            FORM,
            "NO_FILENAME",
        ),
        (multipart({"../root": b"{}"}, BOUNDARY), FORM, "INVALID_ROLE"),
        (multipart({"targets/../root": b"{}"}, BOUNDARY), FORM, "INVALID_ROLE"),
        (multipart({"root": b"not json"}, BOUNDARY), FORM, "MALFORMED_JSON"),
        (multipart({"root": b'{"signed":{}}'}, BOUNDARY), FORM, "MALFORMED_JSON"),
        (
            multipart({"root": b'{"signed":{"a":1,"a":2},"signatures":[]}'}, BOUNDARY),
            FORM,
            "MALFORMED_JSON",
        ),
        (
            multipart({"targets": b'{"signed":{},"signatures":[]}'}, BOUNDARY),
            FORM,
            "INVALID_UPDATE",
        ),
    ],
)
async def test_a_bad_upload_is_400_and_changes_nothing(client, body, headers, code):
    answer = await client.send("POST", tuf(client), data=body, headers=headers)
    assert (answer.status, answer.code) == (400, code)
    assert len(answer.body) < 1024
    assert (await client.send("GET", tuf(client, "root.json"))).status == 404


async def test_one_role_may_come_once(client, published):
    twice = multipart(published, BOUNDARY)[: -len(BOUNDARY) - 6] + multipart(published, BOUNDARY)
    answer = await client.send("POST", tuf(client), data=twice, headers=FORM)
    assert answer.code == "INVALID_ROLE"


async def test_file_names_may_end_in_json(client):
    files = {f"{role}.json": data for role, data in (await first_upload(client)).items()}
    assert (await post(client, files)).status == 200


async def test_a_broken_rule_names_notarys_error_once(client, published):
    answer = await post(client, {"targets/bob": published["targets/releases"]})
    (error,) = answer.json["errors"]
    assert error["code"] == "INVALID_UPDATE"
    assert error["detail"]["Name"] == "ErrBadTargets"
    assert error["detail"]["Error"]["Msg"]


async def test_publishing_again_is_an_old_version(client, published):
    assert (await post(client, published)).code == "VERSION"


async def test_deletion_answers_200_even_if_there_is_nothing(client, published):
    for _ in range(2):
        assert (await client.send("DELETE", tuf(client))).status == 200
    assert (await client.send("GET", tuf(client, "root.json"))).status == 404


async def test_the_changefeed_of_one_and_of_all(client, published):
    host = host_of(client)
    await post(client, await first_upload(client, "lib/other"), "lib/other")
    one = await client.send("GET", f"/v2/{host}/lib/app/_trust/changefeed?records=0")
    everything = await client.send("GET", "/v2/_trust/changefeed?records=-9&change_id=-1")
    (record,) = one.json["records"]
    assert one.json["count"] == 1
    assert record["GUN"] == f"{host}/lib/app"
    assert record["Category"] == "update"
    timestamp = (await client.send("GET", tuf(client, "timestamp.json"))).body
    assert record["SHA256"] == hashlib.sha256(timestamp).hexdigest()
    assert [r["GUN"] for r in everything.json["records"]] == [
        f"{host}/lib/app",
        f"{host}/lib/other",
    ]
    assert [type(r["ID"]) for r in everything.json["records"]] == [str, str]


async def test_health_needs_no_rights(start):
    client = await start(read_only=True)
    answer = await client.send("GET", "/_notary_server/health")
    assert (answer.status, json.loads(answer.body)) == (200, {})


async def test_a_read_only_registry_publishes_nothing(start):
    client = await start(read_only=True)
    answer = await client.send("GET", tuf(client, "timestamp.key"))
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert (await client.send("GET", tuf(client, "root.json"))).status == 404


async def test_a_repository_called_trust_is_a_repository(client):
    """Only the last marker segment counts, and image paths do not hold this one."""
    raw = await client.push_image("lib/_trust/app".replace("_trust", "trust"), "v1")
    assert (await client.send("GET", "/v2/lib/trust/app/manifests/v1")).body == raw
