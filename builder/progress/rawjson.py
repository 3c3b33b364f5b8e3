"""Progress for programs: one JSON object a line, as ``buildx --progress=rawjson`` writes them.

Each line is a SolveStatus of BuildKit's client/graph.go with one of its lists: ``vertexes``,
``statuses``, ``logs`` or ``warnings``; bytes are base64, a digest names a vertex. Lading's own
are a vertex's ``number``, ``reason`` and ``where``, and a status ``layer`` that tells what a step
brought into the store; readers in Go pass over fields they do not know.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any, Final, TextIO

from builder.dates import timestamp
from builder.progress.events import (
    DefinitionRead,
    Event,
    LayerStored,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexOutput,
    VertexStarted,
    WarningRaised,
)

DEFINITION: Final = "[internal] load build definition from "
"""What stands before the file in the name of the step that reads it."""
LANGUAGE: Final = "Dockerfile"


class RawJsonProgress:
    """Writes to ``out``, and flushes after each event.

    ``run`` makes the digests of vertices differ between builds, as a reader of several may expect.
    """

    def __init__(self, out: TextIO, *, run: bytes | None = None) -> None:
        self._out = out
        self._run = os.urandom(16) if run is None else run
        self._vertexes: dict[int, dict[str, Any]] = {}
        self._files: dict[str, str] = {}
        """Dockerfiles by name, in base64,"""
        self._readers: dict[str, str] = {}
        """and the vertex that read each."""

    def emit(self, event: Event) -> None:
        """Write one line."""
        match event:
            case VertexStarted():
                self._begin(event, started=timestamp(event.time))
            case VertexCached(time=time):
                now = timestamp(time)
                self._begin(event, started=now, completed=now, cached=True)
            case VertexDone(vertex=vertex, time=time):
                self._vertex(vertex, completed=timestamp(time))
            case VertexFailed(vertex=vertex, message=message, time=time, cancelled=cancelled):
                error = f"context canceled: {message}" if cancelled else message
                self._vertex(vertex, completed=timestamp(time), error=error)
            case VertexOutput():
                self._log(event)
            case LayerStored():
                self._layer(event)
            case DefinitionRead(name=name, content=content):
                self._files[name] = base64.b64encode(content).decode()
            case WarningRaised():
                self._warning(event)

    def close(self) -> None:
        """Nothing is left to write."""

    def _begin(self, event: VertexStarted | VertexCached, **fields: Any) -> None:
        identity = f"{event.vertex} {event.name}".encode("utf-8", "replace")
        digest = "sha256:" + hashlib.sha256(self._run + identity).hexdigest()
        known: dict[str, Any] = {"digest": digest}
        inputs = [self._vertexes[it]["digest"] for it in event.inputs if it in self._vertexes]
        if inputs:
            known["inputs"] = inputs
        known["name"] = event.name
        known["number"] = event.vertex
        told = {"reason": event.reason, "where": event.where}
        known |= {name: value for name, value in told.items() if value}
        self._vertexes[event.vertex] = known
        file = event.name.partition(DEFINITION)[2]
        if file:
            self._readers[file] = digest
        self._vertex(event.vertex, **fields)

    def _vertex(self, vertex: int, **fields: Any) -> None:
        known = self._vertexes[vertex]
        known.update(fields)
        self._write("vertexes", known)

    def _log(self, event: VertexOutput) -> None:
        log = {
            "vertex": self._vertexes[event.vertex]["digest"],
            "stream": event.stream,
            "data": base64.b64encode(event.data).decode(),
            "timestamp": timestamp(event.time),
        }
        self._write("logs", log)

    def _layer(self, event: LayerStored) -> None:
        now = timestamp(event.time)
        status = {
            "id": f"layer {event.digest}",
            "vertex": self._vertexes[event.vertex]["digest"],
            "name": "layer",
            "total": event.size,
            "current": event.size,
            "timestamp": now,
            "started": now,
            "completed": now,
        }
        self._write("statuses", status)

    def _warning(self, event: WarningRaised) -> None:
        warning: dict[str, Any] = {
            "level": 1,
            "short": base64.b64encode(event.message.encode("utf-8", "replace")).decode(),
        }
        name, _, line = event.where.rpartition(":")
        if name and line.isdecimal():
            place = {"line": int(line)}
            warning["sourceInfo"] = {"filename": name}
            if name in self._files:
                warning["sourceInfo"] |= {"data": self._files[name], "language": LANGUAGE}
            if name in self._readers:
                warning["vertex"] = self._readers[name]
            warning["range"] = [{"start": place, "end": place}]
        if event.where:
            warning["where"] = event.where
        self._write("warnings", warning)

    def _write(self, kind: str, item: dict[str, Any]) -> None:
        try:
            self._out.write(json.dumps({kind: [item]}) + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # The reader has gone.
            return
