"""-v, --mount and --tmpfs."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.options.errors import OptionError
from engine.options.mounts import (
    MountOption,
    parse_mount,
    parse_mounts,
    parse_tmpfs,
    parse_volume,
)

HOME = os.path.expanduser("~")


def bind(target: str, source: str, **more) -> MountOption:
    return MountOption("bind", target, source, **more)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", MountOption("volume", "/data")),
        ("/data:ro", MountOption("volume", "/data", read_only=True)),
        ("name:/data", MountOption("volume", "/data", "name")),
        ("name:/data:ro,nocopy", MountOption("volume", "/data", "name", True, no_copy=True)),
        ("/host:/in", bind("/in", "/host", create_source=True)),
        ("/host/../other/:/in/", bind("/in", "/other", create_source=True)),
        ("/host:/in:rw,z", bind("/in", "/host", create_source=True)),
        (
            "/host:/in:ro,rslave",
            bind("/in", "/host", read_only=True, propagation="rslave", create_source=True),
        ),
        ("./rel:/in", bind("/in", f"{os.getcwd()}/rel", create_source=True)),
        ("~/x:/in", bind("/in", f"{HOME}/x", create_source=True)),
    ],
)
def test_volumes(text, mount):
    assert parse_volume(text) == mount


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "invalid volume specification"),
        (":", "invalid volume specification"),
        ("a:b:c:d", "invalid volume specification"),
        (":/x", "invalid volume specification"),
        ("/x:", "invalid volume specification"),
        ("/host:rel", "mount path must be absolute"),
        ("rel", "mount path must be absolute"),
        ("/host:/", "destination can't be '/'"),
        ("/host:/x/..", "destination can't be '/'"),
        ("/host:/x:rw,ro", "invalid mode: rw,ro"),
        ("/host:/x:fast", "invalid mode: fast"),
        ("x:/data", "invalid characters for a local volume name"),
        ("a b:/data", "invalid characters for a local volume name"),
        ("a/b:/data", "invalid characters for a local volume name"),
    ],
)
def test_malformed_volumes(text, words):
    with pytest.raises(OptionError) as caught:
        parse_volume(text)
    assert words in caught.value.what


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("dst=/data", MountOption("volume", "/data")),
        ("type=volume,src=name,target=/data,ro", MountOption("volume", "/data", "name", True)),
        ("source=name,dst=/d,volume-nocopy", MountOption("volume", "/d", "name", no_copy=True)),
        ("type=bind,src=/host,dst=/in", bind("/in", "/host")),
        ("type=bind,src=/host,dst=/in,readonly=true", bind("/in", "/host", read_only=True)),
        (
            "type=bind,src=/h,dst=/in,bind-propagation=rshared",
            bind("/in", "/h", propagation="rshared"),
        ),
        ("type=bind,src=/h,dst=/in,bind-nonrecursive=1", bind("/in", "/h", recursive=False)),
        ("type=bind,src=/h,dst=/in,bind-recursive=disabled", bind("/in", "/h", recursive=False)),
        ("type=bind,src=/h,dst=/in,bind-create-src", bind("/in", "/h", create_source=True)),
        ('type=bind,"src=/with,comma",dst=/in', bind("/in", "/with,comma")),
        (
            "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
            MountOption("tmpfs", "/t", data=("size=1048576", "mode=1770")),
        ),
    ],
)
def test_mounts(text, mount):
    assert parse_mount(text) == mount


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "target is required"),
        ("type=bind", "target is required"),
        ("type=npipe,dst=/x", "unsupported mount type 'npipe'"),
        ("type=bind,dst=/x", "source is required"),
        ("type=bind,src=rel,dst=/x", "mount path must be absolute"),
        ("type=bind,src=/h,dst=rel", "mount path must be absolute"),
        ("dst=/x,colour=red", "unexpected key 'colour' in 'colour=red'"),
        ("dst=/x,src", "invalid field 'src' must be a key=value pair"),
        ("dst=/x,ro=perhaps", "invalid value for readonly: perhaps"),
        ("type=tmpfs,src=x,dst=/x", "cannot mix 'source' with mount type 'tmpfs'"),
        ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=tmpfs,dst=/x,tmpfs-size=big", "invalid size: 'big'"),
        (
            "type=bind,src=/h,dst=/x,volume-nocopy",
            "cannot mix 'volume-nocopy' with mount type 'bind'",
        ),
        ("type=bind,src=/h,dst=/x,bind-propagation=x", "invalid propagation mode: x"),
        ("type=bind,src=/h,dst=/x,bind-recursive=x", "invalid value for bind-recursive: x"),
        ('"dst=/x', "cannot be read as comma-separated values"),
    ],
)
def test_malformed_mounts(text, words):
    with pytest.raises(OptionError) as caught:
        parse_mount(text)
    assert words in caught.value.what


def test_tmpfs():
    assert parse_tmpfs("/t") == MountOption("tmpfs", "/t")
    assert parse_tmpfs("/t:size=1m,exec,ro") == MountOption(
        "tmpfs", "/t", read_only=True, data=("size=1m", "exec")
    )
    with pytest.raises(OptionError, match="must be absolute"):
        parse_tmpfs("t")


def test_one_target_once():
    with pytest.raises(OptionError, match="Duplicate mount point: /data"):
        parse_mounts(["a1:/data"], ["type=tmpfs,dst=/data/"], [])
    assert len(parse_mounts(["a1:/data"], ["dst=/other"], ["/third"])) == 3


@given(st.text(max_size=30))
def test_nothing_but_option_errors(text):
    for parse in (parse_volume, parse_mount, parse_tmpfs):
        try:
            mount = parse(text)
        except OptionError:
            continue
        assert mount.target.startswith("/")
        assert "/../" not in mount.target + "/"
