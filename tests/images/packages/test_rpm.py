"""rpm's headers and its three databases: ours, and those that rpm and Berkeley DB write."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
from pathlib import Path

import pytest

from images.packages.model import DamagedPackageDataError
from images.packages.rpm_database import is_database, parse_database
from images.packages.rpm_header import parse_header
from tests.conftest import require_program
from tests.images.packages.rpmkit import header, hello, ndb_database, sqlite_database


def test_a_header_says_all_of_a_package() -> None:
    package = parse_header(hello())
    assert package is not None
    assert (package.name, package.version, package.epoch) == ("hello", "1.2-3", "1")
    assert package.architecture == "noarch"
    assert package.licenses == ("GPL-2.0-or-later",)
    assert package.origin == "greetings"
    assert package.files == ("usr/bin/hello", "usr/share/hello/data")


def test_imported_keys_are_no_packages() -> None:
    assert parse_header(hello("gpg-pubkey")) is None


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        struct.pack(">II", 1, 0),
        struct.pack(">II", 70_000, 0) + bytes(16 * 70_000),
        header({1000: "x"}),
        hello()[:-1],
        hello(DIRINDEXES=[0, 7]),
        hello(DIRINDEXES=[0]),
    ],
)
def test_a_header_that_points_outside_of_itself_is_refused(blob: bytes) -> None:
    with pytest.raises(DamagedPackageDataError):
        parse_header(blob)


@pytest.mark.parametrize("wal", [True, False])
def test_sqlite(tmp_path: Path, wal: bool) -> None:
    data = sqlite_database(tmp_path, [hello(), hello("gpg-pubkey"), hello("b")], wal=wal)
    assert [package.name for package in parse_database(data)] == ["hello", "b"]


def test_ndb() -> None:
    data = ndb_database([hello(), hello("b")])
    assert [package.name for package in parse_database(data)] == ["hello", "b"]
    for at in (4, 32, 36, 40, 4096, 4100, 4108):
        damaged = data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :]
        with pytest.raises(DamagedPackageDataError):
            parse_database(damaged)


def _poisoned(tmp_path: Path, *statements: str) -> bytes:
    path = tmp_path / "poisoned"
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


ENDLESS = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE other (a)"],
        [f"CREATE VIEW Packages AS SELECT zeroblob(1 << 30) AS blob FROM ({ENDLESS})"],
        [
            "CREATE TABLE Packages (a, blob GENERATED ALWAYS AS (zeroblob(1 << 29)) VIRTUAL)",
            "INSERT INTO Packages (a) VALUES (1)",
        ],
        ["CREATE TABLE Packages (blob)", "INSERT INTO Packages VALUES ('text')"],
    ],
    ids=["none", "view", "generated", "text"],
)
def test_a_database_that_computes_is_refused(tmp_path: Path, statements: list[str]) -> None:
    with pytest.raises(DamagedPackageDataError):
        parse_database(_poisoned(tmp_path, *statements))


@pytest.mark.parametrize("at", [17, 100, 4096, 5000])
def test_a_damaged_sqlite_database_is_refused_or_read(tmp_path: Path, at: int) -> None:
    data = sqlite_database(tmp_path, [hello()] * 20)
    damaged = data[:at] + b"\xff" * 600 + data[at + 600 :]
    try:
        parse_database(damaged)
    except DamagedPackageDataError:
        return
    assert at > 100


def test_only_rpms_own_places_hold_databases() -> None:
    assert is_database("var/lib/rpm/Packages")
    assert is_database("usr/lib/sysimage/rpm/rpmdb.sqlite")
    assert not is_database("home/Packages")
    with pytest.raises(DamagedPackageDataError, match="known"):
        parse_database(b"x" * 1000)


SPEC = """Name: hello
Version: 1.2
Release: 3
Epoch: 1
Summary: x
License: MIT
BuildArch: noarch
%description
x
%install
mkdir -p %{buildroot}/usr/bin
echo hello > %{buildroot}/usr/bin/hello
%files
/usr/bin/hello
"""


@pytest.fixture(scope="module")
def written_by_rpm(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The database of a root into which rpm installed a package it had built."""
    require_program("rpmbuild")
    folder = tmp_path_factory.mktemp("rpm")
    (folder / "hello.spec").write_text(SPEC)
    top = ["--define", f"_topdir {folder}/top"]
    subprocess.run(
        ["rpmbuild", "-bb", *top, folder / "hello.spec"], check=True, capture_output=True
    )
    [package] = folder.glob("top/RPMS/noarch/*.rpm")
    place = ["--root", f"{folder}/root", "--dbpath", "/var/lib/rpm"]
    install = ["rpm", *place, "-i", "--nodeps", "--noscripts", package]
    subprocess.run(install, check=True, capture_output=True)
    return (folder / "root/var/lib/rpm/rpmdb.sqlite").read_bytes()


@pytest.mark.root
@pytest.mark.peer
def test_a_database_that_rpm_wrote(written_by_rpm: bytes) -> None:
    [package] = parse_database(written_by_rpm)
    assert (package.name, package.version, package.epoch) == ("hello", "1.2-3", "1")
    assert package.files == ("usr/bin/hello",)


@pytest.mark.peer
def test_a_hash_that_berkeley_db_wrote(tmp_path: Path) -> None:
    program = require_program("db5.3_load")
    blobs = [hello(), hello("b", BASENAMES=["x" * 200] * 300, DIRINDEXES=[0] * 300)]
    lines = ["VERSION=3", "format=bytevalue", "type=hash", "HEADER=END"]
    lines += [f" {bytes(4).hex()}", f" {struct.pack('<I', 2).hex()}"]
    for number, blob in enumerate(blobs, 1):
        lines += [f" {struct.pack('<I', number).hex()}", f" {blob.ljust(2048, bytes(1)).hex()}"]
    path = tmp_path / "Packages"
    text = "\n".join([*lines, "DATA=END"]) + "\n"
    subprocess.run([program, path], input=text, text=True, check=True)
    data = path.read_bytes()
    found = {package.name: package for package in parse_database(data)}
    assert sorted(found) == ["b", "hello"]
    assert found["b"].files == (f"usr/bin/{'x' * 200}",)
    endless, size = bytearray(data), struct.unpack_from("<I", data, 20)[0]
    for page in range(0, len(data), size):
        if data[page + 25] == 7:
            endless[page + 16 : page + 20] = struct.pack("<I", page // size)
            endless[page + 22 : page + 24] = struct.pack("<H", 1)
            break
    with pytest.raises(DamagedPackageDataError):
        parse_database(bytes(endless))
