"""Dates as image configs hold them: RFC 3339 in UTC."""

from __future__ import annotations

import time


def timestamp(seconds: float) -> str:
    """``seconds`` since the epoch, to the microsecond unless they are whole."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    fraction = f".{micros:06d}" if micros else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z"
