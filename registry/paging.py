"""Pages of listings: ``n``, ``last`` and the Link to the next page.

Nothing is ever sized by ``n``: it is clamped to a page (CVE-2023-2253). OCI distribution
specification 1.1, "Listing Tags"; RFC 8288.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlencode

from registry.errors import ApiError

T = TypeVar("T")

_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Page:
    """Up to ``limit`` entries after ``last``."""

    limit: int
    last: str

    @classmethod
    def parse(cls, query: Mapping[str, str], *, largest: int) -> Page:
        """Read ``n`` and ``last``.

        Raises:
            ApiError: PAGINATION_NUMBER_INVALID when ``n`` is not a count.
        """
        text = query.get("n")
        last = query.get("last", "")
        if text is None:
            return cls(largest, last)
        if not text.isascii() or not text.isdigit():
            raise ApiError("PAGINATION_NUMBER_INVALID", detail={"n": text[:100]})
        wanted = int(text) if len(text) <= _DIGITS else largest
        return cls(min(wanted, largest), last)

    @property
    def probe(self) -> int:
        """How many entries to ask for: one more than the page, to see whether there is a next."""
        return self.limit + 1

    def cut(self, entries: Sequence[T]) -> tuple[Sequence[T], bool]:
        """The entries of this page, and whether more follow."""
        return entries[: self.limit], self.limit > 0 and len(entries) > self.limit

    def link(self, path: str, last: str, extra: Mapping[str, str] | None = None) -> str:
        """The Link header's value for the page after ``last``."""
        query = urlencode({**(extra or {}), "n": self.limit, "last": last})
        return f'<{path}?{query}>; rel="next"'
