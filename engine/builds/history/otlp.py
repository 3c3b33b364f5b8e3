"""A build as a trace of OpenTelemetry, in the JSON encoding of OTLP 1.x: what Jaeger, Tempo and the
collector take in at ``/v1/traces`` or from a file.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ids are hexadecimal, 64-bit
numbers are text.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from engine.builds.history.document import COMPLETED, FAILED
from engine.builds.history.steps import steps_of, totals_of

if TYPE_CHECKING:
    from engine.builds.history.document import Document
    from engine.builds.history.steps import TracedStep

SERVICE: Final = "lading"
INTERNAL: Final = 1
"""The kind of a span that crosses no process."""
OK, ERROR = 1, 2
"""Codes of a span's status."""


def trace_of(*documents: Document) -> dict[str, Any]:
    """Builds as one request's body, each a trace: a span for the build, below it one a step.

    Ids follow from the build's reference, so that the same build is the same trace everywhere.
    """
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": SERVICE})},
                "scopeSpans": [{"scope": {"name": SERVICE}, "spans": _spans(document)}],
            }
            for document in documents
        ]
    }


def _spans(document: Document) -> list[dict[str, Any]]:
    steps = steps_of(document)
    started = document["started"]
    # Without an end, what runs or was killed ends with its latest step.
    ended = started + totals_of(document, steps).wall
    told = {
        "lading.build.ref": document["ref"],
        "lading.build.status": document["status"],
        "lading.build.digest": document.get("result", {}).get("digest", ""),
    }
    request = document["request"]
    told |= {f"lading.build.{key}": request.get(key, "") for key in ("context", "target")}
    told["lading.build.platforms"] = ",".join(request.get("platforms", ()))
    root = _span(document, None, f"build {document['name']}", started, ended) | {
        "attributes": _attributes(told),
        "status": _status(document["status"], document.get("error", {}).get("message", "")),
    }
    return [root, *(_step_span(document, step, ended) for step in steps)]


def _step_span(document: Document, step: TracedStep, ended: float) -> dict[str, Any]:
    told: dict[str, str | int | bool] = {
        "lading.step.number": step.number,
        "lading.step.outcome": step.outcome,
        "lading.step.cached": step.outcome == "cached",
        "lading.step.reason": step.reason,
        "lading.step.where": step.where,
        "lading.step.layer": step.layer,
    }
    if step.size is not None:
        told["lading.step.size"] = step.size
    span = _span(document, step, step.name, step.started, step.ended or ended)
    # What a step rests on is no parent of it in time: a link says so.
    links = [
        {"traceId": span["traceId"], "spanId": _span_id(document, number)} for number in step.inputs
    ]
    return span | {
        "parentSpanId": _span_id(document, None),
        "attributes": _attributes(told),
        "links": links,
        "status": _status(step.outcome, step.error),
    }


def _span(
    document: Document, step: TracedStep | None, name: str, started: float, ended: float
) -> dict[str, Any]:
    return {
        "traceId": _hash(document["ref"], 32),
        "spanId": _span_id(document, None if step is None else step.number),
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": _nanoseconds(started),
        "endTimeUnixNano": _nanoseconds(max(started, ended)),
    }


def _status(outcome: str, message: str) -> dict[str, Any]:
    if outcome in (COMPLETED, "executed", "cached"):
        return {"code": OK}
    return {"code": ERROR, "message": message if outcome == FAILED and message else outcome}


def _attributes(values: dict[str, str | int | bool]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value != ""]


def _value(value: str | int | bool) -> dict[str, Any]:  # noqa: FBT001 - any scalar
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _nanoseconds(seconds: float) -> str:
    # A float has no nanoseconds at this size, so microseconds are what there is.
    return str(round(seconds * 1_000_000) * 1000)


def _span_id(document: Document, number: int | None) -> str:
    return _hash(f"{document['ref']} {'build' if number is None else number}", 16)


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
