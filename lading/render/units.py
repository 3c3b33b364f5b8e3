"""Sizes and ages the way Docker writes them (docker/go-units)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def human_size(size: float) -> str:
    """Bytes with three significant digits and decimal units: ``124MB``, ``5.3kB``."""
    unit = 0
    while size >= 1000 and unit < len(_DECIMAL) - 1:
        size /= 1000
        unit += 1
    return f"{size:.3g}{_DECIMAL[unit]}" if size < 999.5 else f"{size:.0f}{_DECIMAL[unit]}"


def human_duration(elapsed: timedelta) -> str:
    """``About a minute``, ``3 hours``, ``2 weeks``."""
    seconds = int(elapsed.total_seconds())
    minutes, hours = seconds // 60, round(seconds / 3600)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, size, name in ((14, 24, "days"), (60, 24 * 7, "weeks"), (730, 24 * 30, "months")):
        if hours < 24 * limit:
            return f"{hours // size} {name}"
    return f"{hours // (24 * 365)} years"


def human_ago(timestamp: str | None, now: datetime) -> str:
    """An RFC 3339 time as an age, or ``N/A`` where there is none."""
    moment = parse_time(timestamp)
    return "N/A" if moment is None else f"{human_duration(now - moment)} ago"


def parse_time(timestamp: str | None) -> datetime | None:
    """Read an RFC 3339 time, nanoseconds and all; None where it is missing or malformed."""
    if not timestamp:
        return None
    head, dot, fraction = timestamp.partition(".")
    if dot:
        digits = "".join(c for c in fraction if c.isdigit())
        zone = fraction[len(digits) :]
        timestamp = f"{head}.{digits[:6]:0<6}{zone}"
    try:
        moment = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
