"""Bytes and numbers of webhooks: CloudEvents, signatures, waiting, settings."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from registry.errors import RegistryConfigError
from registry.events.backoff import LONGEST_PAUSE, delay, retry_after
from registry.events.cloudevents import envelope, event_id, request
from registry.events.settings import (
    EventMode,
    EventSettings,
    HeaderSettings,
    WebhookSettings,
    webhook_problems,
)
from registry.events.signing import read_secrets, sign
from registry.outbox import Change, Event

LOADED = """
import sys
import registry.serve, registry.worker
rooms = ("registry.events.", "registry.tracing.", "opentelemetry.")
print(sorted(name for name in sys.modules if name.startswith(rooms)))
"""

EVENT = Event(7, Change.TAG, "team/app", "sha256:ab", "1", "", "", "user:ada", 1000)


def test_a_registry_without_webhooks_loads_none_of_it() -> None:
    argv = [sys.executable, "-c", LOADED]
    assert (
        subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        == str(["registry.events.front", "registry.events.settings", "registry.tracing.settings"])
        + "\n"
    )


def test_what_is_unknown_is_left_out() -> None:
    document = json.loads(envelope(EVENT, "https://r.example.com", None).body)
    assert document["time"] == "1970-01-01T00:16:40Z"
    assert document["data"] == {
        "repository": "team/app",
        "tag": "1",
        "digest": "sha256:ab",
        "actor": "user:ada",
        "url": "https://r.example.com/v2/team/app/manifests/sha256:ab",
    }


def test_a_push_names_its_subject_and_type() -> None:
    event = dataclasses.replace(
        EVENT, change=Change.MANIFEST, tag="", previous="sha256:cd", artifact_type="a/sbom"
    )
    data = json.loads(envelope(event, "https://r", None).body)["data"]
    assert (data["subject"], data["artifactType"], "previous" in data) == (
        "sha256:cd",
        "a/sbom",
        False,
    )


@pytest.mark.parametrize(
    "change",
    [{"id": 8}, {"moment": 1001}, {"repository": "x"}, {"actor": ""}, {"change": Change.UNTAG}],
    ids=str,
)
def test_other_events_have_other_ids(change: dict[str, Any]) -> None:
    assert event_id(EVENT) == event_id(dataclasses.replace(EVENT))
    assert event_id(EVENT) != event_id(dataclasses.replace(EVENT, **change))


def test_both_modes_say_the_same() -> None:
    body = envelope(EVENT, "https://r.example.com/a b%ü", None).body
    headers, same = request(body, EventMode.STRUCTURED)
    assert (headers["Content-Type"], same) == ("application/cloudevents+json; charset=utf-8", body)
    headers, data = request(body, EventMode.BINARY)
    taken = {name[3:]: unquote(value) for name, value in headers.items() if name[:3] == "ce-"}
    taken |= {"datacontenttype": headers["Content-Type"], "data": json.loads(data)}
    assert taken == json.loads(body)
    assert all(value.isascii() and " " not in value for value in headers.values())


def test_a_signature_of_the_standards_own_example() -> None:
    """The vector of the Standard Webhooks specification's reference libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no secret"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "has whsec_"),
        ("whsec_AAAA", "24 to 64 bytes"),
        ("whsec_!", "not base64"),
        ("ü", "not ASCII"),
        ("x" * 5000, "longer"),
    ],
)
def test_bad_secrets_are_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(RegistryConfigError, match=why):
        read_secrets(path)


def test_waiting_doubles_up_to_an_hour_and_is_jittered() -> None:
    assert [delay(number, lambda: 0.0) for number in (1, 2, 3, 12, 13, 999)] == [
        *(1.0, 2.0, 4.0, 2048.0),
        *(3600.0, 3600.0),
    ]
    assert delay(2, lambda: 0.999999) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("120", 120.0),
        ("99999999999999", LONGEST_PAUSE),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("٣", 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, now=10.0) == seconds


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": "A b"}, "name"),
        ({"url": "ftp://r.example.com"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://r.example.com:x/"}, "url"),
        ({"url": "https://r.example.com/a#b"}, "url"),
        ({"url": "https://ada:secret@r.example.com"}, "url"),
        ({"url": "http://r.example.com"}, "url"),
        ({"url": "http://127.0.0.1.example.com"}, "url"),
        ({"repositories": ("a/[",)}, "repositories"),
        ({"repositories": ()}, "repositories"),
        ({"events": ()}, "events"),
        ({"attempts": 0}, "attempts"),
        ({"timeout": -1.0}, "timeout"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        WebhookSettings(**{"name": "hook", "url": "https://r.example.com", **fields})
    assert caught.value.where == where


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/a", "http://[::1]/", "http://localhost/x", "https://r/a?b=c"]
)
def test_urls_that_are_good(url: str) -> None:
    assert WebhookSettings("hook", url).url == url
    assert WebhookSettings("hook", "http://r.example.com", insecure=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a b", "value": "x"},
        {"name": "Webhook-Id", "value": "x"},
        {"name": "content-length", "value": "x"},
        {"name": "X-A"},
        {"name": "X-A", "value": "x", "file": Path("y")},
        {"name": "X-A", "value": "x\r\nX-B: y"},
    ],
    ids=str,
)
def test_headers_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(RegistryConfigError):
        HeaderSettings(**fields)


def test_webhooks_have_names_of_their_own_and_files_that_are_there() -> None:
    one = WebhookSettings("hook", "https://r.example.com")
    two = dataclasses.replace(one, ca=Path("/missing"), secret_file=Path("/missing"))
    found = [problem.where for problem in webhook_problems([one, two])]
    assert found == ["webhook[1].name", "webhook[1].secret_file", "webhook[1].ca"]
    with pytest.raises(RegistryConfigError):
        EventSettings(source="registry.example.com")
