"""Events of a real registry at a real receiver: what is sent, and what outlives a kill."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.ports import free_port
from tests.registry.events.receiving import Inbox, receiver
from tests.registry.kit import digest_of, manifest
from tests.registry.service_kit import PROJECT, Service, call, service
from tests.registry.test_reload import reload
from tests.waiting import eventually

OCI = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}


def webhook(inbox: Inbox | int, name: str = "hook", **more: object) -> str:
    """A webhook as TOML."""
    url = inbox.url if isinstance(inbox, Inbox) else f"http://127.0.0.1:{inbox}/hook"
    lines = [f'[[webhook]]\nname = "{name}"\nurl = "{url}"']
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in more.items())]) + "\n"


def push(found: Service, repository: str, tag: str, content: bytes = b"{}") -> str:
    """Push a small image; returns its digest."""
    path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}"
    assert call(found.port, "POST", path, content)[0] == 201
    raw = manifest(config=content)
    assert call(found.port, "PUT", f"/v2/{repository}/manifests/{tag}", raw, OCI)[0] == 201
    return digest_of(raw)


def refused(found: Service) -> None:
    """SIGHUP, and wait until each worker has refused it: who is late would read the next file."""
    expected = found.metric("reload_failures_total") + len(found.workers())
    found.signal(signal.SIGHUP)
    eventually(lambda: found.metric("reload_failures_total") >= expected)


def test_every_change_is_told_in_order(tmp_path: Path) -> None:
    with receiver() as inbox:
        config = '[events]\nsource = "https://registry.example.com/"\n' + webhook(inbox)
        with service(tmp_path, config) as found:
            first, second = push(found, "team/app", "1"), push(found, "team/app", "1", b"{ }")
            assert call(found.port, "DELETE", "/v2/team/app/manifests/1")[0] == 202
            assert call(found.port, "DELETE", f"/v2/team/app/manifests/{first}")[0] == 202
            eventually(lambda: len(inbox.requests) >= 6)
    events = [it.event for it in inbox.requests]
    assert [(it["type"].removeprefix("dev.lading.registry."), it["subject"]) for it in events] == [
        ("manifest.pushed", f"team/app@{first}"),
        ("tag.set", "team/app:1"),
        ("manifest.pushed", f"team/app@{second}"),
        ("tag.set", "team/app:1"),
        ("tag.removed", "team/app:1"),
        ("manifest.deleted", f"team/app@{first}"),
    ]
    assert events[3]["source"] == "https://registry.example.com"
    assert events[3]["data"] == {
        "repository": "team/app",
        "tag": "1",
        "digest": second,
        "previous": first,
        "mediaType": OCI["Content-Type"],
        "size": len(manifest(config=b"{ }")),
        "url": f"https://registry.example.com/v2/team/app/manifests/{second}",
    }
    assert sorted(it["sequence"] for it in events) == [it["sequence"] for it in events]
    assert [it["id"] for it in events] == inbox.ids()
    assert len(set(inbox.ids())) == 6
    assert {it["specversion"] for it in events} == {"1.0"}
    assert inbox.requests[0].headers["content-type"].startswith("application/cloudevents+json")


def test_a_binary_event_is_signed_and_has_its_headers(tmp_path: Path) -> None:
    secrets = [os.urandom(32), os.urandom(24)]
    (tmp_path / "secret").write_text(
        "".join(f"whsec_{base64.b64encode(secret).decode()}\n" for secret in secrets)
    )
    (tmp_path / "token").write_text("Bearer of good news\n")
    with receiver() as inbox:
        config = webhook(
            inbox,
            mode='"binary"',
            events='["tag"]',
            repositories='["team/*"]',
            secret_file='"secret"',
            headers='[{name = "Authorization", file = "token"}, {name = "X-Team", value = "a"}]',
        )
        with service(tmp_path, config, workers=1) as found:
            push(found, "other/app", "1")
            digest = push(found, "team/app", "1")
            eventually(lambda: inbox.requests)
        (request,) = inbox.requests
    headers = request.headers
    assert headers["ce-type"] == "dev.lading.registry.tag.set"
    assert headers["ce-subject"] == "team/app:1"
    assert headers["content-type"] == "application/json"
    assert request.event["digest"] == digest
    assert (headers["authorization"], headers["x-team"]) == ("Bearer of good news", "a")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    made = [hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets]
    expected = " ".join("v1," + base64.b64encode(code).decode() for code in made)
    assert headers["webhook-signature"] == expected
    assert headers["ce-id"] == headers["webhook-id"]


def test_events_outlive_a_kill_and_a_receiver_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    config = webhook(port, events='["tag"]')
    with service(tmp_path, config) as found:
        push(found, "app", "1")
        for pid in found.workers():
            os.kill(pid, signal.SIGKILL)
        found.process.kill()
    with service(tmp_path, config) as found:
        push(found, "app", "2", b"{ }")
        with receiver(port) as inbox:
            eventually(lambda: inbox.subjects() == ["app:1", "app:2"])


def test_a_process_that_is_killed_while_it_delivers_loses_nothing(tmp_path: Path) -> None:
    """The receiver kills every worker from within its first answers: at least once, in order."""
    config = {"events": '["tag"]', "timeout": '"4m"'}
    pushed = threading.Event()
    with receiver() as inbox, service(tmp_path, webhook(inbox, **config)) as found:

        def kill(_: object) -> tuple[int, dict[str, str]]:
            # Not while the test pushes: its own requests are not what is to break off.
            assert pushed.wait(200)
            if len(inbox.requests) in (1, 3):
                for pid in found.workers():
                    os.kill(pid, signal.SIGKILL)
            return 204, {}

        inbox.reply = kill
        for number in range(5):
            push(found, "app", str(number), b"{}" + b" " * number)
        pushed.set()
        eventually(lambda: "app:4" in inbox.subjects())
    seen = inbox.subjects()
    assert list(dict.fromkeys(seen)) == [f"app:{number}" for number in range(5)]
    assert len(seen) > 5, "what was answered while its sender was killed came again"
    assert len(set(inbox.ids())) == 5, "an event keeps its id over repetitions"


def test_a_reload_brings_webhooks_and_ends_them(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    with receiver() as inbox, service(tmp_path) as found:
        push(found, "app", "0")
        without = file.read_text()
        file.write_text(without + webhook(inbox, events='["tag"]'))
        reload(found)
        push(found, "app", "1")
        eventually(lambda: inbox.subjects() == ["app:1"])
        file.write_text(without + webhook(inbox, events='["tag"]', ca='"missing.pem"'))
        reload(found, good=False)
        push(found, "app", "2")
        eventually(lambda: inbox.subjects() == ["app:1", "app:2"])
        file.write_text(without)
        reload(found)
        push(found, "app", "3")
        file.write_text(without + webhook(inbox, events='["tag"]'))
        reload(found)
        push(found, "app", "4")
        eventually(lambda: inbox.subjects()[-1] == "app:4")
        assert "app:3" not in inbox.subjects()


def test_a_damaged_queue_or_secret_is_refused_and_the_registry_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    with receiver() as inbox, service(tmp_path) as found:
        without = file.read_text()
        queue = tmp_path / "store" / "events.db"
        queue.write_bytes(b"no database" * 400)
        file.write_text(without + webhook(inbox))
        refused(found)
        # A worker's log is written by a thread, after what it counts.
        eventually(lambda: "cannot open the queue of events" in found.logged())
        assert found.metric("events_readable") == 0
        queue.unlink()
        secret = tmp_path / "secret"
        secret.write_text("guess me")
        file.write_text(without + webhook(inbox, secret_file='"secret"'))
        refused(found)
        eventually(lambda: "secret: a line is not base64" in found.logged())
        assert "guess me" not in found.logged()
        checked = subprocess.run(
            [sys.executable, "-m", "lading", "registry", "config", "check", str(file)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 1
        assert "a line is not base64; make one: echo" in checked.stderr
        push(found, "app", "1")
        secret.write_text("whsec_" + base64.b64encode(os.urandom(32)).decode())
        reload(found)
        push(found, "app", "2")
        eventually(lambda: "app:2" in inbox.subjects())
