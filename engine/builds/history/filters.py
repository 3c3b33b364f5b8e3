"""Which builds a list shows: buildx' filters, ``status=error``, ``duration>30s``, and by name."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.builds.history.document import Document

_FILTER = re.compile(r"([A-Za-z]+)(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TEXTS: Final = ("ref", "name", "status", "repository")
_TIMES: Final = ("startedAt", "completedAt", "duration")
_STATUS: Final = {"error": "failed", "success": "completed", "cancelled": "canceled"}
"""buildx' words for ours."""


class FilterError(BuildInputError):
    """A filter that means nothing."""

    code = "history-filter"


def matcher(texts: Sequence[str], now: float) -> Callable[[Document], bool]:
    """Whether a build passes every filter; ``now`` in seconds since the epoch.

    Raises:
        FilterError: one of them is malformed.
    """
    tests = [_test(text, now) for text in texts]
    return lambda document: all(test(document) for test in tests)


def _test(text: str, now: float) -> Callable[[Document], bool]:
    parts = _FILTER.fullmatch(text)
    if parts is None or parts[1] not in (*_TEXTS, *_TIMES):
        raise _wrong(text, f"use {', '.join((*_TEXTS, *_TIMES))}, for instance status=failed")
    key, operator, value = parts.groups()
    if key in _TEXTS:
        if operator not in ("=", "!="):
            raise _wrong(text, f"{key} is compared with = or !=")
        return _texts(key, value, negated=operator == "!=")
    if operator in ("=", "!="):
        raise _wrong(text, f"{key} is compared with <, <=, > or >=")
    return _times(key, operator, _bound(key, value, text, now))


def _texts(key: str, value: str, *, negated: bool) -> Callable[[Document], bool]:
    if key == "status":
        wanted = _STATUS.get(value.lower(), value.lower())
        return lambda document: (document["status"] == wanted) != negated
    if negated:
        return lambda document: _text(document, key) != value
    return lambda document: value in _text(document, key)


def _text(document: Document, key: str) -> str:
    """``repository`` is where the context came from, without what follows a number sign."""
    if key == "repository":
        context = str(document["request"].get("context", ""))
        return context.partition("#")[0] if "://" in context or "@" in context else ""
    return str(document.get(key, ""))


def _times(key: str, operator: str, bound: float) -> Callable[[Document], bool]:
    def passes(document: Document) -> bool:
        started, ended = document["started"], document.get("ended")
        if key == "startedAt":
            value = started
        elif ended is None:
            # What runs has no end yet, and has taken no time that could be compared.
            return False
        else:
            value = ended if key == "completedAt" else ended - started
        less, more = bool(value < bound), bool(value > bound)
        return {"<": less, ">": more, "<=": not more, ">=": not less}[operator]

    return passes


def _bound(key: str, value: str, text: str, now: float) -> float:
    seconds = _duration(value)
    if seconds is not None:
        return seconds if key == "duration" else now - seconds
    if key != "duration":
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return moment.timestamp()
    form = "a duration such as 1m30s" if key == "duration" else "a date or an age such as 24h"
    raise _wrong(text, f"give {form}")


def _duration(text: str) -> float | None:
    """Go's form of durations in seconds, None for another."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return 0.0 if text == "0" else None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _wrong(text: str, fix: str) -> FilterError:
    return FilterError(f"invalid filter {text!r}", where="--filter", fix=fix)
