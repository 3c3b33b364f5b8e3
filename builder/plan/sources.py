"""What a source of ADD is: a path, a URL or a git repository, told by its text alone.

Dockerfile reference, "ADD"; BuildKit's rules for what counts as git.
"""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import unquote, urlsplit


@cache
def _git() -> re.Pattern[str]:
    """As ``builder.sources.git_url`` reads them."""
    return re.compile(
        r"(?:[a-z0-9_-]+@[a-z0-9.-]+:|ssh://|git://|https?://[^#?]+\.git(?:[#?]|\Z))", re.IGNORECASE
    )


def is_git(source: str) -> bool:
    """Whether the source is a git repository."""
    return ":" in source and _git().match(source) is not None


def is_url(source: str) -> bool:
    """Whether the source is a file on a web server."""
    return source[:8].lower().startswith(("http://", "https://")) and not is_git(source)


def file_name(url: str) -> str:
    """The name a downloaded file gets: the last part of the URL's path."""
    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    return name if name not in ("", ".", "..") and "\0" not in name else "__unnamed__"
