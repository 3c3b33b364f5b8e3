"""From a path to what of the trust service it names, by the LAST ``_trust`` segment.

Collections (GUNs) hold slashes, and roles do too: ``targets/releases.json``. The hash form is tried
before the version form and that before the plain one; role names have no dots, so
``targets/alice.<hash>.json`` never reads as a role.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from registry.notary.errors import NotaryError

MARKER: Final = "/_trust/"
HEALTH: Final = "/_notary_server/health"
SET: Final = "lading/set"
"""Behind the marker: what a first look at a collection needs, in one answer. Not notary's."""

METRICS: Final = "/_notary_server/metrics"

_ROLE: Final = r"(?P<role>root|snapshot|timestamp|targets(?:/[-a-z0-9_/]+)?)"
_HASH: Final = r"(?P<hash>[a-f0-9]{128}|[a-f0-9]{96}|[a-f0-9]{64})"
_HASHED: Final = re.compile(rf"{_ROLE}\.{_HASH}\.json\Z")
_VERSIONED: Final = re.compile(rf"(?P<version>[1-9][0-9]{{0,9}})\.{_ROLE}\.json\Z")
_PLAIN: Final = re.compile(rf"{_ROLE}\.json\Z")
_KEY: Final = re.compile(r"(?P<role>timestamp|snapshot)\.key\Z")
_GUN_LIMIT: Final = 255
_GUN: Final = re.compile(r"[a-zA-Z0-9.\-\[\]:]+(?:/[a-z0-9._-]+)+\Z")


class Kind(enum.Enum):
    """What a path of the service names."""

    COLLECTION = "collection"
    CURRENT = "current"
    HASHED = "hashed"
    VERSIONED = "versioned"
    KEY = "key"
    CHANGES = "changes"
    SET = "set"
    HEALTH = "health"


@dataclass(frozen=True, slots=True)
class TrustTarget:
    """A parsed path; ``hash`` is hex of sha256, sha384 or sha512. ``gun`` "" is all of them."""

    kind: Kind
    gun: str = ""
    role: str = ""
    hash: str = ""
    version: int = 0


def concerns(path: str) -> bool:
    """Whether the trust service answers this path."""
    return MARKER in path or path in (HEALTH, METRICS)


def parse(path: str) -> TrustTarget:
    """Parse a percent-encoded path that ``concerns`` the service.

    Raises:
        NotaryError: GENERIC_NOT_FOUND or INVALID_GUN.
    """
    if path in (HEALTH, METRICS):
        return TrustTarget(Kind.HEALTH)
    head, _, tail = path.rpartition(MARKER)
    tail = _plain(tail)
    if head == "/v2" and tail == "changefeed":
        return TrustTarget(Kind.CHANGES)
    gun = _plain(head.removeprefix("/v2/"))
    if not head.startswith("/v2/") or len(gun) > _GUN_LIMIT or not _GUN.match(gun):
        raise NotaryError("INVALID_GUN", detail=gun[:200])
    if tail == "changefeed":
        return TrustTarget(Kind.CHANGES, gun)
    if tail in ("tuf", "tuf/"):
        return TrustTarget(Kind.COLLECTION, gun)
    if tail == SET:
        return TrustTarget(Kind.SET, gun)
    return _file(gun, tail)


def _file(gun: str, tail: str) -> TrustTarget:
    name = tail.removeprefix("tuf/")
    if name == tail:
        raise NotaryError("GENERIC_NOT_FOUND")
    if match := _HASHED.match(name):
        return TrustTarget(Kind.HASHED, gun, match["role"], hash=match["hash"])
    if match := _VERSIONED.match(name):
        return TrustTarget(Kind.VERSIONED, gun, match["role"], version=int(match["version"]))
    if match := _PLAIN.match(name):
        return TrustTarget(Kind.CURRENT, gun, match["role"])
    if match := _KEY.match(name):
        return TrustTarget(Kind.KEY, gun, match["role"])
    raise NotaryError("METADATA_NOT_FOUND", detail=name[:200])


def _plain(text: str) -> str:
    """Percent-decoded; an encoded slash or NUL is refused, as it is in image names."""
    decoded = unquote(text, errors="replace") if "%" in text else text
    if decoded.count("/") != text.count("/") or "\0" in decoded or "\ufffd" in decoded:
        raise NotaryError("INVALID_GUN", detail="an encoded separator is not part of a name")
    return decoded
