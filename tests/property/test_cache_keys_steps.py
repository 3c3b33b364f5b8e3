"""Keys of planned steps: every part of an operation that decides its result is in its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.keys import key_of
from builder.plan.ops import (
    BindSpec,
    CacheSpec,
    Copy,
    InlineFile,
    Run,
    SecretSpec,
    SshSpec,
    TmpfsSpec,
    Workdir,
)
from builder.runner import Resources, Ulimit
from images.platform import Platform

WORDS = st.lists(st.text(max_size=5), max_size=4).map(tuple)
RUN = Run(
    args=("/bin/sh", "-c", "x"),
    env=("A=b",),
    cwd="/",
    user="",
    platform=Platform("linux", "amd64"),
    command="/bin/sh -c x",
)
COPY = Copy(sources=("a",), destination="/b", workdir="/")

RUN_CHANGES: dict[str, Any] = {
    "args": ("/bin/sh", "-c", "y"),
    "env": ("A=c",),
    "cwd": "/w",
    "user": "u",
    "platform": Platform("linux", "arm64"),
    "mounts": (TmpfsSpec("/t"),),
    "scripts": (InlineFile("EOF", b"#!x"),),
    "network": "none",
    "security": "insecure",
    "devices": ("gpu",),
    "extra_hosts": (("name", "1.2.3.4"),),
    "resources": Resources(shm_size=1),
}
COPY_CHANGES: dict[str, Any] = {
    "sources": ("c",),
    "destination": "/b/",
    "workdir": "/w",
    "heredocs": (InlineFile("EOF", b"x"),),
    "chown": "1:2",
    "chmod": "644",
    "link": True,
    "parents": True,
    "exclude": ("*.md",),
    "archives": True,
    "unpack": False,
    "checksum": "sha256:0",
    "keep_git_dir": True,
}
MOUNT_CHANGES = [
    (BindSpec("/t"), {"target": "/u", "source": "/s", "from_": 1, "read_only": False}),
    (CacheSpec("/t", "/t"), {"target": "/u", "read_only": True}),
    (TmpfsSpec("/t"), {"target": "/u", "size": 1}),
    (
        SecretSpec("i", "/t"),
        {
            "id": "j",
            "target": "/u",
            "env": "E",
            "required": True,
            "mode": 0o444,
            "uid": 1,
            "gid": 1,
        },
    ),
    (
        SshSpec("i", "/t", sets_variable=True),
        {"id": "j", "target": "/u", "required": True, "mode": 0o644, "uid": 1, "gid": 1},
    ),
]


def _key(op: Run | Copy | Workdir) -> bytes:
    return key_of("step", op.key_fields())


@pytest.mark.parametrize("name", RUN_CHANGES)
def test_every_field_of_run_counts(name: str) -> None:
    assert _key(replace(RUN, **{name: RUN_CHANGES[name]})) != _key(RUN)


@pytest.mark.parametrize("name", COPY_CHANGES)
def test_every_field_of_copy_counts(name: str) -> None:
    assert _key(replace(COPY, **{name: COPY_CHANGES[name]})) != _key(COPY)


@pytest.mark.parametrize(("mount", "changes"), MOUNT_CHANGES)
def test_every_option_of_a_mount_counts(mount: Any, changes: dict[str, Any]) -> None:
    before = _key(replace(RUN, mounts=(mount,)))
    for name, value in changes.items():
        changed = replace(mount, **{name: value})
        assert _key(replace(RUN, mounts=(changed,))) != before, name


@pytest.mark.parametrize(
    "changes",
    [
        {"proxy_env": ("HTTP_PROXY=x",)},
        {"command": "shown otherwise"},
    ],
)
def test_what_does_not_decide_the_result_is_left_out(changes: dict[str, Any]) -> None:
    assert _key(replace(RUN, **changes)) == _key(RUN)


def test_addresses_of_hosts_are_left_out() -> None:
    one = replace(RUN, extra_hosts=(("name", "1.1.1.1"),))
    two = replace(RUN, extra_hosts=(("name", "2.2.2.2"),))
    assert _key(one) == _key(two)


def test_each_limit_counts() -> None:
    limits = [
        Resources(shm_size=1),
        Resources(cgroup_parent="x"),
        Resources(ulimits=(Ulimit("nofile", 1, 2),)),
        Resources(ulimits=(Ulimit("nofile", 1, 3),)),
    ]
    keys = {_key(replace(RUN, resources=limit)) for limit in limits}
    assert len(keys) == len(limits)


@given(WORDS, WORDS)
def test_run_arguments(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert (_key(replace(RUN, args=left)) == _key(replace(RUN, args=right))) == (left == right)


@given(WORDS, WORDS, WORDS, WORDS)
def test_words_never_move_between_fields(
    args: tuple[str, ...], env: tuple[str, ...], other: tuple[str, ...], more: tuple[str, ...]
) -> None:
    one = replace(RUN, args=args, env=env)
    two = replace(RUN, args=other, env=more)
    assert (_key(one) == _key(two)) == ((args, env) == (other, more))


@given(WORDS, st.text(max_size=5), WORDS, st.text(max_size=5))
def test_copy_sources_and_destination(
    sources: tuple[str, ...], destination: str, others: tuple[str, ...], elsewhere: str
) -> None:
    make: Callable[..., Copy] = lambda names, place: replace(  # noqa: E731
        COPY, sources=names, destination=place
    )
    same = (sources, destination) == (others, elsewhere)
    assert (_key(make(sources, destination)) == _key(make(others, elsewhere))) == same


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_workdir(path: str, user: str, other: str, someone: str) -> None:
    same = (path, user) == (other, someone)
    assert (_key(Workdir(path, user)) == _key(Workdir(other, someone))) == same
