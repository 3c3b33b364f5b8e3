"""Changes of trust data, and who was refused them, are in the audit log; the service can be off."""

from __future__ import annotations

from pathlib import Path

from registry.access.settings import AuditSettings
from registry.config import AccessSettings
from registry.notary.settings import TrustSettings
from tests.registry.access_kit import basic, rule, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.notary.test_requests import first_upload, post, tuf
from tests.registry.test_access_audit import written


async def test_publishes_and_deletes_are_written_down(start: StartRegistry, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    users = users_file(tmp_path / "htpasswd", "ada", "bob")
    rules = (
        rule("lib/app", "*", users=("ada",), name="ada's"),
        rule("lib/app", "pull", users=("bob",)),
    )
    client = await start(access=AccessSettings(users, rules=rules, audit=AuditSettings(path)))
    client.headers.update(basic("ada"))
    files = await first_upload(client)
    assert (await post(client, files)).status == 200
    assert (await post(client, files)).status == 400
    assert (await client.send("GET", tuf(client, "root.json"))).status == 200
    assert (await client.send("POST", tuf(client, "snapshot.key"))).status == 200
    client.headers.clear()
    assert (await client.send("GET", tuf(client, "root.json"))).status == 401
    for method in ("POST", "DELETE"):
        answer = await client.send(method, tuf(client), headers=basic("bob"))
        assert answer.status in (401, 403)
    assert (await client.send("DELETE", tuf(client), headers=basic("ada"))).status == 200
    published, again, rotated, no_push, no_delete, deleted = await written(path, 6)
    assert published["event"] == "push"
    assert (published["what"], published["repository"]) == ("trust data", "lib/app")
    assert (published["who"], published["rule"]) == ("user:ada", "ada's")
    assert (published["allowed"], "reference" in published) == (True, False)
    assert (again["status"], again["allowed"], again["rule"]) == (400, False, "VERSION")
    assert (rotated["event"], rotated["reference"]) == ("delete", "snapshot.key")
    assert {no_push["who"], no_delete["who"]} == {"user:bob"}
    assert (no_push["event"], no_push["allowed"]) == ("push", False)
    assert (no_delete["event"], no_delete["allowed"]) == ("delete", False)
    assert (deleted["event"], deleted["allowed"]) == ("delete", True)
    assert len({event["request"] for event in (published, again, rotated, deleted)}) == 4


async def test_the_service_can_be_switched_off(start: StartRegistry) -> None:
    client = await start(trust=TrustSettings(enabled=False))
    for method, name in (("GET", "root.json"), ("GET", "snapshot.key"), ("POST", "")):
        answer = await client.send(method, tuf(client, name))
        assert answer.status == 404
        assert b"METADATA_NOT_FOUND" not in answer.body
    assert (await client.send("GET", "/_notary_server/health")).status == 404
    assert (await client.send("GET", "/v2/")).status == 200
