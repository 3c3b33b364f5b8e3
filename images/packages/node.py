"""Node packages: ``node_modules/NAME/package.json``, and what a lock file mentions.

npm's package.json(5) and package-lock-json(5). Only the description at the top of an installed
package counts: packages carry others as test data. A ``package-lock.json`` is believed where no
``node_modules`` stands beside it, as in images of bundled applications: what it names was built in.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from images.packages.model import DamagedPackageDataError, Package, clean

_DEPENDENCY: Final = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/@.][^/]*/package\.json\Z")
_PACKAGES: Final = 200_000
_NAME: Final = re.compile(r"(?:(@[^/\s]+)/)?([^/\s]+)\Z")


def is_description(path: str) -> bool:
    """Whether ``path`` is the package.json of an installed package."""
    return _DEPENDENCY.match(path) is not None


def is_lock(path: str) -> bool:
    """Whether ``path`` is the lock file of an application."""
    return path.rpartition("/")[2] == "package-lock.json" and "node_modules/" not in path


def parse_description(data: bytes, path: str) -> list[Package]:
    """The package that ``path`` describes; none if it has no name and version.

    Raises:
        DamagedPackageDataError: not a JSON object, or absurdly long fields.
    """
    document = _object(data)
    return _package(
        document.get("name"), document, directory=path.rpartition("/")[0], installed=True
    )


def parse_lock(data: bytes, path: str) -> list[Package]:
    """The packages a lock file mentions, those for development left out.

    Raises:
        DamagedPackageDataError: not a lock file of version 2 or 3, or absurd.
    """
    del path
    packages = _object(data).get("packages")
    if not isinstance(packages, dict):
        raise DamagedPackageDataError("the lock file lists no packages; version 1 is not read")
    if len(packages) > _PACKAGES:
        raise DamagedPackageDataError(f"more than {_PACKAGES} packages in one list")
    found: list[Package] = []
    for place, item in packages.items():
        _, marker, name = place.rpartition("node_modules/")
        if marker and isinstance(item, dict) and not (item.get("dev") or item.get("link")):
            found += _package(item.get("name", name), item, directory=None, installed=False)
    return found


def _package(
    name: object, item: dict[str, Any], *, directory: str | None, installed: bool
) -> list[Package]:
    matched, version = _NAME.match(clean(name)), clean(item.get("version"))
    if matched is None or not version:
        return []
    author = item.get("author")
    if isinstance(author, dict):
        author = author.get("name")
    license = _license(item)
    return [
        Package(
            "npm",
            matched[2],
            version,
            namespace=matched[1] or "",
            licenses=(license,) if license else (),
            supplier=clean(author),
            homepage=clean(item.get("homepage")),
            directory=directory,
            installed=installed,
        )
    ]


def _license(item: dict[str, Any]) -> str:
    """An SPDX expression; old packages have an object, or a list of them."""
    license = item.get("license", item.get("licenses"))
    if isinstance(license, list):
        kinds = [_license({"license": each}) for each in license[:16]]
        return clean(" OR ".join(filter(None, kinds)))
    return clean(license.get("type") if isinstance(license, dict) else license)


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedPackageDataError(f"not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise DamagedPackageDataError("not a JSON object")
    return document
