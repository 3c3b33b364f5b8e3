"""Whole images: who brought what, what went again, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.config import HistoryEntry
from images.errors import ImagesError, InvalidManifestError
from images.layers.entry import Entry, opaque, whiteout
from images.packages.inventory import (
    by_layer,
    steps_of_layers,
    take_inventory,
    without_arguments,
)
from images.packages.model import Package
from images.packages.purl import purl
from images.packages.release import Release
from images.store import ImageStore
from records import replace
from tests.images.packages.imagekit import (
    RELEASE,
    file,
    folder,
    image_of,
    link,
    package_json,
    status,
)
from tests.images.packages.rpmkit import hello, ndb_database

STATUS = "var/lib/dpkg/status"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "store")


def brought(store: ImageStore, **steps: list[Entry]) -> dict[str, list[str]]:
    """The packages by the step that brought them."""
    inventory = take_inventory(image_of(store, steps), store)
    return {
        layer.created_by: sorted(f"{f.package.name} {f.package.version}" for f in found)
        for layer, found in by_layer(inventory)
    }


def test_a_package_belongs_to_the_step_that_brought_this_version(store: ImageStore) -> None:
    found = brought(
        store,
        base=[file(STATUS, status(a="1", b="1", c="1"))],
        upgrade=[file(STATUS, status(a="1", b="2", c="1"))],
        remove=[file(STATUS, status(a="1", b="2"))],
        again=[file(STATUS, status(a="1", b="2", c="1"))],
        touched=[file(STATUS, status(c="1", b="2", a="1"))],
    )
    assert found == {
        "base": ["a 1"],
        "upgrade": ["b 2"],
        "remove": [],
        "again": ["c 1"],
        "touched": [],
    }


def test_whiteouts_and_opaque_directories_take_packages_away(store: ImageStore) -> None:
    modules = "app/node_modules"
    found = brought(
        store,
        base=[
            file(f"{modules}/a/package.json", package_json("a")),
            file(f"{modules}/b/package.json", package_json("b")),
            file("lib/c.dist-info/METADATA", b"Name: c\nVersion: 1\n"),
        ],
        less=[whiteout(f"{modules}/a"), opaque("lib")],
        replaced=[file(modules, b"no directory any more")],
    )
    assert found == {"base": [], "less": [], "replaced": []}
    kept = brought(
        store,
        base=[file(f"{modules}/a/package.json", package_json("a"))],
        opaque=[opaque(modules), file(f"{modules}/b/package.json", package_json("b"))],
    )
    assert kept == {"base": [], "opaque": ["b 1.0.0"]}


def test_bytes_are_those_of_the_files_that_are_there(store: ImageStore) -> None:
    lists = "var/lib/dpkg/info"
    inventory = take_inventory(
        image_of(
            store,
            {
                "base": [
                    folder("usr"),
                    folder("usr/lib"),
                    link("lib", "usr/lib"),
                    file("etc/os-release", RELEASE),
                    file(STATUS, status(a="1", b="2")),
                    file(
                        f"{lists}/a.list", b"/.\n/lib\n/lib/liba.so\n/usr/bin/a\n/usr/share/gone\n"
                    ),
                    file(f"{lists}/b:amd64.list", b"/usr/bin/b\n/usr/bin/hard\n"),
                    file("usr/lib/liba.so", b"x" * 1000),
                    file("usr/bin/a", b"x" * 100),
                    file("usr/bin/b", b"x" * 10),
                    Entry("usr/bin/hard", "h", linkname="usr/bin/b"),
                    file("usr/share/gone", b"x" * 5000),
                ],
                "RUN smaller": [whiteout("usr/share/gone"), file("usr/bin/a", b"x")],
                "ENV A=b": [],
            },
        ),
        store,
    )
    sizes = {found.package.name: found.size for found in inventory.packages}
    assert sizes == {"a": 1001, "b": 10}
    base, smaller = inventory.layers
    assert (base.owned, smaller.owned) == (1010, 1)
    assert (base.number, smaller.number) == (1, 2)
    assert smaller.files_size == 1
    assert inventory.packages[0].purl == "pkg:deb/debian/a@1?arch=amd64&distro=debian-12"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_every_kind_at_once(store: ImageStore, compression: str) -> None:
    steps = {
        "all": [
            link("etc/os-release", "../usr/lib/os-release"),
            file("usr/lib/os-release", b"ID=fedora\nVERSION_ID=40\n"),
            file("usr/lib/sysimage/rpm/Packages.db", ndb_database([hello()])),
            file("usr/bin/hello", b"x" * 7),
            file("lib/apk/db/installed", b"P:musl\nV:1\nF:lib\nR:m\n"),
            file("lib/m", b"x" * 5),
            file("app/node_modules/@s/n/package.json", package_json("@s/n")),
            file("app/node_modules/@s/n/index.js", b"x" * 100),
            file("app/node_modules/@s/n/node_modules/other/x.js", b"x" * 1000),
            file("site/p-1.dist-info/METADATA", b"Name: p\nVersion: 1\n"),
            file("site/p-1.dist-info/RECORD", b"p.py,,\np-1.dist-info/RECORD,,\n"),
            file("site/p.py", b"x" * 3),
        ]
    }
    inventory = take_inventory(image_of(store, steps, compression=compression), store)
    found = {item.package.type: item for item in inventory.packages}
    assert found["rpm"].purl == (
        "pkg:rpm/fedora/hello@1.2-3?arch=noarch&distro=fedora-40&epoch=1&upstream=greetings"
    )
    assert found["apk"].size == 5
    assert found["npm"].purl == "pkg:npm/%40s/n@1.0.0"
    assert found["npm"].size == 100 + len(package_json("@s/n"))
    assert found["pypi"].size > 3
    assert found["rpm"].size == 7


def test_a_lock_file_counts_only_without_its_modules(store: ImageStore) -> None:
    lock = b'{"packages": {"node_modules/a": {"version": "9.0.0"}}}'
    assert brought(store, base=[file("srv/package-lock.json", lock)]) == {"base": ["a 9.0.0"]}
    both = [
        file("srv/package-lock.json", lock),
        file("srv/node_modules/a/package.json", package_json("a")),
    ]
    assert brought(store, base=both) == {"base": ["a 1.0.0"]}


def test_what_cannot_be_read_is_told_and_hides_nothing(store: ImageStore) -> None:
    steps = {
        "base": [
            file("app/node_modules/a/package.json", b"{"),
            file("var/lib/rpm/Packages", b"x" * 600),
            file(STATUS, status(b="1")),
        ]
    }
    inventory = take_inventory(image_of(store, steps), store)
    assert [found.package.name for found in inventory.packages] == ["b"]
    assert [path for path, _ in inventory.problems] == [
        "app/node_modules/a/package.json",
        "var/lib/rpm/Packages",
    ]


def test_links_that_go_in_circles_end(store: ImageStore) -> None:
    steps = {
        "base": [
            link("a", "b"),
            link("b", "a"),
            link("up", "../../.."),
            file(STATUS, status(x="1")),
            file("var/lib/dpkg/info/x.list", b"/a/f\n/up/up/etc/f\n"),
            file("etc/f", b"xy"),
        ]
    }
    [found] = take_inventory(image_of(store, steps), store).packages
    assert found.size == 2


def test_a_damaged_layer_is_an_error(store: ImageStore) -> None:
    image = image_of(store, {"base": [file(STATUS, status(x="1"))]})
    path = store.blobs.path(image.manifest.layers[0].digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ImagesError):
        take_inventory(image, store)


def test_manifests_that_do_not_fit_are_refused(store: ImageStore) -> None:
    image = image_of(store, {"base": [file("a", b"x")]})
    foreign = replace(image.manifest.layers[0], media_type="application/x-strange")
    strange = replace(image.manifest, layers=(foreign,))
    for manifest in (replace(image.manifest, layers=()), strange):
        with pytest.raises(InvalidManifestError):
            take_inventory(replace(image, manifest=manifest), store)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("|2 TOKEN=a b=c d /bin/sh -c make", "/bin/sh -c make"),
        ("|1 TOKEN=x npm ci", "npm ci"),
        ("RUN |1 TOKEN=x y /bin/sh -c make # buildkit", "RUN /bin/sh -c make # buildkit"),
        ("COPY a b", "COPY a b"),
        ("| x", "| x"),
    ],
)
def test_build_arguments_are_cut_off(text: str, shown: str) -> None:
    assert without_arguments(text) == shown


@pytest.mark.parametrize(
    ("package", "url"),
    [
        (Package("deb", "lib++", "1:2~a+b"), "pkg:deb/debian/lib%2B%2B@1:2~a%2Bb"),
        (Package("apk", "Musl", "1"), "pkg:apk/alpine/musl@1"),
        (Package("pypi", "My_Pkg.x", "1"), "pkg:pypi/my-pkg-x@1"),
        (Package("npm", "a", "1", namespace="@s"), "pkg:npm/%40s/a@1"),
        (
            Package("golang", "net", "v1", namespace="golang.org/x"),
            "pkg:golang/golang.org/x/net@v1",
        ),
        (Package("golang", "tool", ""), "pkg:golang/tool"),
        (Package("maven", "lib", "1", namespace="org.e"), "pkg:maven/org.e/lib@1"),
    ],
)
def test_package_urls(package: Package, url: str) -> None:
    assert purl(package, Release()) == url


def test_layers_without_history_are_below_those_that_have_one() -> None:
    entries = [HistoryEntry(created_by="ENV a=b", empty_layer=True), HistoryEntry(created_by="RUN")]
    assert steps_of_layers(entries, 3) == [(0, ""), (0, ""), (2, "RUN")]
    assert steps_of_layers(entries * 2, 1) == [(0, "")]
