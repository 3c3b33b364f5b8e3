"""Debian packages: ``var/lib/dpkg/status``, and ``status.d`` of distroless images.

deb-control(5), dpkg(1). The status file describes every package that dpkg knows; those whose state
is not ``installed`` have left nothing but configuration. Their files stand in ``info/NAME.list``,
or ``info/NAME:ARCH.list`` where several architectures can be installed. Distroless images have one
paragraph per file in ``status.d``, and ``NAME.md5sums`` beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from images.packages.model import Package, clean, listed
from images.packages.stanzas import Stanza, every, first, paragraphs

STATUS: Final = "var/lib/dpkg/status"
STATUS_DIRECTORY: Final = "var/lib/dpkg/status.d/"
INFO: Final = "var/lib/dpkg/info/"
COPYRIGHT: Final = "usr/share/doc/"


def parse_status(data: bytes) -> list[Package]:
    """The installed packages of a status file, without their files.

    Raises:
        DamagedPackageDataError: absurdly many packages or long fields.
    """
    found = (_package(stanza) for stanza in paragraphs(data))
    return [package for package in found if package is not None]


def _package(stanza: Stanza) -> Package | None:
    name, version = clean(first(stanza, "package")), clean(first(stanza, "version"))
    state = first(stanza, "status").split()
    # Distroless images leave the state out: what they describe is there.
    if not name or not version or (state and state[-1] != "installed"):
        return None
    # ``Source: openssl (3.0.1-1)`` names a version where it differs.
    origin = clean(first(stanza, "source")).partition(" ")[0]
    return Package(
        "deb",
        name,
        version,
        architecture=clean(first(stanza, "architecture")),
        supplier=clean(first(stanza, "maintainer")),
        homepage=clean(first(stanza, "homepage")),
        origin="" if origin == name else origin,
    )


def parse_list(data: bytes) -> tuple[str, ...]:
    """The paths of an ``info/NAME.list``, directories too.

    Raises:
        DamagedPackageDataError: absurdly many files.
    """
    return listed(data.decode("utf-8", "surrogateescape").split("\n"))


def parse_md5sums(data: bytes) -> tuple[str, ...]:
    """The paths of a ``NAME.md5sums``: ``<digest>  <path>`` lines.

    Raises:
        DamagedPackageDataError: absurdly many files.
    """
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return listed([line.partition(" ")[2].strip() for line in lines])


def with_files(package: Package, lists: Mapping[str, tuple[str, ...]]) -> Package:
    """The package with its files; ``lists`` holds them by ``NAME`` or ``NAME:ARCH``."""
    files = lists.get(f"{package.name}:{package.architecture}") or lists.get(package.name)
    return package if files is None else replace(package, files=files)


def parse_copyright(data: bytes) -> tuple[str, ...]:
    """The licences that a machine-readable copyright file names, in its order.

    https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/: only a file whose first
    paragraph has the ``Format`` field is of that form; of others nothing is guessed.

    Raises:
        DamagedPackageDataError: absurdly many paragraphs or long fields.
    """
    names: dict[str, None] = {}
    for number, stanza in enumerate(paragraphs(data)):
        if number == 0 and "format" not in stanza:
            return ()
        # A paragraph of a licence alone gives its text; the ones of files say what applies.
        if number == 0 or "files" in stanza:
            names.update(dict.fromkeys(filter(None, map(clean, every(stanza, "license")))))
    return tuple(names)


def list_name(path: str) -> str | None:
    """``NAME`` or ``NAME:ARCH`` if ``path`` is a file list of ``info``."""
    name = path.removeprefix(INFO).removesuffix(".list")
    listing = path.startswith(INFO) and path.endswith(".list")
    return name if listing and "/" not in name else None


def copyright_of(path: str) -> str | None:
    """The package whose copyright file ``path`` is."""
    parts = path.removeprefix(COPYRIGHT).split("/")
    mine = path.startswith(COPYRIGHT) and len(parts) == 2 and parts[1] == "copyright"
    return parts[0] if mine else None


def with_licenses(
    packages: Iterable[Package], licenses: Mapping[str, tuple[str, ...]]
) -> list[Package]:
    """The packages with what their copyright files say, by package name."""
    return [
        replace(package, licenses=licenses[package.name]) if package.name in licenses else package
        for package in packages
    ]
