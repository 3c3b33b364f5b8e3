"""URLs as they may be shown and recorded: without user names and passwords."""

from __future__ import annotations

import re


def public_url(url: str) -> str:
    """The URL without what stands before ``@`` in its host, so that no log gets a password."""
    return re.sub(r"(?<=://)[^/?#@]*@", "", url)
