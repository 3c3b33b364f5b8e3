"""Settings of tracing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from records import Record
from registry.configuration.declare import refuse
from registry.errors import RegistryConfigError


class TracingSettings(Record):
    """Spans of requests and webhooks, sent to an OpenTelemetry collector."""

    endpoint: Annotated[
        str | None, "OTLP/HTTP address, such as http://127.0.0.1:4318/v1/traces; unset traces none"
    ] = None
    service: Annotated[str, "Name of the service in traces"] = "lading-registry"
    sample: Annotated[float, "Share of requests that is traced unless their client says"] = 0.1

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if self.endpoint is not None:
            try:
                parts = urlsplit(self.endpoint)
                valid = parts.scheme in ("http", "https") and bool(parts.hostname)
            except ValueError:
                valid = False
            if not valid:
                yield RegistryConfigError(
                    "not a URL of http or https",
                    where="endpoint",
                    fix="write the whole address, such as http://127.0.0.1:4318/v1/traces",
                )
        if not 0 <= self.sample <= 1:
            yield RegistryConfigError("sample is a share, from 0 to 1", where="sample")
