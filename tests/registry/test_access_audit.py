"""The audit log: what is in it, that lines stay whole, what happens when it is moved or full."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from registry.access.audit import AuditLog
from registry.access.settings import AuditSettings
from registry.config import AccessSettings
from registry.errors import RegistryStartError
from tests.registry.access_kit import ask_token, basic, rule, token_for, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import digest_of


def events(path: Path) -> list[dict[str, Any]]:
    """Those that are whole: the last one may be on its way."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


async def written(path: Path, count: int) -> list[dict[str, Any]]:
    """The events, once there are so many."""
    async with asyncio.timeout(60):
        while len(found := await asyncio.to_thread(events, path)) < count:
            await asyncio.sleep(0.01)
    return found


async def test_what_is_done_and_refused_is_written_down(
    start: StartRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    users = users_file(tmp_path / "htpasswd", "ada", "bob")
    rules = (rule("a", "*", users=("ada",), name="ada's"), rule("a", "pull", users=("bob",)))
    settings = AccessSettings(users, rules=rules, audit=AuditSettings(path))
    client = await start(access=settings)
    assert (await client.send("GET", "/v2/a/manifests/1")).status == 401, "asking how is no event"
    client.headers.update(basic("ada"))
    raw = await client.push_image("a", "1")
    await client.send("GET", "/v2/a/manifests/1")
    await client.send("DELETE", "/v2/a/manifests/1")
    client.headers.clear()
    token = await token_for(client, "bob", "repository:a:pull,push")
    await client.send("PUT", "/v2/a/manifests/2", data=raw, headers=token)
    await ask_token(client, headers=basic("bob", "wrong"))
    await client.send("DELETE", "/v2/a/manifests/1", headers=basic("bob"))
    await client.send("GET", "/v2/a/manifests/1", headers=basic("eve"))
    found = await written(path, 8)
    blob, push, delete, grant, push_refused, no_token, delete_refused, stranger = found
    assert {event["address"] for event in found} == {"127.0.0.1"}
    assert len({event["request"] for event in found}) == 8
    assert (blob["event"], blob["what"], blob["digest"]) == ("push", "uploads", digest_of(b"{}"))
    assert push["who"] == "user:ada"
    assert push["digest"] == digest_of(raw)
    assert (push["repository"], push["reference"]) == ("a", "1")
    assert (push["status"], push["allowed"], push["rule"]) == (201, True, "ada's")
    assert (delete["event"], delete["reference"], delete["status"]) == ("delete", "1", 202)
    assert (grant["event"], grant["who"]) == ("token", "user:bob")
    assert (grant["scope"], grant["granted"]) == ("repository:a:pull,push", "repository:a:pull")
    assert (push_refused["who"], push_refused["allowed"]) == ("user:bob", False)
    assert push_refused["rule"] == "the token does not grant it"
    assert (no_token["who"], no_token["allowed"]) == ("unproven:bob", False)
    assert (delete_refused["status"], delete_refused["rule"]) == (403, "no rule allows it")
    assert (stranger["who"], stranger["status"]) == ("unproven:eve", 401)
    assert "wrong" not in path.read_text()
    assert token["Authorization"] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_pulls_where_they_are_wanted(start: StartRegistry, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    settings = AccessSettings(audit=AuditSettings(path, pulls=True))
    client = await start(access=settings)
    raw = await client.push_image("a", "1")
    await client.send("GET", "/v2/a/manifests/1")
    found = await written(path, 3)
    assert (found[-1]["event"], found[-1]["digest"]) == ("pull", digest_of(raw))
    assert found[-1]["who"] == "everybody"


async def test_names_cannot_forge_lines(start: StartRegistry, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    users = users_file(tmp_path / "htpasswd", "ada")
    client = await start(access=AccessSettings(users, audit=AuditSettings(path)))
    evil = 'x"}\n{"who"= "ada"'
    await ask_token(client, headers=basic(evil, "x"))
    (event,) = await written(path, 1)
    assert event["who"] == f"unproven:{evil}"
    assert event["allowed"] is False


def test_many_writers_of_one_file_keep_lines_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    logs = [AuditLog(path) for _ in range(4)]

    def write(log: AuditLog, number: int) -> None:
        for count in range(200):
            log.write({"log": number, "count": count, "filler": "é" * 300})

    threads = [threading.Thread(target=write, args=(log, n)) for n, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    found = events(path)
    assert len(found) == 800
    for number in range(4):
        assert [e["count"] for e in found if e["log"] == number] == list(range(200))


def test_a_rotated_file_is_let_go_of(tmp_path: Path) -> None:
    path, moved = tmp_path / "audit.log", tmp_path / "audit.log.1"
    log = AuditLog(path, clock=lambda: 0.0)
    log.write({"event": "first"})
    os.rename(path, moved)
    log.reopen()
    log.write({"event": "second"})
    log.close()
    both = [event["event"] for file in (moved, path) for event in events(file)]
    assert both == ["first", "second"]
    assert events(path)[-1]["time"] == "1970-01-01T00:00:00.000000Z"


def test_a_full_queue_is_confessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    held, entered = threading.Event(), threading.Event()
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        entered.set()
        held.wait(60)
        return real(descriptor, data)

    log = AuditLog(path, limit=2)
    monkeypatch.setattr("registry.access.audit.os.write", slow)
    log.write({"event": "0"})
    assert entered.wait(60)
    for number in range(1, 6):
        log.write({"event": str(number)})
    held.set()
    log.close()
    found = events(path)
    assert [event["event"] for event in found] == ["0", "lost", "1", "2"]
    assert found[1]["count"] == 3


def test_a_full_disk_is_told_once_and_later_in_the_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    faults_expected: None,
) -> None:
    path = tmp_path / "audit.log"
    real, full = os.write, True

    def write(descriptor: int, data: bytes) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr("registry.access.audit.os.write", write)
    log = AuditLog(path)
    for _ in range(3):
        log.write({"event": "lost one"})
    for _ in range(6000):
        if log._lost == 3:
            break
        threading.Event().wait(0.01)
    full = False
    log.write({"event": "after"})
    log.close()
    assert [event["event"] for event in events(path)] == ["lost", "after"]
    assert caplog.text.count("No space left") == 1


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RegistryStartError, match="audit log"):
        AuditLog(tmp_path / "none" / "audit.log")
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(RegistryStartError):
        AuditLog(tmp_path / "link")
