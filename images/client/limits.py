"""How much of each kind of answer is read. All in bytes unless said otherwise."""

from __future__ import annotations

from typing import Final

MANIFEST: Final = 4 << 20
"""The distribution specification asks registries for at least this much."""
TOKEN: Final = 1 << 20
LISTING: Final = 4 << 20
CONFIG: Final = 8 << 20
ERROR_BODY: Final = 64 << 10
PAGES: Final = 1000
"""Pages of one listing."""
REFERRERS: Final = 10_000
"""Descriptors of one referrers listing."""
REDIRECTS: Final = 8
CHUNK: Final = 1 << 20
"""What is handed on at once while streaming."""
