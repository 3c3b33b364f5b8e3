"""Annotations find the documents they are for."""

from __future__ import annotations

import pytest

from engine.builds.delivery.annotations import (
    INDEX,
    INDEX_DESCRIPTOR,
    MANIFEST,
    MANIFEST_DESCRIPTOR,
    Annotation,
    AnnotationError,
    annotations_of,
    parse_annotations,
)
from images.errors import InvalidPlatformError
from images.platform import Platform

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=b", [(MANIFEST, None, "a", "b")]),
        ("a=", [(MANIFEST, None, "a", "")]),
        ("a=b:c=d", [(MANIFEST, None, "a", "b:c=d")]),
        ("org.x.y=https://example.com", [(MANIFEST, None, "org.x.y", "https://example.com")]),
        ("index:a=b", [(INDEX, None, "a", "b")]),
        ("index:a:b=c", [(INDEX, None, "a:b", "c")]),
        ("manifest[linux/arm64]:a=b", [(MANIFEST, ARM64, "a", "b")]),
        ("manifest[aarch64]:a=b", [(MANIFEST, ARM64, "a", "b")]),
        (
            "index,manifest-descriptor[linux/amd64],index-descriptor:a=b",
            [
                (INDEX, None, "a", "b"),
                (MANIFEST_DESCRIPTOR, AMD64, "a", "b"),
                (INDEX_DESCRIPTOR, None, "a", "b"),
            ],
        ),
    ],
)
def test_levels(text: str, found: list[tuple[str, Platform | None, str, str]]) -> None:
    parsed = parse_annotations([text])
    assert [(item.level, item.platform, item.key, item.value) for item in parsed] == found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a", "is not KEY=VALUE"),
        ("=b", "is not KEY=VALUE"),
        ("index:", "is not KEY=VALUE"),
        ("manifset:a=b", r"unknown annotation level manifset \(did you mean manifest\?\)"),
        ("index[linux/amd64]:a=b", "index is the same for every platform"),
        ("index-descriptor[linux/amd64]:a=b", "the same for every platform"),
    ],
)
def test_mistakes(text: str, what: str) -> None:
    with pytest.raises(AnnotationError, match=what) as caught:
        parse_annotations([text])
    assert caught.value.where == "--annotation"


def test_a_malformed_platform() -> None:
    with pytest.raises(InvalidPlatformError):
        parse_annotations(["manifest[a/b/c/d]:x=y"])


def test_the_nearest_wins() -> None:
    annotations = [
        Annotation(MANIFEST, "a", "arm", ARM64),
        Annotation(MANIFEST, "a", "first"),
        Annotation(MANIFEST, "a", "last"),
        Annotation(INDEX, "a", "index"),
    ]
    assert annotations_of(annotations, MANIFEST, ARM64) == {"a": "arm"}
    assert annotations_of(annotations, MANIFEST, AMD64) == {"a": "last"}
    assert annotations_of(annotations, INDEX) == {"a": "index"}
    assert annotations_of(annotations, MANIFEST_DESCRIPTOR, ARM64) == {}
