"""Spans at a collector: of requests, in the client's trace, and of deliveries."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from registry.config import RegistryConfig
from registry.errors import RegistryConfigError, RegistryStartError
from registry.service import open_tracer
from registry.tracing.settings import TracingSettings
from tests.registry.events.receiving import Inbox, receiver
from tests.registry.events.test_service import push, webhook
from tests.registry.service_kit import call, service
from tests.waiting import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def tracing(collector: Inbox, **more: object) -> str:
    url = collector.url.replace("/hook", "/v1/traces")
    lines = [f'[tracing]\nendpoint = "{url}"', *(f"{key} = {value}" for key, value in more.items())]
    return "\n".join(lines) + "\n"


def spans(collector: Inbox) -> list[Any]:
    """What the collector was sent."""
    found = []
    for request in collector.requests:
        body = request.body
        raw = gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body
        for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def facts(span: Any) -> dict[str, Any]:
    return {it.key: it.value.string_value or it.value.int_value for it in span.attributes}


def test_requests_go_on_with_the_trace_of_their_client(tmp_path: Path) -> None:
    with receiver() as collector:
        with service(tmp_path, tracing(collector, sample=0)) as found:
            for flags in ("01", "00"):
                headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}", "X-Request-Id": "mine"}
                call(found.port, "GET", "/v2/app/manifests/1?secret=x", headers=headers)
            call(found.port, "GET", "/v2/")
            call(found.port, "GET", "/v2/", headers={"traceparent": "nonsense"})
        (span,) = spans(collector)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == "GET manifest"
    assert facts(span) == {
        "http.request.method": "GET",
        "url.path": "/v2/app/manifests/1",
        "client.address": "127.0.0.1",
        "http.response.status_code": 404,
        "lading.request_id": "mine",
    }


def test_deliveries_take_their_trace_along(tmp_path: Path) -> None:
    with receiver() as collector, receiver() as inbox:
        config = tracing(collector, sample=1, service='"depot"') + webhook(inbox, events='["tag"]')
        with service(tmp_path, config) as found:
            push(found, "app", "1")
            eventually(lambda: found.metric("events_delivered_total") == 1)
        names = {span.name: span for span in spans(collector)}
        assert "PUT manifest" in names
        span = names["deliver hook"]
        assert facts(span)["cloudevents.event_id"] == inbox.ids()[0]
        parent = f"00-{span.trace_id.hex()}-{span.span_id.hex()}-"
        assert inbox.requests[0].headers["traceparent"].startswith(parent)
        assert b"depot" in b"".join(request.body for request in collector.requests)


def test_a_collector_that_is_away_stops_nothing(tmp_path: Path) -> None:
    with receiver() as collector:
        config = tracing(collector, sample=1)
    with service(tmp_path, config) as found:
        push(found, "app", "1")
        assert call(found.port, "GET", "/v2/app/manifests/1")[0] == 200
    assert found.process.returncode == 0


def test_without_the_library_the_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "registry.tracing.tracer", None)
    assert open_tracer(RegistryConfig(tmp_path)) is None
    config = RegistryConfig(tmp_path, tracing=TracingSettings("http://127.0.0.1:1/"))
    with pytest.raises(RegistryStartError, match="OpenTelemetry") as caught:
        open_tracer(config)
    assert caught.value.fix == "install lading[tracing], or unset it"


@pytest.mark.parametrize("fields", [{"endpoint": "collector:4318"}, {"sample": 1.5}], ids=str)
def test_settings_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(RegistryConfigError):
        TracingSettings(**fields)
