"""SPDX documents: valid to SPDX's own tools, the same twice, and complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.attestations import spdx
from engine.attestations.licenses import declared, understood
from engine.attestations.sbom import rows
from images.packages.inventory import take_inventory
from images.store import ImageStore
from tests.images.packages.imagekit import RELEASE, file, image_of, package_json, status
from tests.images.packages.rpmkit import hello, ndb_database

CREATED = "2024-01-02T03:04:05Z"
COPYRIGHT = b"""Format: https://x

Files: *
License: GPL-2+ or Artistic-dist

Files: a
License: Expat
"""
METADATA = """Name: P
Version: 1
License: Own (c) é licence
Author: A (B) <x@y>
Home-page: not a url
""".encode()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "store")


def document(store: ImageStore) -> dict[str, object]:
    steps = {
        "|1 TOKEN=hush /bin/sh -c apt-get install a": [
            file("etc/os-release", RELEASE),
            file("var/lib/dpkg/status", status(a="1:2", b="3")),
            file("usr/share/doc/a/copyright", COPYRIGHT),
            file("var/lib/rpm/Packages.db", ndb_database([hello(VENDOR='The "V" (x)')])),
        ],
        "COPY . /": [
            file("node_modules/@s/n/package.json", package_json("@s/n")),
            file("copy/node_modules/@s/n/package.json", package_json("@s/n")),
            file("node_modules/broken/package.json", b"{"),
            file("site/p.dist-info/METADATA", METADATA),
        ],
    }
    image = image_of(store, steps)
    inventory = take_inventory(image, store)
    return spdx.document(
        inventory, image.descriptor, name="example/app:1", created=CREATED, tool="lading-test"
    )


def test_the_document_is_valid_to_spdx_own_tools(store: ImageStore, tmp_path: Path) -> None:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    path = tmp_path / "sbom.spdx.json"
    path.write_text(json.dumps(document(store)))
    parsed = parse_file(str(path))
    assert validate_full_spdx_document(parsed) == []
    assert len(parsed.packages) == 7


def test_the_document_says_where_each_package_comes_from(store: ImageStore) -> None:
    packages = {item["name"]: item for item in document(store)["packages"]}  # type: ignore[attr-defined]
    assert packages["a"]["sourceInfo"].startswith("/var/lib/dpkg/status; layer sha256:")
    assert packages["a"]["sourceInfo"].endswith("step 1: /bin/sh -c apt-get install a")
    assert packages["a"]["versionInfo"] == "1:2"
    assert "LicenseRef-" in packages["a"]["licenseDeclared"]
    assert packages["@s/n"]["licenseDeclared"] == "MIT"
    assert packages["P"]["supplier"] == "Person: A B (x@y)"
    assert "homepage" not in packages["P"]
    assert packages["hello"]["supplier"] == "Organization: The V x"


def test_equal_images_have_equal_documents(store: ImageStore, tmp_path: Path) -> None:
    other = ImageStore.open(tmp_path / "other")
    assert json.dumps(document(store)) == json.dumps(document(other))


def test_what_could_not_be_read_is_in_the_comment(store: ImageStore) -> None:
    text = json.dumps(document(store))
    assert "node_modules/broken/package.json" in text
    assert "hush" not in text


def test_the_table_leaves_the_image_itself_out(store: ImageStore) -> None:
    found = rows(document(store))
    assert [row["Type"] for row in found].count("npm") == 2
    assert {row["Name"] for row in found} == {"a", "b", "hello", "@s/n", "P"}
    assert rows({"packages": [1, {}], "relationships": "x"})[0]["Name"] == ""


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "MIT"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("(MIT AND Zlib) OR ISC", "(MIT AND Zlib) OR ISC"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPLv2.1+", "LGPL-2.1-or-later"),
        ("GPLv3", "GPL-3.0-only"),
        ("Expat", "MIT"),
        ("Apache License 2.0", "Apache-2.0"),
        ("GPL-2.0-only WITH Linux-syscall-note", "GPL-2.0-only WITH Linux-syscall-note"),
        ("MIT AND ISC OR Zlib", None),
        ("Artistic", None),
        ("GPL-2+ with own exception", None),
        ("(MIT", None),
        ("MIT)", None),
        ("", None),
        ("MIT OR", None),
        ("(" * 1000, None),
        (" " * 100_000, None),
    ],
)
def test_only_what_is_certain_becomes_an_expression(text: str, expression: str | None) -> None:
    assert understood(text) == expression


def test_other_licences_are_kept_word_for_word() -> None:
    found = declared(["MIT OR ISC", "My own", "My own"])
    [key] = found.texts
    assert found.texts == {key: "My own"}
    assert found.expression == f"(MIT OR ISC) AND {key}"
    assert declared([]).expression == ""
