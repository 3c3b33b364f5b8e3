"""``--cache-from`` and ``--cache-to`` as buildx users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.builds.remote_cache.options import (
    CacheSource,
    CacheTarget,
    parse_sources,
    parse_targets,
)
from engine.options.errors import OptionError
from images.digest import Digest
from images.reference import Reference

APP = Reference.parse("user/app:cache")
DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("user/app:cache", [CacheSource("registry", APP)]),
        ("user/app:cache,user/app", [APP, Reference.parse("user/app")]),
        ("type=registry,ref=user/app:cache", [CacheSource("registry", APP)]),
        ("type=inline,ref=user/app:cache", [CacheSource("registry", APP)]),
        (
            "type=registry,ref=user/app:cache,registry.insecure=true,verify=1,ignore-error=false",
            [CacheSource("registry", APP, insecure=True, verify=True, ignore_error=False)],
        ),
        ("type=local,src=/a b", [CacheSource("local", path=Path("/a b"))]),
        (
            f'type=local,"src=/a,b",tag=x,digest={DIGEST}',
            [CacheSource("local", path=Path("/a,b"), tag="x", digest=DIGEST)],
        ),
    ],
)
def test_sources(text: str, sources: list[CacheSource | Reference]) -> None:
    wanted = [CacheSource("registry", it) if isinstance(it, Reference) else it for it in sources]
    assert list(parse_sources([text])) == wanted


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("user/app:cache", CacheTarget("registry", APP)),
        (
            "type=registry,ref=user/app:cache,mode=max,image-manifest=true,oci-mediatypes=true",
            CacheTarget("registry", APP, mode="max"),
        ),
        (
            "type=registry,ref=user/app:cache,compression=uncompressed,force-compression=true",
            CacheTarget("registry", APP, compression="none", force=True),
        ),
        (
            "type=local,dest=/c,tag=t,compression=zstd,compression-level=22,mounts=true,reset=true",
            CacheTarget(
                "local",
                path=Path("/c"),
                tag="t",
                compression="zstd",
                level=22,
                mounts=True,
                reset=True,
            ),
        ),
    ],
)
def test_targets(text: str, target: CacheTarget) -> None:
    assert parse_targets([text]) == ((target,), False)


def test_an_image_may_carry_its_cache_beside_other_targets() -> None:
    assert parse_targets(["type=inline", "user/app:cache"]) == (
        (CacheTarget("registry", APP),),
        True,
    )


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("", "an empty value names no cache", None),
        ("type=gha,scope=x", "type=gha is not supported", "ghcr.io"),
        ("type=s3,bucket=x", "type=s3 is not supported", "lading registry serve"),
        ("type=azblob", "type=azblob is not supported", "type=registry"),
        ("type=nfs", "unknown type 'nfs'", "type=local"),
        ("ref=user/app", "it has no type", "type=registry"),
        ("type=registry", "type=registry needs ref=NAME", None),
        ("type=registry,ref=User/App", "ref: ", None),
        ("UPPER", "", None),
        ("type=registry,ref=a,scope=x,mdoe=max", "knows no mdoe, scope", "remote-cache.md"),
        ("type=registry,ref=a,user", "'user' is not key=value", None),
        ("type=registry,ref=a,ignore-error=perhaps", "ignore-error is true or false", None),
        ('type=registry,ref="a', "", None),
    ],
)
def test_what_no_flag_can_mean(text: str, message: str, fix: str | None) -> None:
    for parse in (parse_sources, parse_targets):
        with pytest.raises(OptionError) as caught:
            parse([text])
        assert message in caught.value.what
        if fix is not None:
            assert fix in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=local", "type=local needs dest=DIRECTORY"),
        ("type=inline,mode=max", "mode is one of min"),
        ("type=registry,ref=a,mode=all", "mode is one of min, max"),
        ("type=registry,ref=a,compression=xz", "compression is one of gzip, zstd, uncompressed"),
        ("type=registry,ref=a,compression=gzip,compression-level=10", "gzip is 0 to 9"),
        ("type=registry,ref=a,compression-level=x", "compression-level: "),
        ("type=registry,ref=a,image-manifest=false", "image-manifest=false"),
        ("type=registry,ref=a,oci-mediatypes=false", "oci-mediatypes=false"),
    ],
)
def test_what_no_target_can_be(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_targets([text])


def test_what_no_source_can_be() -> None:
    for text in ("type=local", "type=local,src=", "type=local,src=/x,digest=sha256:12"):
        with pytest.raises(OptionError):
            parse_sources([text])
