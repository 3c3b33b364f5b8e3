"""Commands of another machine through the kernel's binfmt_misc and QEMU, for real."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.progress.events import VertexOutput
from builder.request import BuildRequest
from engine.access import Access
from engine.builds import binfmt
from engine.builds.building import Yard
from engine.builds.order import BuildOrder, BuildOutcome
from engine.builds.pipeline import carry_out
from images.config import ImageConfig
from images.layers.entry import Entry
from images.layers.merged import MergedTree
from images.layers.pack import pack_layer
from images.manifest import Manifest
from images.platform import Platform
from images.reference import Reference
from images.store import ImageStore
from tests.builder.fakes import RecordingProgress
from tests.conftest import require_program
from tests.engine.builds.programs import arm64_program

pytestmark = [pytest.mark.root, pytest.mark.peer]

ARM64 = Platform.parse("linux/arm64")
TEXT = 'FROM test/arm64\nRUN ["/hello"]\n'


@contextmanager
def registered(flags: str) -> Iterator[binfmt.Interpreter]:
    """Tell the kernel about QEMU for arm64; the newest entry is the one that counts.

    One test of this machine at a time: entries are everybody's.
    """
    require_program("qemu-aarch64-static")
    if Platform.host().architecture != "amd64":
        pytest.skip("needs an amd64 machine")
    name = f"lading-test-{flags}-{os.getpid()}"
    (line,) = (line for key, line in binfmt.configured().items() if key == "qemu-aarch64")
    fields = line.split(":")
    fields[1], fields[7] = name, flags
    with (Path(tempfile.gettempdir()) / "lading-test-binfmt.lock").open("wb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        binfmt.register(":".join(fields))
        try:
            yield binfmt.parse_line(":".join(fields))
        finally:
            (binfmt.PLACE / name).write_text("-1")


@pytest.fixture
def yard(image_store: ImageStore, engine_folder: Path) -> Yard:
    program = arm64_program(b"hello from arm64\n")
    entry = Entry("hello", "f", mode=0o755, size=len(program), source=program)
    layer = pack_layer([entry], image_store.blobs)
    config = ImageConfig.build(ARM64, [layer.diff_id])
    manifest = Manifest.build(config.descriptor(), [layer.descriptor])
    image_store.blobs.put(config.raw)
    image_store.blobs.put(manifest.raw)
    image_store.tag(Reference.parse("test/arm64"), manifest.descriptor)
    access = Access(image_store.directory)
    return Yard(image_store, access, str(engine_folder / "run"))


def build(yard: Yard) -> tuple[BuildOutcome, bytes]:
    """One build of ``TEXT``, and what its command wrote."""
    progress = RecordingProgress()
    request = BuildRequest(None, TEXT.encode(), platform=ARM64, no_cache=True)
    outcome = carry_out(BuildOrder(request), yard, progress)
    events = [event for event in progress.events if isinstance(event, VertexOutput)]
    return outcome, b"".join(event.data for event in events)


@pytest.mark.parametrize("flags", ["OPF", "OP"])
def test_a_command_of_another_machine(yard: Yard, flags: str) -> None:
    with registered(flags) as entry:
        assert entry in binfmt.read_entries()
        outcome, output = build(yard)
    assert b"hello from arm64\n" in output
    image = yard.store.image(outcome.root, ARM64)
    assert image.config.platform == ARM64
    tree = MergedTree(yard.store.lowerdirs(image))
    assert tree.listdir("/") == ["hello"], "the interpreter leaves nothing behind"
