"""URLs as they may be shown and recorded: without user names and passwords."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?<=://)[^/?#@]*@")


def public_url(url: str) -> str:
    """The URL without what stands before ``@`` in its host, so that no log gets a password."""
    return _USERINFO.sub("", url)
