"""Package URLs: one spelling for packages of every ecosystem.

https://github.com/package-url/purl-spec: ``pkg:type/namespace/name@version?qualifiers``, with rules
of normalisation per type in PURL-TYPES.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from images.packages.model import Package
from images.packages.release import Release

_SYSTEM: Final = frozenset({"deb", "apk", "rpm"})
_DEFAULT_DISTRIBUTION: Final = {"deb": "debian", "apk": "alpine", "rpm": ""}
_KEPT: Final = ":~"
"""Not to be encoded besides letters, digits and ``-._``."""


def purl(package: Package, release: Release) -> str:
    """The URL of a package on the distribution that ``release`` describes."""
    namespace, name = _names(package, release)
    path = "/".join(quote(part, safe=_KEPT) for part in (*namespace, name) if part)
    version = f"@{quote(package.version, safe=_KEPT)}" if package.version else ""
    more = [f"{key}={quote(text, safe=_KEPT)}" for key, text in _more(package, release)]
    qualifiers = f"?{'&'.join(more)}" if more else ""
    return f"pkg:{package.type}/{path}{version}{qualifiers}"


def _names(package: Package, release: Release) -> tuple[list[str], str]:
    if package.type in _SYSTEM:
        distribution = release.id or _DEFAULT_DISTRIBUTION[package.type]
        return [distribution], package.name if package.type == "rpm" else package.name.lower()
    if package.type == "pypi":
        return [], re.sub(r"[-_.]+", "-", package.name).lower()
    if package.type == "npm":
        # npm's old names have capitals; the scope's at sign is written as %40.
        return [package.namespace], package.name
    return package.namespace.split("/"), package.name


def _more(package: Package, release: Release) -> list[tuple[str, str]]:
    """Qualifiers, sorted by key."""
    if package.type not in _SYSTEM:
        return []
    found = []
    if package.architecture:
        found.append(("arch", package.architecture))
    if release.id and release.version:
        found.append(("distro", f"{release.id}-{release.version}"))
    if package.epoch and package.epoch != "0":
        found.append(("epoch", package.epoch))
    if package.origin:
        found.append(("upstream", package.origin))
    return found
