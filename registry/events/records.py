"""What goes into the queue of events, what comes out of it, and how a webhook is doing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """An event for one webhook, on its way into the queue."""

    webhook: str
    repository: str
    event: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event in the queue; ``attempts`` is how many failed, ``since`` when it began to wait."""

    number: int
    webhook: str
    repository: str
    event: str
    body: bytes
    since: float
    attempts: int
    error: str
    dead: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a webhook is doing. ``failed`` counts attempts, ``died`` and ``dropped`` events;
    ``oldest`` is since when the oldest event waits, ``gone`` since when its receiver is.
    """

    name: str
    pending: int
    dead: int
    oldest: float | None
    delivered: int = 0
    failed: int = 0
    died: int = 0
    dropped: int = 0
    gone: float | None = None
    error: str = ""
