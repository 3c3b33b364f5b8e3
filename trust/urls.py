"""Which files from web servers a build may add: rules by URL, judged without fetching anything.

A file has no signature that could be asked for, so a rule accepts it, refuses it, or wants it to be
pinned: its checksum stated beforehand, by whoever wrote the build or by a lock file. A scope is a
URL with a path; it covers itself and what lies below it. The longest one decides. Without one the
policy's default does: what accepts any image accepts any file, everything else wants a checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from trust.errors import RejectedByPolicyError, UnpinnedSourceError

if TYPE_CHECKING:
    from trust.policy import Policy


class UrlRequirement(StrEnum):
    """What a rule asks of a file."""

    ACCEPT = "accept"
    REJECT = "reject"
    CHECKSUM = "checksum"


@dataclass(frozen=True, slots=True)
class UrlRule:
    """What the rule of that name asks of the files of one scope."""

    name: str
    requirement: UrlRequirement


def is_url(scope: str) -> bool:
    """Whether a scope is about files rather than images."""
    return "://" in scope


def normal_url(url: str) -> str | None:
    """The URL as scopes are compared with it; None if it could mean another place than it says.

    Scheme and host in lower case. User names, ``.`` and ``..`` segments, backslashes and what no
    URL may hold, which readers of URLs drop or keep, could make a prefix lie (RFC 3986, 6.2.2).
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    path = unquote(parts.path)
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or "\\" in path:
        return None
    if not {".", ".."}.isdisjoint(path.split("/")) or not parts.path.startswith("/"):
        return None
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}{query}"


def check_url(policy: Policy, url: str, *, pinned: bool) -> None:
    """Return if the policy lets a build add the file at ``url``.

    ``pinned`` says that its checksum is known and will be verified.

    Raises:
        RejectedByPolicyError: a rule refuses it.
        UnpinnedSourceError: it must be pinned, and is not.
    """
    rule, requirement = _decide(policy, url)
    if requirement is UrlRequirement.REJECT:
        raise RejectedByPolicyError(
            f"the policy refuses files from there ({rule})",
            where=url,
            fix="add a copy from an allowed place, or change that rule",
        )
    if requirement is UrlRequirement.CHECKSUM and not pinned:
        raise UnpinnedSourceError(
            f"the policy wants the checksum of this file to be stated ({rule})",
            where=url,
            fix="write ADD --checksum=sha256:..., or accept the URL in a rule of the policy",
        )


def _decide(policy: Policy, url: str) -> tuple[str, UrlRequirement]:
    """The deciding place in words, and what it asks."""
    from trust.policy import Policy as Rules
    from trust.requirements import AcceptAnything

    normal = normal_url(url)
    policies = [policy, *(item for item in policy.imports if isinstance(item, Rules))]
    for one in policies:
        for scope in _scopes(normal) if normal is not None else ():
            if (found := one.urls.get(scope)) is not None:
                return f'{one.source}: rule "{found.name}"', found.requirement
    for one in policies:
        if one.default is not None:
            open_to_all = all(isinstance(item, AcceptAnything) for item in one.default)
            wanted = UrlRequirement.ACCEPT if open_to_all else UrlRequirement.CHECKSUM
            return f"{one.source}: default", wanted
    return f"{policy.source}: default", UrlRequirement.CHECKSUM


def _scopes(url: str) -> Iterator[str]:
    """The scopes that cover a normal URL, the longest first."""
    yield url
    path = url.partition("?")[0]
    if path != url:
        yield path
    root = path.index("/", path.index("://") + 3)
    while len(path) > root + 1:
        path = path.rstrip("/")
        yield path
        path = path[: path.rindex("/") + 1]
        yield path
