"""dpkg's, apk's and the distribution's own files."""

from __future__ import annotations

import pytest

from images.packages import apk, dpkg, release
from images.packages.model import DamagedPackageDataError, clean, relative
from images.packages.release import Release

STATUS = b"""Package: openssl
Status: install ok installed
Priority: optional
Maintainer: Debian OpenSSL Team <pkg@example.org>
Architecture: amd64
Source: openssl-src (3.0.1-1)
Version: 1:3.0.1-1+b2
Homepage: https://www.openssl.org/
Description: tool
 Package: not-a-package
 .
 more

Package: left-over
Status: deinstall ok config-files
Version: 1

package: lower
status: install ok installed
version: 2
"""


def test_dpkg_knows_what_is_installed() -> None:
    first, second = dpkg.parse_status(STATUS)
    assert (first.name, first.version, first.architecture) == ("openssl", "1:3.0.1-1+b2", "amd64")
    assert first.origin == "openssl-src"
    assert first.supplier == "Debian OpenSSL Team <pkg@example.org>"
    assert first.homepage == "https://www.openssl.org/"
    assert second.name == "lower"


def test_a_paragraph_of_distroless_has_no_state() -> None:
    assert [p.name for p in dpkg.parse_status(b"Package: tzdata\nVersion: 2024a\n")] == ["tzdata"]


def test_files_of_a_package_are_found_by_name_and_architecture() -> None:
    package = dpkg.parse_status(STATUS)[0]
    lists = {"openssl": ("usr/bin/a",), "openssl:amd64": ("usr/bin/openssl",)}
    assert dpkg.with_files(package, lists).files == ("usr/bin/openssl",)
    assert dpkg.with_files(package, {}).files == ()


def test_lists_do_not_leave_the_root() -> None:
    assert dpkg.parse_list(b"/.\n/usr\n/usr/bin/x\n/../../etc/passwd\n\n/a\0b\n") == (
        "usr",
        "usr/bin/x",
    )
    assert dpkg.parse_md5sums(b"0123  usr/bin/x\nbroken\n") == ("usr/bin/x",)


def test_only_machine_readable_copyright_files_name_licences() -> None:
    text = b"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+
 On Debian systems ...

Files: lib/*
License: Expat

License: Artistic
 The text
"""
    assert dpkg.parse_copyright(text) == ("GPL-2+", "Expat")
    assert dpkg.parse_copyright(b"License: GPL\n") == ()


APK = b"""C:Q1abc
P:musl
V:1.2.5-r0
A:x86_64
o:musl-src
m:A. Nybody <a@example.org>
L:MIT
U:https://musl.libc.org/
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
R:libc.musl-x86_64.so.1
F:etc
F:..
R:passwd

V:no-name

P:base
V:3
"""


def test_apk_lists_packages_with_their_files() -> None:
    musl, base = apk.parse_installed(APK)
    assert (musl.name, musl.version, musl.architecture) == ("musl", "1.2.5-r0", "x86_64")
    assert musl.files == ("lib/ld-musl-x86_64.so.1", "lib/libc.musl-x86_64.so.1")
    assert (musl.licenses, musl.origin) == (("MIT",), "musl-src")
    assert base.files == ()


def test_os_release_is_read_with_its_quotes() -> None:
    text = b'# c\nID="Alpine"\nVERSION_ID=\'3.20\'\nPRETTY_NAME="A \\"b\\""\nbroken\n'
    assert release.parse_release(text) == Release("alpine", "3.20", 'A "b"')
    assert release.parse_release(b"ID=../x\nVERSION_ID=a b\n") == Release()


def test_fields_are_one_line_of_plain_text() -> None:
    assert clean("a\n\x1b[31mb\u202ec\ud800") == "a [31mbc"
    assert clean(7) == ""
    with pytest.raises(DamagedPackageDataError, match="longer than 4096"):
        clean("x" * 5000)


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/a//b/./c", "a/b/c"), ("a/../b", "b"), ("../b", None), ("/", None), ("a\0", None)],
)
def test_paths_stay_within_the_root(path: str, kept: str | None) -> None:
    assert relative(path) == kept
