"""Python, Node, Go and Java: what their tools leave beside the code."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from images.packages import golang, java, node, python
from images.packages.model import DamagedPackageDataError
from tests.conftest import require_program

SITE = "usr/lib/python3/site-packages"


def test_python_metadata() -> None:
    text = b"""Metadata-Version: 2.1
Name: My.Pkg
Version: 1.0
License: UNKNOWN
Classifier: Topic :: X
Classifier: License :: OSI Approved :: MIT License
Author: UNKNOWN
Author-email: Jo <jo@example.org>
Project-URL: Source, https://example.org/src

Name: in-the-description
"""
    [package] = python.parse_metadata(text, f"{SITE}/My.Pkg-1.0.dist-info/METADATA")
    assert (package.name, package.version) == ("My.Pkg", "1.0")
    assert package.licenses == ("MIT License",)
    assert package.supplier == "Jo <jo@example.org>"
    assert package.homepage == "https://example.org/src"
    assert python.parse_metadata(b"Name: x\n", "p") == []


def test_python_expression_goes_first_and_texts_are_no_names() -> None:
    first = b"Name: x\nVersion: 1\nLicense-Expression: MIT OR Apache-2.0\nLicense: BSD\n"
    assert python.parse_metadata(first, "p")[0].licenses == ("MIT OR Apache-2.0",)
    whole = b"Name: x\nVersion: 1\nLicense: Copyright me\n  All rights\n"
    assert python.parse_metadata(whole, "p")[0].licenses == ()


def test_python_records_are_relative_to_the_folder_of_packages() -> None:
    record = b"a/__init__.py,sha256=x,1\n../../../bin/tool,,\n../../../../../../etc,,\n/abs/x,,\n"
    path = f"{SITE}/a-1.dist-info/RECORD"
    assert python.parse_record(record, path) == (
        f"{SITE}/a/__init__.py",
        "usr/bin/tool",
        "abs/x",
    )
    assert python.parse_installed_files(b"../a.py\nPKG-INFO\n", f"{SITE}/a.egg-info/x") == (
        f"{SITE}/a.py",
        f"{SITE}/a.egg-info/PKG-INFO",
    )
    with pytest.raises(DamagedPackageDataError, match="not CSV"):
        python.parse_record(b'"' + b"x" * 200_000, path)


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (f"{SITE}/a-1.dist-info/METADATA", True),
        (f"{SITE}/a-1.egg-info", True),
        ("a.egg-info/PKG-INFO", True),
        ("METADATA", False),
        ("usr/share/doc/METADATA", False),
    ],
)
def test_python_places(path: str, is_one: bool) -> None:
    assert python.is_metadata(path) is is_one


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("app/node_modules/a/package.json", True),
        ("app/node_modules/@s/a/package.json", True),
        ("app/node_modules/a/node_modules/b/package.json", True),
        ("app/node_modules/a/test/package.json", False),
        ("app/node_modules/.cache/package.json", False),
        ("app/package.json", False),
    ],
)
def test_node_places(path: str, is_one: bool) -> None:
    assert node.is_description(path) is is_one


def test_node_descriptions_of_all_ages() -> None:
    item = {"name": "@s/a", "version": "1.0.0", "author": {"name": "Jo"}, "license": "MIT"}
    path = "app/node_modules/@s/a/package.json"
    [package] = node.parse_description(json.dumps(item).encode(), path)
    assert (package.namespace, package.name, package.supplier) == ("@s", "a", "Jo")
    assert package.directory == "app/node_modules/@s/a"
    old = {"name": "a", "version": "1", "licenses": [{"type": "MIT"}, {"type": "BSD"}, 3]}
    assert node.parse_description(json.dumps(old).encode(), path)[0].licenses == ("MIT OR BSD",)
    for nothing in ({"name": "a"}, {"version": "1"}, {"name": ["a"], "version": {}}):
        assert node.parse_description(json.dumps(nothing).encode(), path) == []
    for damaged in (b"[]", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(DamagedPackageDataError):
            node.parse_description(damaged, path)


def test_node_locks_name_what_is_not_for_development() -> None:
    lock = {
        "packages": {
            "": {"name": "app", "version": "1"},
            "node_modules/a": {"version": "1.0.0", "license": "MIT"},
            "node_modules/a/node_modules/@s/b": {"version": "2.0.0"},
            "node_modules/t": {"version": "3.0.0", "dev": True},
        }
    }
    found = node.parse_lock(json.dumps(lock).encode(), "package-lock.json")
    assert [(p.namespace, p.name, p.version) for p in found] == [
        ("", "a", "1.0.0"),
        ("@s", "b", "2.0.0"),
    ]
    assert not any(package.installed for package in found)
    with pytest.raises(DamagedPackageDataError, match="version 1"):
        node.parse_lock(b"{}", "package-lock.json")


def build_info(modules: str, version: str = "go1.22.1 X:y") -> bytes:
    """The build information as Go 1.18 and later write it."""

    def text(data: bytes) -> bytes:
        length, out = len(data), b""
        while length >= 0x80:
            out, length = out + bytes([length & 0x7F | 0x80]), length >> 7
        return out + bytes([length]) + data

    framed = b"\1" * 16 + modules.encode() + b"\2" * 16
    head = golang.MARK + bytes([8, 2])
    return head.ljust(32, b"\0") + text(version.encode()) + text(framed)


MODULES = (
    "path\texample.org/tool\nmod\texample.org/tool\t(devel)\t\n"
    "dep\tgolang.org/x/net\tv0.1.0\th1:x=\n"
    "dep\texample.org/old\tv1.0.0\n=>\texample.org/new\tv2.0.0\th1:y=\n"
)


def test_go_modules_with_replacements() -> None:
    found = golang.parse_info(build_info(MODULES), "bin/tool")
    assert [(p.namespace, p.name, p.version) for p in found] == [
        ("", "stdlib", "1.22.1"),
        ("example.org", "tool", ""),
        ("golang.org/x", "net", "v0.1.0"),
        ("example.org", "new", "v2.0.0"),
    ]
    assert {p.files for p in found} == {("bin/tool",)}


@pytest.mark.parametrize("cut", [1, 7, 4096])
def test_go_information_is_found_across_pieces(cut: int) -> None:
    data = b"\x7fELF" + b"x" * 1000 + golang.MARK + b"x" * 7 + bytes(4)
    data += bytes(-len(data) % 16) + build_info(MODULES) + b"tail"
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    info = golang.find_info(pieces)
    assert info is not None
    assert info.startswith(build_info(MODULES))
    assert golang.find_info([b"x" * 5000]) is None


def test_go_information_that_is_cut_or_old() -> None:
    assert golang.parse_info(golang.MARK.ljust(40, b"\0"), "x") == []
    for end in (33, 40, 60):
        with pytest.raises(DamagedPackageDataError, match="cut short"):
            golang.parse_info(build_info(MODULES)[:end], "x")


@pytest.mark.peer
def test_a_program_that_go_built(tmp_path: Path) -> None:
    program = shutil.which("docker") or require_program("skopeo")
    with open(os.path.realpath(program), "rb") as file:
        info = golang.find_info(iter(lambda: file.read(1 << 20), b""))
    assert info is not None
    assert golang.parse_info(info, "usr/bin/x")[0].name == "stdlib"


def jar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


POM = b"#x\nversion=1.0\ngroupId=org.example\nartifactId=lib\n"
AT = "META-INF/maven/org.example/lib/pom.properties"


def test_java_archives_within_archives() -> None:
    inner = jar({AT: POM.replace(b"lib", b"inner")})
    data = jar({AT: POM, "BOOT-INF/lib/inner.jar": inner, "x.class": b""})
    found = java.parse_archive(data, "app.jar")
    assert [(p.namespace, p.name, p.version) for p in found] == [
        ("org.example", "lib", "1.0"),
        ("org.example", "inner", "1.0"),
    ]


def test_java_bombs_and_damage_are_refused() -> None:
    bomb = jar({AT: b"version=" + b"1" * 10_000_000})
    with pytest.raises(DamagedPackageDataError, match="too long"):
        java.parse_archive(bomb, "app.jar")
    for damaged in (b"", b"PK\3\4", jar({AT: POM})[:-10], jar({AT: POM})[10:]):
        with pytest.raises(DamagedPackageDataError):
            java.parse_archive(damaged, "app.jar")
    nested = jar({AT: POM})
    for _ in range(5):
        nested = jar({"a.jar": nested})
    assert java.parse_archive(nested, "app.jar") == []
