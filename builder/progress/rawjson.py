"""Progress for programs: one JSON object a line, in the shape of BuildKit's status messages.

Each line has ``vertexes``, ``logs`` or ``warnings``; a log's ``data`` is base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, TextIO

from builder.dates import timestamp
from builder.progress.events import (
    Event,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexOutput,
    VertexStarted,
    WarningRaised,
)


class RawJsonProgress:
    """Writes to ``out``, and flushes after each event."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._vertexes: dict[int, dict[str, Any]] = {}

    def emit(self, event: Event) -> None:
        """Write one line."""
        match event:
            case VertexStarted(vertex=vertex, name=name, time=time, reason=reason):
                told = {"reason": reason} if reason else {}
                self._vertex(vertex, name=name, started=timestamp(time), **told)
            case VertexCached(vertex=vertex, name=name, time=time):
                now = timestamp(time)
                self._vertex(vertex, name=name, started=now, completed=now, cached=True)
            case VertexDone(vertex=vertex, time=time):
                self._vertex(vertex, completed=timestamp(time))
            case VertexFailed(vertex=vertex, message=message, time=time, cancelled=cancelled):
                error = f"context canceled: {message}" if cancelled else message
                self._vertex(vertex, completed=timestamp(time), error=error)
            case VertexOutput(vertex=vertex, stream=stream, data=data, time=time):
                log = {
                    "vertex": self._vertexes[vertex]["digest"],
                    "stream": stream,
                    "data": base64.b64encode(data).decode(),
                    "timestamp": timestamp(time),
                }
                self._write({"logs": [log]})
            case WarningRaised(message=message, where=where):
                short = base64.b64encode(message.encode()).decode()
                self._write({"warnings": [{"level": 1, "short": short, "where": where}]})

    def close(self) -> None:
        """Nothing is left to write."""

    def _vertex(self, vertex: int, **fields: Any) -> None:
        known = self._vertexes.setdefault(vertex, {"digest": "", "number": vertex})
        known.update(fields)
        if not known["digest"]:
            identity = f"{vertex} {known['name']}".encode("utf-8", "replace")
            known["digest"] = "sha256:" + hashlib.sha256(identity).hexdigest()
        self._write({"vertexes": [known]})

    def _write(self, document: dict[str, Any]) -> None:
        self._out.write(json.dumps(document) + "\n")
        self._out.flush()
