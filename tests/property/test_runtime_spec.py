"""Round trips and totality of the runtime's parsers."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import protocol
from runtime.config import (
    Capabilities,
    Device,
    DeviceRule,
    Linux,
    Mount,
    Namespace,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
    User,
)
from runtime.errors import RuntimeFault
from runtime.mount_options import parse
from runtime.request import Rootfs
from runtime.state import Stubs, remove_created
from runtime.users import MAX_ID, resolve

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=20)
NAME = TEXT.filter(bool)
NUMBER = st.integers(0, 1 << 40)
TEXTS = st.lists(NAME, max_size=3).map(tuple)
OPTIONAL = st.none() | NUMBER
SPECS = st.builds(
    Spec,
    process=st.builds(
        Process,
        args=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
        env=TEXTS,
        cwd=TEXT.map(lambda text: f"/{text}"),
        user=st.builds(User, NUMBER, NUMBER, st.lists(NUMBER, max_size=3).map(tuple), OPTIONAL),
        terminal=st.booleans(),
        console_size=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
        capabilities=st.builds(Capabilities, *[TEXTS] * 5),
        rlimits=st.lists(st.builds(Rlimit, NAME, NUMBER, NUMBER), max_size=2).map(tuple),
        no_new_privileges=st.booleans(),
        oom_score_adj=OPTIONAL,
    ),
    root=st.builds(Root, TEXT, st.booleans()),
    hostname=TEXT,
    domainname=TEXT,
    mounts=st.lists(
        st.builds(
            Mount,
            TEXT.map(lambda text: f"/{text}"),
            st.sampled_from(["tmpfs", "proc"]),
            TEXT,
            TEXTS,
        ).filter(lambda mount: not {"bind", "rbind"} & set(mount.options)),
        max_size=3,
    ).map(tuple),
    linux=st.builds(
        Linux,
        namespaces=st.lists(
            st.builds(Namespace, st.sampled_from(["pid", "network"]), st.none() | NAME), max_size=2
        ).map(tuple),
        devices=st.lists(
            st.builds(Device, TEXT, st.sampled_from("cbup"), *[NUMBER] * 5), max_size=2
        ).map(tuple),
        resources=st.builds(
            Resources,
            devices=st.lists(
                st.builds(
                    DeviceRule,
                    st.booleans(),
                    st.sampled_from("abc"),
                    OPTIONAL,
                    OPTIONAL,
                    st.sampled_from(["r", "rw", "rwm"]),
                ),
                max_size=3,
            ).map(tuple),
            memory_limit=OPTIONAL,
            pids_limit=OPTIONAL,
            cpuset_cpus=st.none() | NAME,
            unified=st.dictionaries(NAME, NAME, max_size=2),
        ),
        sysctl=st.dictionaries(NAME, NAME, max_size=2),
        masked_paths=TEXTS,
    ),
    annotations=st.dictionaries(NAME, NAME, max_size=2),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
KEYS = [
    "process",
    "root",
    "mounts",
    "linux",
    "hostname",
    "annotations",
    "args",
    "user",
    "resources",
]


@given(SPECS)
@settings(max_examples=60)
def test_configurations_survive_json(spec: Spec) -> None:
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@given(st.dictionaries(st.sampled_from(KEYS), st.dictionaries(st.sampled_from(KEYS), JSON) | JSON))
def test_any_document_is_parsed_or_refused(document: dict) -> None:
    try:
        Spec.from_json(document)
    except RuntimeFault as fault:
        assert fault.code == "request-invalid"  # noqa: PT017


@given(st.text(), st.binary(), st.binary())
def test_any_user_is_found_or_refused(text: str, passwd: bytes, group: bytes) -> None:
    try:
        identity = resolve(text, passwd, group)
    except RuntimeFault as fault:
        assert fault.code == "user-unknown"  # noqa: PT017
    else:
        assert all(0 <= number <= MAX_ID for number in (identity.uid, *identity.groups))
        assert identity.groups[0] == identity.gid


@given(st.lists(st.sampled_from(["ro", "rw", "suid", "nosuid", "rro", "rrw", "noatime", "atime"])))
def test_later_options_win(options: list[str]) -> None:
    parsed = parse(options)
    last = [option.removeprefix("r") for option in options if option.endswith(("ro", "rw"))]
    if last:
        assert bool(parsed.attr_set & 1) == (last[-1] in ("o", "ro"))
    assert not parsed.attr_set & parsed.attr_clr & ~0x70


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(max_size=5), JSON), max_size=5), st.integers(1, 50))
def test_messages_arrive_whatever_the_pieces(messages: list[dict], piece: int) -> None:
    one, two = socket.socketpair()
    with one, two:
        for message in messages:
            protocol.send(one, message)
        one.close()
        raw = b""
        while data := two.recv(1 << 16):
            raw += data
    one, two = socket.socketpair()
    with one, two:
        receiver, received, position = protocol.Receiver(two), [], 0
        while len(received) < len(messages):
            one.sendall(raw[position : position + piece])
            position += piece
            while (message := receiver.pending()) is not None:
                received.append(message)
            if len(received) < len(messages):
                two.settimeout(5)
                receiver._buffer += two.recv(1 << 16)
        assert received == messages


SEGMENT = st.sampled_from(["a", "b", "c"])
POINTS = st.dictionaries(
    st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), st.booleans(), max_size=6
)


@given(POINTS)
def test_stubs_vanish_without_a_trace(points: dict[str, bool]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = os.path.join(folder, "work")
        os.mkdir(work)
        rootfs = Rootfs(("/x",), os.path.join(folder, "upper"), work)
        stubs = Stubs.make(rootfs, "box", sorted(points.items()))
        assert stubs is not None
        for path, is_directory in points.items():
            found = Path(stubs.path, path)
            below = any(other.startswith(f"{path}/") for other in points)
            assert found.is_dir() if is_directory or below else found.is_file()
        stubs.remove()
        assert os.listdir(folder) == ["work"]


@given(POINTS, st.sets(st.sampled_from(["a", "a/b", "a/b/c", "c"])))
def test_removing_stubs_never_removes_what_is_not_empty(
    points: dict[str, bool], kept: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path in points:
            os.makedirs(os.path.join(folder, path), exist_ok=True)
        for path in kept:
            os.makedirs(os.path.join(folder, path), exist_ok=True)
            Path(folder, path, "keep").write_text("content")
        remove_created(folder, sorted(points))
        for path in kept:
            assert Path(folder, path, "keep").read_text() == "content"
