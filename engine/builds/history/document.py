"""What is written down of a build, as one JSON document, and how events add up to it.

A document grows by patches, pairs of a kind and a value: one for each event that matters. The same
patches make the journal of a build that runs, so what is left of a killed one reads like any other.
This module is on the path of every build and imports nothing for it.
"""

from __future__ import annotations

import os

from builder.progress.events import (
    ContextRead,
    DefinitionRead,
    LayerStored,
    MaterialFound,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexStarted,
    WarningRaised,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeAlias

    from builder.progress.events import Event
    from engine.builds.order import BuildOrder, BuildOutcome

    Document: TypeAlias = dict[str, Any]
    Mask: TypeAlias = Callable[[str], str]

FORMAT: Final = 1
RUNNING, COMPLETED, FAILED, CANCELED, INTERRUPTED = (
    "running",
    "completed",
    "failed",
    "canceled",
    "interrupted",
)
"""``interrupted`` is never written: it is a running build whose process has gone."""
MASKED: Final = "*****"
TEXT_LIMIT: Final = 64 << 10
"""Characters of a Dockerfile, a message or a name that are kept."""


_SECRET: Final = frozenset(
    {"apikey", "auth", "credential", "credentials", "key", "password"}
    | {"pword", "passwd", "secret", "token"}
)
_HARMLESS: Final = frozenset({"public", "file", "version"})


def sounds_secret(name: str) -> bool:
    """Whether a build argument is likely to carry a secret, by BuildKit's SecretsUsedInArgOrEnv."""
    words = name.lower().split("_")
    return not _SECRET.isdisjoint(words) and _HARMLESS.isdisjoint(words)


def begin(order: BuildOrder, ref: str, started: float, mask: Mask) -> Document:
    """The document of a build that begins; no secret's value is in it."""
    request = order.request
    tags = [mask(tag.familiar) for tag in request.tags]
    here = "" if request.context is None else os.path.abspath(request.context)
    context = mask(origin_of(order) or here)
    asked = {
        "context": context,
        "target": request.target or "",
        "platforms": [str(it) for it in order.platforms] or _listed(request.platform),
        "tags": tags,
        "args": {
            name: MASKED if sounds_secret(name) else mask(value)
            for name, value in request.build_args.items()
        },
        "labels": {name: mask(value) for name, value in request.labels.items()},
        "secrets": [secret.id for secret in request.secrets],
        "ssh": list(request.ssh),
        "contexts": list(request.contexts),
        "network": request.network,
        "no_cache": request.no_cache,
        "no_cache_stages": list(request.no_cache_stages),
        "pull": request.pull,
        "allow": list(request.allow),
    }
    return {
        "format": FORMAT,
        "ref": ref,
        "name": _name(context, request.target, tags),
        "status": RUNNING,
        "started": started,
        "ended": None,
        "request": {name: value for name, value in asked.items() if value},
        "steps": {},
        "warnings": [],
        "materials": [],
    }


def origin_of(order: BuildOrder) -> str:
    """What the context is brought in from: a URL or ``-``; empty for a directory."""
    far = order.sources.context if order.sources is not None else None
    return far or order.request.origin


def patch_of(event: Event, mask: Mask) -> tuple[str, Any] | None:
    """What an event changes in the document; None where that is nothing."""
    match event:
        case VertexStarted() | VertexCached():
            return "step", _step(event, mask)
        case VertexDone(vertex=vertex, time=time):
            return "step", {"number": vertex, "outcome": "executed", "ended": time}
        case VertexFailed(vertex=vertex, message=message, time=time, cancelled=cancelled):
            outcome = CANCELED if cancelled else FAILED
            error = mask(message[:TEXT_LIMIT])
            return "step", {"number": vertex, "outcome": outcome, "ended": time, "error": error}
        case LayerStored(vertex=vertex, digest=digest, size=size):
            return "step", {"number": vertex, "layer": digest, "size": size}
        case WarningRaised(message=message, where=where):
            return "warning", [mask(message[:TEXT_LIMIT]), where]
        case MaterialFound(name=name, digest=digest):
            return "material", {"uri": mask(name), "digest": digest}
        case ContextRead(files=files, size=size):
            return "context", {"files": files, "bytes": size}
        case DefinitionRead(name=name, content=content):
            return "definition", _definition(name, content, mask)
    return None


def fold(document: Document, kind: str, value: Any) -> None:
    """Apply a patch."""
    if kind == "step":
        # JSON has no other keys than text.
        document["steps"].setdefault(str(value["number"]), {}).update(value)
    elif kind in ("warning", "material"):
        known = document[f"{kind}s"]
        if value not in known:
            known.append(value)
    else:
        document[kind] = value


def finish(document: Document, outcome: BuildOutcome, ended: float, mask: Mask) -> None:
    """The build ended well."""
    document.update(status=COMPLETED, ended=ended, cached=outcome.cached)
    document["result"] = {
        "digest": str(outcome.root.digest),
        "media_type": outcome.root.media_type,
        "images": [
            {"digest": str(image.descriptor.digest), "image_id": str(image.image_id)}
            for image in outcome.images
        ],
    }
    materials = dict.fromkeys(it for image in outcome.images for it in image.materials)
    if materials:
        named = ((it, ("kind", "uri", "digest", "platform", "name")) for it in materials)
        document["materials"] = [
            {key: mask(str(value)) for key in keys if (value := getattr(it, key))}
            for it, keys in named
        ]


def fail(document: Document, error: BaseException, ended: float, mask: Mask) -> None:
    """The build ended badly, or was stopped."""
    stopped = isinstance(error, KeyboardInterrupt) or type(error).__name__ == "BuildCancelledError"
    document.update(status=CANCELED if stopped else FAILED, ended=ended)
    told = {
        "message": getattr(error, "what", None) or str(error) or type(error).__name__,
        "where": getattr(error, "where", None),
        "fix": getattr(error, "fix", None),
        "code": getattr(error, "code", None),
    }
    document["error"] = {
        name: mask(str(value)[:TEXT_LIMIT]) for name, value in told.items() if value
    }
    for step in document["steps"].values():
        if step.get("ended") is None:
            step.update(ended=ended, outcome=CANCELED)


def _step(event: VertexStarted | VertexCached, mask: Mask) -> dict[str, Any]:
    cached = isinstance(event, VertexCached)
    step = {
        "number": event.vertex,
        "name": mask(event.name[:TEXT_LIMIT]),
        "outcome": "cached" if cached else RUNNING,
        "started": event.time,
    }
    if isinstance(event, VertexCached):
        step["ended"] = event.time
    elif event.changes:
        step["changes"] = [[it.kind, mask(it.name), it.how] for it in event.changes]
    told = {
        "where": event.where,
        "reason": mask(event.reason),
        "inputs": list(event.inputs),
    }
    return step | {name: value for name, value in told.items() if value}


def _definition(name: str, content: bytes, mask: Mask) -> dict[str, str]:
    import hashlib

    text = content[:TEXT_LIMIT].decode("utf-8", "replace")
    return {
        "name": name,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "text": mask(text),
    }


def _name(context: str, target: str | None, tags: list[str]) -> str:
    """What a person would call the build: its tag, or its directory and target."""
    if tags:
        return tags[0]
    base = context.rstrip("/").rpartition("/")[2] or context or "-"
    return f"{base} ({target})" if target else base


def _listed(value: object) -> list[str]:
    return [] if value is None else [str(value)]
