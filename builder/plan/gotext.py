"""Go's spelling of quoted lists and durations, which image histories are written in."""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def quote(text: str) -> str:
    """``strconv.Quote``: double quotes, printable characters kept, the rest escaped."""
    return '"' + "".join(map(_quote_character, text)) + '"'


def quoted_list(words: Iterable[str]) -> str:
    """``%q`` of a string slice: ``["a" "b c"]``."""
    return "[" + " ".join(map(quote, words)) + "]"


def plain_list(words: Iterable[str]) -> str:
    """``%v`` of a string slice: ``[a b c]``."""
    return "[" + " ".join(words) + "]"


def duration(nanoseconds: int) -> str:
    """``time.Duration.String``: ``1h2m3.5s``, ``300ms``, ``0s``."""
    if nanoseconds < 0:
        return "-" + duration(-nanoseconds)
    if nanoseconds < 1_000_000_000:
        return _below_second(nanoseconds)
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(seconds, fraction, 9) + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _below_second(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns"
    if nanoseconds < 1_000_000:
        return _decimal(*divmod(nanoseconds, 1_000), 3) + "µs"
    return _decimal(*divmod(nanoseconds, 1_000_000), 6) + "ms"


def _decimal(whole: int, fraction: int, digits: int) -> str:
    text = f"{fraction:0{digits}d}".rstrip("0")
    return f"{whole}.{text}" if text else str(whole)


def _quote_character(character: str) -> str:
    escaped = _ESCAPES.get(character)
    if escaped is not None:
        return escaped
    code = ord(character)
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
