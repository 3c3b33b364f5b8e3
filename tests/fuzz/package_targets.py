"""The parsers of package databases, and of statements about images."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

from engine.attestations import sbom
from engine.attestations.licenses import declared
from engine.attestations.statement import make, parse
from images.digest import Digest
from images.errors import ImagesError
from images.packages import apk, dpkg, golang, java, node, python, release
from images.packages.model import DamagedPackageDataError, Package
from images.packages.purl import purl
from images.packages.release import Release
from images.packages.rpm_database import parse_database
from images.packages.rpm_header import parse_header
from tests.fuzz.harness import Target
from tests.fuzz.images_targets import JSON_TOKENS
from tests.images.packages.imagekit import package_json
from tests.images.packages.rpmkit import hello, ndb_database, sqlite_database
from tests.images.packages.test_languages import AT, MODULES, POM, build_info, jar
from tests.images.packages.test_system_packages import APK, STATUS

DAMAGED = (DamagedPackageDataError,)
_STANZA_TOKENS = (b"\n\n", b"\n ", b"Package: ", b"Version: ", b"\n", b":", b"\0", b"License: ")


def _check(packages: list[Package]) -> None:
    """What every parser promises of what it found."""
    for package in packages:
        assert package.name
        assert "\n" not in package.name + package.version
        for path in package.files:
            assert not path.startswith("/")
            assert ".." not in path.split("/")
        url = purl(package, Release("debian", "12"))
        url.encode("ascii")
        declared(package.licenses).expression.encode()


def _dpkg(data: bytes) -> None:
    _check(dpkg.parse_status(data))
    dpkg.parse_list(data)
    dpkg.parse_md5sums(data)
    declared(dpkg.parse_copyright(data))


def _apk(data: bytes) -> None:
    _check(apk.parse_installed(data))


def _rpm_header(data: bytes) -> None:
    package = parse_header(data)
    _check([package] if package is not None else [])


@cache
def _rpm_databases() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        small = sqlite_database(Path(folder), [hello(), hello("b")])
    return [small, ndb_database([hello(), hello("b")])]


def _rpm_database(data: bytes) -> None:
    _check(parse_database(data))


def _python(data: bytes) -> None:
    _check(python.parse_metadata(data, "site/p.dist-info/METADATA"))
    python.parse_record(data, "site/p.dist-info/RECORD")
    python.parse_installed_files(data, "site/p.egg-info/installed-files.txt")


def _node(data: bytes) -> None:
    _check(node.parse_description(data, "node_modules/a/package.json"))
    _check(node.parse_lock(data, "package-lock.json"))


def _golang(data: bytes) -> None:
    info = golang.find_info([data[:7], data[7:]])
    if info is not None:
        _check(golang.parse_info(info, "bin/x"))
    _check(golang.parse_info(data, "bin/x"))


def _java(data: bytes) -> None:
    _check(java.parse_archive(data, "a.jar"))


def _release(data: bytes) -> None:
    found = release.parse_release(data)
    purl(Package("deb", "a", "1"), found).encode("ascii")


def _licenses(data: bytes) -> None:
    declared([data.decode("utf-8", "surrogateescape")])


def _statement(data: bytes) -> None:
    statement = parse(data)
    sbom.rows(statement.predicate)


def _statements() -> list[bytes]:
    predicate = {"packages": [{"name": "a", "externalRefs": [{"referenceType": "purl"}]}]}
    return [make("https://spdx.dev/Document", predicate, Digest.of(b"x"), names=["a"]).raw]


_LOCK = json.dumps({"packages": {"node_modules/a": {"version": "1", "license": "MIT"}}}).encode()
_COPYRIGHT = b"Format: x\n\nFiles: *\nLicense: GPL-2+ or (MIT and Zlib)\n"

TARGETS = (
    Target("dpkg", _dpkg, DAMAGED, lambda: [STATUS, _COPYRIGHT], tokens=_STANZA_TOKENS),
    Target("apk", _apk, DAMAGED, lambda: [APK], tokens=(b"\n\n", b"F:", b"R:", b"P:", b"V:")),
    Target("rpm-header", _rpm_header, DAMAGED, lambda: [hello()], tokens=(b"\xff" * 4, bytes(4))),
    Target(
        "rpm-database",
        _rpm_database,
        DAMAGED,
        _rpm_databases,
        tokens=(b"\xff" * 4, bytes(4), b"Slot", b"BlbS"),
        size=16384,
    ),
    Target(
        "python-metadata",
        _python,
        DAMAGED,
        lambda: [b"Name: p\nVersion: 1\nLicense: MIT\nClassifier: License :: X\n\nName: y\n"],
        tokens=_STANZA_TOKENS,
    ),
    Target("node-package", _node, DAMAGED, lambda: [package_json("a"), _LOCK], tokens=JSON_TOKENS),
    Target("go-build-info", _golang, DAMAGED, lambda: [build_info(MODULES)], tokens=(b"\t", b"=>")),
    Target("java-archive", _java, DAMAGED, lambda: [jar({AT: POM, "b.jar": jar({AT: POM})})]),
    Target("os-release", _release, DAMAGED, lambda: [b'ID=debian\nVERSION_ID="12"\nNAME="a"\n']),
    Target("licenses", _licenses, DAMAGED, lambda: [b"MIT OR (GPL-2+ AND Zlib)", b"GPLv3+"]),
    Target("statement", _statement, (ImagesError,), _statements, tokens=JSON_TOKENS),
)
