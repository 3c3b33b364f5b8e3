"""Java archives: the Maven coordinates in ``META-INF/maven/*/*/pom.properties``.

An archive (jar, war, ear) may hold others, as Spring Boot's do; those are looked into as well, down
to ``DEPTH``. Shaded archives carry the properties of what was merged into them.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Final

from images.packages.model import DamagedPackageDataError, Package, clean

ARCHIVE: Final = re.compile(r".*\.(?:jar|war|ear|jpi|hpi)\Z", re.IGNORECASE)
DEPTH: Final = 2
_POM: Final = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties\Z")
_MEMBERS: Final = 100_000
_PROPERTIES: Final = 64 << 10
_UNPACKED: Final = 256 << 20
"""Bytes of inner archives, all together."""


def is_archive(path: str) -> bool:
    """Whether ``path`` is named as a Java archive."""
    return ARCHIVE.match(path) is not None


def parse_archive(data: bytes, path: str) -> list[Package]:
    """The artifacts in an archive and in those within it.

    Raises:
        DamagedPackageDataError: not a zip archive, damaged, or absurd.
    """
    return _Archive(path).read(data, 0)


class _Archive:
    def __init__(self, path: str) -> None:
        self._path = path
        self._left = _UNPACKED

    def read(self, data: bytes, depth: int) -> list[Package]:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return self._members(archive, depth)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
            ValueError,
            OSError,
            OverflowError,
        ) as error:
            raise DamagedPackageDataError(f"not a readable archive: {error}") from error

    def _members(self, archive: zipfile.ZipFile, depth: int) -> list[Package]:
        found: list[Package] = []
        members = archive.infolist()
        if len(members) > _MEMBERS:
            raise DamagedPackageDataError(f"an archive of more than {_MEMBERS} files")
        for member in members:
            if _POM.match(member.filename):
                found += self._artifact(self._content(archive, member, _PROPERTIES))
            elif depth < DEPTH and is_archive(member.filename):
                found += self.read(self._content(archive, member, self._left), depth + 1)
        return found

    def _content(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
        with archive.open(member) as file:
            data = file.read(limit + 1)
        self._left -= len(data)
        if len(data) > limit or self._left < 0:
            raise DamagedPackageDataError(f"{member.filename[:200]!r} in it is too long")
        return data

    def _artifact(self, data: bytes) -> list[Package]:
        lines = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines())
        values = {key.strip(): clean(value) for key, _, value in lines}
        group, name = values.get("groupId", ""), values.get("artifactId", "")
        version = values.get("version", "")
        if not (group and name and version):
            return []
        return [Package("maven", name, version, namespace=group, files=(self._path,))]
