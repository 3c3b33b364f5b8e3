"""RUN --mount: options checked once variables are known."""

from __future__ import annotations

import pytest

from dockerfile_grammar.errors import MountError
from dockerfile_grammar.expand import expand
from dockerfile_grammar.mounts import MountSpec, resolve
from dockerfile_grammar.nodes import Mount
from dockerfile_grammar.syntax import read_mount

ENV = {"TYPE": "cache", "T": "/t"}


def spec(text: str) -> MountSpec:
    return resolve(Mount(read_mount(text)), lambda value: expand(value, ENV))


def fault(text: str) -> str:
    with pytest.raises(MountError) as caught:
        spec(text)
    return caught.value.what


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=.", MountSpec(target=".")),
        ("type=$TYPE,dst=$T,id=x-$T", MountSpec("cache", target="/t", id="x-/t", read_only=False)),
        (
            "type=bind,from=s,src=/a,destination=/b,rw",
            MountSpec(source="/a", target="/b", from_="s", read_only=False),
        ),
        ("target=/x,readwrite=false", MountSpec(target="/x")),
        ("type=cache,target=/x,ro", MountSpec("cache", target="/x")),
        (
            "TYPE=Cache,target=/x,sharing=LOCKED,mode=0700,uid=1,gid=2",
            MountSpec(
                "cache", target="/x", sharing="locked", mode=0o700, uid=1, gid=2, read_only=False
            ),
        ),
        (
            "type=tmpfs,target=/x,size=64m",
            MountSpec("tmpfs", target="/x", size=64 << 20, read_only=False),
        ),
        (
            "type=secret,id=k,env=E,required",
            MountSpec("secret", id="k", env="E", required=True, read_only=False),
        ),
        ("type=ssh", MountSpec("ssh", read_only=False)),
    ],
)
def test_accepted(text: str, expected: MountSpec) -> None:
    assert spec(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=cahce,target=/x", 'unsupported mount type "cahce" (did you mean cache?)'),
        ("targte=/x", "unexpected key 'targte' in 'targte=/x' (did you mean target?)"),
        ("type=bind,mode=0700,target=/x", 'mode not allowed for "bind" type mounts'),
        ("size=1,target=/x", "unexpected key 'size' for mount type 'bind'"),
        ("type=secret,id=a,src=b", "both source and id can't be set"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("target=/", 'invalid mount target "/"'),
        ("type=cache", 'target required for "cache" type mounts'),
        ("type=cache,target=/x,sharing=lokced", 'unsupported sharing value "lokced" (did you mean'),
        ("type=cache,target=/x,uid=me", "invalid value me for uid"),
        ("type=cache,target=/x,mode=888", "invalid value 888 for mode"),
        ("type=tmpfs,target=/x,size=big", "invalid value for size: big"),
        ("type=ssh,required=maybe", "invalid value for required: maybe"),
        ("source,target=/x", "invalid field 'source' must be a key=value pair"),
        (",target=/x", "invalid field '' must be a key=value pair"),
    ],
)
def test_refused(text: str, message: str) -> None:
    assert fault(text).startswith(message)
