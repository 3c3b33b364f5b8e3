"""What people write behind -o, and what it means."""

from __future__ import annotations

import pytest

from engine.builds.delivery.annotations import AnnotationError
from engine.builds.delivery.outputs import (
    STORED,
    Output,
    OutputError,
    Packing,
    parse_output,
    parse_outputs,
)
from images.errors import ImagesError
from images.reference import Reference


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("out", Output("local", "out")),
        ("./a,b", None),
        ("-", Output("tar", "-")),
        ("type=local,dest=out", Output("local", "out")),
        ("type=local,dest=out,mode=delete", Output("local", "out", delete=True)),
        (
            "type=local,dest=out,platform-split=false",
            Output("local", "out", platform_split=False),
        ),
        ("type=tar", Output("tar", "-")),
        ("type=tar,dest=x.tar", Output("tar", "x.tar")),
        ("type=oci", Output("oci", "-")),
        ("type=oci,dest=lay,tar=false", Output("oci", "lay", tar=False)),
        ("type=docker,dest=d.tar", Output("docker", "d.tar", packing=Packing(docker_types=True))),
        ("type=docker", Output("docker", store=True)),
        (
            "type=docker,dest=d.tar,compression=zstd",
            Output("docker", "d.tar", packing=Packing("zstd")),
        ),
        (
            "type=docker,dest=d,oci-mediatypes=true",
            Output("docker", "d", packing=Packing()),
        ),
        ("type=image", Output("image", store=True, tar=False)),
        ("type=image,store=false,push=true", Output("image", push=True, tar=False)),
        ("type=registry", Output("registry", push=True, tar=False)),
        ("type=image,push", Output("image", store=True, push=True, tar=False)),
        (
            "type=registry,registry.insecure=true",
            Output("registry", push=True, insecure=True, tar=False),
        ),
        (
            "type=image,oci-mediatypes=false",
            Output(
                "image",
                store=True,
                tar=False,
                packing=Packing(docker_types=True),
                types_asked=True,
            ),
        ),
        ("type=cacheonly", Output("cacheonly")),
        (
            "type=oci,compression=zstd,compression-level=19,force-compression=true",
            Output("oci", "-", packing=Packing("zstd", 19, True)),
        ),
        (
            "type=oci,force-compression=true",
            Output("oci", "-", packing=Packing("gzip", None, True)),
        ),
        ("type=oci,compression-level=9", Output("oci", "-", packing=Packing("gzip", 9))),
        ("type=oci,rewrite-timestamp=false", Output("oci", "-", rewrite_timestamps=False)),
        ("TYPE=oci, DEST=x", Output("oci", "x")),
    ],
)
def test_what_outputs_mean(text: str, output: Output | None) -> None:
    if output is None:
        with pytest.raises(OutputError):
            parse_output(text)
        return
    assert parse_output(text) == output


def test_several_names_are_quoted() -> None:
    output = parse_output('type=image,"name=a.example/x:1,b.example/y",push=true')
    assert output.names == tuple(map(Reference.parse, ("a.example/x:1", "b.example/y")))


def test_attributes_of_names() -> None:
    output = parse_output(
        "type=image,name=r.example/a,push-by-digest=true,name-canonical=true,push=true,"
        "dangling-name-prefix=r.example/b,unpack=true,oci-artifact=false"
    )
    assert output.push_by_digest
    assert output.unpack
    assert output.artifact_statements is False


def test_annotations_of_one_output() -> None:
    output = parse_output(
        "type=oci,annotation.a=1,annotation-index.b=2,annotation[linux/arm64].c=3"
    )
    told = [(item.level, str(item.platform), item.key, item.value) for item in output.annotations]
    assert told == [
        ("manifest", "None", "a", "1"),
        ("index", "None", "b", "2"),
        ("manifest", "linux/arm64", "c", "3"),
    ]


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("", "empty", "write -o DIR"),
        ("type=imgae", r"unknown type imgae \(did you mean image\?\)", "use type= one of image"),
        ("dest=out", "no type", "use type="),
        ("type=local", "needs a directory", "add dest=DIR"),
        ("type=local,dest=-", "needs a directory", "add dest=DIR"),
        ("type=oci,tar=false", "needs a directory", "leave tar=false out"),
        ("type=local,dest=", "dest is empty", ""),
        ("type=local,dest=a,dest=b", "dest is given twice", ""),
        ("type=oci,dset=x", r"no attribute dset \(did you mean dest\?\)", "type=oci has"),
        ("type=oci,push=true", "no attribute push", "push belongs to type=image and registry"),
        ("type=cacheonly,dest=x", "no attribute dest", "no attributes"),
        ("type=local,dest=x,annotation.a=b", "no attribute annotation.a", ""),
        ("type=local,dest=x,mode=move", "unknown mode 'move'", "mode=copy or mode=delete"),
        ("type=image,push=maybe", "push=maybe is neither true nor false", ""),
        ("type=oci,compression=gzop", r"unknown compression gzop \(did you mean gzip\?\)", "zstd"),
        ("type=oci,compression-level=10", "compression-level=10 cannot be", "gzip has 0 to 9"),
        ("type=oci,compression=zstd,compression-level=23", "cannot be", "zstd has 0 to 22"),
        ("type=oci,compression=uncompressed,compression-level=1", "cannot be", "no levels"),
        ("type=oci,compression-level=-1", "cannot be", "0 to 9"),
        ("type=image,compression=zstd,oci-mediatypes=false", "no Docker media type", "gzip"),
        ('type=image,"name=a', "is not comma-separated", ""),
    ],
)
def test_mistakes_are_told(text: str, what: str, fix: str) -> None:
    with pytest.raises(OutputError, match=what) as caught:
        parse_output(text)
    assert fix in (caught.value.fix or "")
    assert caught.value.where == "--output"


def test_malformed_parts_of_others() -> None:
    for text in ("type=image,name=a/B", "type=oci,annotation-indx.a=1", "type=oci,annotation=1"):
        with pytest.raises(ImagesError):
            parse_output(text)
    with pytest.raises(AnnotationError, match="has no key"):
        parse_output("type=oci,annotation.=1")


def test_push_and_load() -> None:
    assert parse_outputs([]) == ()
    assert parse_outputs([], load=True) == (STORED,)
    assert parse_outputs([], push=True) == (Output("registry", push=True),)
    assert parse_outputs([], push=True, load=True) == (Output("registry", push=True), STORED)
    (only,) = parse_outputs(["type=image"], push=True)
    assert only.push
    assert only.store
    assert parse_outputs(["type=docker"], load=True) == (Output("docker", store=True),)
    local, pushed = parse_outputs(["out"], push=True)
    assert (local.type, local.push, pushed.type) == ("local", False, "registry")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["-", "type=oci"], "standard output"),
        (["out", "type=tar,dest=out"], "same place"),
        (
            ["type=oci,rewrite-timestamp=true", "type=image,rewrite-timestamp=false"],
            "disagree about rewrite-timestamp",
        ),
    ],
)
def test_outputs_that_do_not_go_together(values: list[str], what: str) -> None:
    with pytest.raises(OutputError, match=what):
        parse_outputs(values)
