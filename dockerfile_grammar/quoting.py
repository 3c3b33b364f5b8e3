"""Go's ``%q``: how BuildKit's messages quote what the author wrote."""

from __future__ import annotations

_NAMED = {
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


LIMIT = 500
"""Characters quoted of one text; a message must not repeat a hostile line of 64 KiB."""


def quoted(text: str) -> str:
    """``text`` in double quotes, unprintable characters escaped (Go's strconv.Quote)."""
    if len(text) > LIMIT:
        text = f"{text[:LIMIT]}..."
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(char: str) -> str:
    named = _NAMED.get(char)
    if named is not None:
        return named
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
