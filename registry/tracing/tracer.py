"""Spans of requests and deliveries by OpenTelemetry's own library, sent as OTLP over HTTP.

A request goes on with the trace of its ``traceparent`` (W3C Trace Context) and by the decision in
it; another begins one, and ``sample`` decides. Spans are sent by a thread of the library from a
queue of bounded length: a collector that is slow or away costs spans, not requests. Paths are in
spans, queries and names of users are not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Final

from aiohttp import web
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from registry.attributes import REQUEST_ID
from registry.observe import kind_of
from registry.tracing.settings import TracingSettings

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Note = Callable[[str], None]

_EXPORT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 3.0
_PATH_LENGTH: Final = 2048
_SERVER_ERROR: Final = 500


class Tracer:
    """The traces of one process. Made after it was forked: it has a thread."""

    def __init__(self, settings: TracingSettings) -> None:
        self._exporter = OTLPSpanExporter(settings.endpoint, timeout=_EXPORT_SECONDS)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample)),
            resource=Resource({"service.name": settings.service, "process.pid": os.getpid()}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("lading.registry")
        self._context = TraceContextTextMapPropagator()

    def around(self, handle: Handle) -> Handle:
        """``handle`` with a span around each request."""

        async def traced(request: web.BaseRequest) -> web.StreamResponse:
            path = request.raw_path.partition("?")[0][:_PATH_LENGTH]
            # The names that OpenTelemetry's conventions for HTTP servers give.
            span = self._tracer.start_span(
                f"{request.method} {kind_of(path)}",
                context=self._context.extract(request.headers),
                kind=SpanKind.SERVER,
                attributes={
                    "http.request.method": request.method,
                    "url.path": path,
                    "client.address": request.remote or "",
                },
            )
            try:
                response = await handle(request)
                _finish(span, request, response)
            finally:
                span.end()
            return response

        return traced

    @contextmanager
    def delivery(
        self, webhook: str, event: str, headers: MutableMapping[str, str]
    ) -> Iterator[Note]:
        """A span around one attempt; ``headers`` take its traceparent along.

        What is yielded takes why the attempt failed, "" for success.
        """
        span = self._tracer.start_span(
            f"deliver {webhook}",
            kind=SpanKind.PRODUCER,
            attributes={"lading.webhook": webhook, "cloudevents.event_id": event},
        )
        self._context.inject(headers, set_span_in_context(span))

        def note(error: str) -> None:
            if error:
                span.set_status(StatusCode.ERROR, error)

        try:
            yield note
        finally:
            span.end()

    def close(self) -> None:
        """Send what is left, for a moment; blocks."""
        hurry = threading.Timer(_CLOSE_SECONDS, self._exporter.shutdown)
        hurry.start()
        try:
            self._provider.shutdown()
        finally:
            hurry.cancel()


def _finish(span: Span, request: web.BaseRequest, response: web.StreamResponse) -> None:
    span.set_attribute("http.response.status_code", response.status)
    span.set_attribute("lading.request_id", request.get(REQUEST_ID, ""))
    if response.status >= _SERVER_ERROR:
        span.set_status(StatusCode.ERROR)
