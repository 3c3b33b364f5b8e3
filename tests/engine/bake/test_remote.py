"""Where contexts of a definition from elsewhere are."""

from __future__ import annotations

import pytest

from engine.bake.remote import Origin, rebased, with_subdirectory
from tests.engine.bake.support import selection


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("https://h/r.git", ".", "https://h/r.git"),
        ("https://h/r.git", "a/b", "https://h/r.git#:a/b"),
        ("https://h/r.git#main", "a", "https://h/r.git#main:a"),
        ("https://h/r.git#main:top", "a", "https://h/r.git#main:top/a"),
        ("https://h/r.git#main:top", "..", "https://h/r.git#main:."),
        ("https://h/r.git?ref=v1&subdir=top", "a", "https://h/r.git?ref=v1&subdir=top%2Fa"),
        ("git@h:r.git#v1", "a", "git@h:r.git#v1:a"),
    ],
)
def test_a_directory_in_a_repository_has_a_url(url: str, path: str, expected: str) -> None:
    assert with_subdirectory(url, path) == expected


def test_only_relative_paths_move_into_an_archive() -> None:
    found = selection(
        'target "default" {\n context = "a/../b"\n contexts = {\n x = "."\n i = "docker-image://i"\n'
        ' t = "target:other"\n u = "https://h/r.git"\n abs = "/abs"\n'
        ' here = "cwd://x/../y"\n }\n}\n'
        'target "other" {}'
    )
    target = rebased(found, Origin("https://h/a.tgz", "/tree", repository=False)).targets["default"]
    assert target.context == "/tree/b"
    assert target.contexts == {
        "x": "/tree",
        "i": "docker-image://i",
        "t": "target:other",
        "u": "https://h/r.git",
        "abs": "/abs",
        "here": "y",
    }
