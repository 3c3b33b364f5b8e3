"""The solver: what is executed, what is answered by the cache, and what a failure leaves."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from builder.errors import (
    BuildCancelledError,
    BuildEnvironmentError,
    BuildInputError,
    PlanError,
    StepFailedError,
)
from builder.plan.devices import DeviceSpec
from builder.runner import RunStep
from images.config import ImageConfig
from images.errors import EnvironmentFault, InvalidManifestError
from images.manifest import Manifest
from images.platform import Platform
from images.reference import Reference
from tests.builder.fakes import read, write
from tests.builder.workbench import Workbench

TWO_STAGES = """\
FROM base AS build
RUN make
FROM base
COPY --from=build /out /out
RUN finish
"""


def make(content: str) -> dict[str, Any]:
    """A ``make`` that writes ``/out`` (and ``/noise``, which nobody copies)."""

    def command(step: RunStep) -> None:
        write(step, "out", content)
        write(step, "noise", str(time.monotonic_ns()))

    return {"make": command}


@pytest.fixture
def based(bench: Workbench) -> Workbench:
    bench.add_base("base", {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"}, Cmd=["/bin/sh"])
    return bench


def test_scratch_copy_and_metadata_become_an_image(bench: Workbench) -> None:
    bench.files.context["a.txt"] = "hello"
    tag = Reference.parse("demo:1")
    result = bench.build('FROM scratch\nCOPY a.txt /dir/\nCMD ["/x"]\nLABEL l=1\n', tags=(tag,))
    image = bench.image(result)
    assert bench.tree(result).read_text("/dir/a.txt") == "hello"
    assert image.config.config["Cmd"] == ["/x"]
    assert image.id == result.image_id
    assert len(image.manifest.layers) == 1
    assert bench.store.resolve(tag) == result.descriptor
    assert bench.store.check(rehash=True) == []


def test_a_command_stands_on_the_layers_below(based: Workbench) -> None:
    seen: dict[str, str] = {}

    def look(step: RunStep) -> None:
        seen["passwd"] = read(step, "/etc/passwd")
        seen["one"] = read(step, "/one")

    result = based.build(
        "FROM base\nRUN first\nRUN look\n",
        {"first": lambda step: write(step, "one", "1"), "look": look},
    )
    assert seen == {"passwd": "root:x:0:0::/root:/bin/sh\n", "one": "1"}
    assert len(based.image(result).manifest.layers) == 3
    assert not result.cached


def test_a_rebuild_executes_nothing_and_gives_the_same_image(based: Workbench) -> None:
    text = "FROM base\nRUN one\nENV A=b\nRUN two\nCMD x\n"
    first = based.build(text)
    assert based.runner.texts == ["one", "two"]
    second = based.build(text)
    assert based.runner.texts == []
    assert second.cached
    assert second.descriptor == first.descriptor
    assert [name.partition("]")[0] for name in based.progress.cached] == ["[1/3", "[2/3", "[3/3"]


def test_only_steps_after_a_change_are_executed(based: Workbench) -> None:
    based.build("FROM base\nRUN one\nRUN two\n")
    based.build("FROM base\nRUN one\nRUN other\n")
    assert based.runner.texts == ["other"]
    assert based.progress.started == ["[3/3] RUN other"]


def test_stages_nobody_needs_are_skipped(based: Workbench) -> None:
    based.build("FROM base AS unneeded\nRUN never\nFROM base\nRUN needed\n")
    assert based.runner.texts == ["needed"]


def test_copy_from_a_rebuilt_stage_hits_by_content(based: Workbench) -> None:
    based.build(TWO_STAGES, make("same"))
    changed = TWO_STAGES.replace("RUN make", "ENV X=1\nRUN make")
    result = based.build(changed, make("same"))
    assert based.runner.texts == ["make"]
    assert based.tree(result).read_text("/out") == "same"


def test_copy_from_a_stage_with_another_output_misses(based: Workbench) -> None:
    based.build(TWO_STAGES, make("same"))
    changed = TWO_STAGES.replace("RUN make", "ENV X=1\nRUN make")
    result = based.build(changed, make("different"))
    assert based.runner.texts == ["make", "finish"]
    assert based.tree(result).read_text("/out") == "different"


def test_changed_context_file_misses_and_is_named(bench: Workbench) -> None:
    text = "FROM scratch\nCOPY a.txt b.txt /dir/\n"
    bench.files.context.update({"a.txt": "1", "b.txt": "2"})
    bench.build(text)
    assert bench.progress.reasons == {"[1/1] COPY a.txt b.txt /dir/": "no record"}
    bench.files.context["b.txt"] = "3"
    bench.build(text)
    assert bench.progress.reasons == {"[1/1] COPY a.txt b.txt /dir/": "file b.txt changed"}
    bench.files.context["b.txt"] = "2"
    assert bench.build(text).cached


def test_a_miss_names_the_variable(based: Workbench) -> None:
    based.build("FROM base\nARG V=1\nRUN x\n", build_args={"V": "2"})
    based.build("FROM base\nARG V=1\nRUN x\n", build_args={"V": "3"})
    assert based.progress.reasons == {"[2/2] RUN x": "variable V changed"}


def test_a_moved_base_misses(based: Workbench) -> None:
    based.build("FROM base\nRUN x\n")
    based.add_base("base", {"etc/passwd": "other\n"})
    based.build("FROM base\nRUN x\n")
    assert based.runner.texts == ["x"]
    assert based.progress.reasons == {"[2/2] RUN x": "the base image base:latest changed"}


def test_no_cache_executes_again_and_still_writes(based: Workbench) -> None:
    text = "FROM base\nRUN x\n"
    based.build(text)
    based.build(text, no_cache=True)
    assert based.runner.texts == ["x"]
    assert based.build(text).cached


def test_proxies_reach_the_command_but_not_the_key(based: Workbench) -> None:
    text = "FROM base\nRUN x\n"
    based.build(text, build_args={"http_proxy": "http://one"})
    assert "HTTP_PROXY=http://one" in based.runner.steps[0].env
    assert based.build(text, build_args={"http_proxy": "http://two"}).cached


def test_independent_stages_run_at_the_same_time(based: Workbench) -> None:
    meeting = threading.Barrier(2, timeout=60)

    def meet(step: RunStep) -> None:
        meeting.wait()
        write(step, "met", step.args[-1])

    text = (
        "FROM base AS a\nRUN left\nFROM base AS b\nRUN right\n"
        "FROM scratch\nCOPY --from=a /met /a\nCOPY --from=b /met /b\n"
    )
    result = based.build(text, {"left": meet, "right": meet})
    tree = based.tree(result)
    assert (tree.read_text("/a"), tree.read_text("/b")) == ("left", "right")


def test_identical_steps_of_one_build_run_once(based: Workbench) -> None:
    text = (
        "FROM base AS a\nRUN x\nFROM base AS b\nRUN x\n"
        "FROM scratch\nCOPY --from=a /ran/x /a\nCOPY --from=b /ran/x /b\n"
    )
    tree = based.tree(based.build(text))
    assert based.runner.texts == ["x"]
    assert tree.read_text("/a") == tree.read_text("/b") == "x"


def test_packing_overlaps_the_next_command(based: Workbench) -> None:
    text = "FROM base\nRUN one\nCOPY a.txt /a\nRUN two\n"
    based.files.context["a.txt"] = "x"
    seen: list[str] = []

    def two(step: RunStep) -> None:
        seen.extend((read(step, "/a"), read(step, "/ran/one")))

    result = based.build(text, {"two": two})
    assert seen == ["x", "one"]
    assert len(based.image(result).manifest.layers) == 4


def test_a_failing_command_is_told_in_full(based: Workbench) -> None:
    def fail(step: RunStep) -> int:
        step.output(2, b"first line\nno such thing\n")
        return 7

    with pytest.raises(StepFailedError) as caught:
        based.build("FROM base\nRUN one\nRUN bad\nRUN three\n", {"bad": fail})
    error = caught.value
    assert error.what == ('process "/bin/sh -c bad" did not complete successfully: exit code: 7')
    assert error.exit_code == 7
    assert error.log[-1] == "no such thing"
    assert error.where == "Dockerfile:3"
    assert ">>> RUN bad" in error.excerpt()
    assert based.runner.texts == ["one", "bad"]
    assert based.store.check(rehash=True) == []
    assert list(based.store.snapshots.leftovers()) == []


def test_what_was_finished_before_a_failure_is_cached(based: Workbench) -> None:
    with pytest.raises(StepFailedError):
        based.build("FROM base\nRUN one\nRUN bad\n", {"bad": lambda _: 1})
    based.build("FROM base\nRUN one\nRUN good\n")
    assert based.runner.texts == ["good"]


def test_a_failure_stops_the_other_stages(based: Workbench) -> None:
    started = threading.Event()

    def slow(step: RunStep) -> int:
        stopped = threading.Event()
        step.cancellation.subscribe(stopped.set)
        started.set()
        assert stopped.wait(20)
        return 137

    def bad(step: RunStep) -> int:
        assert started.wait(60)
        return 1

    text = (
        "FROM base AS a\nRUN slow\nFROM base AS b\nRUN bad\n"
        "FROM scratch\nCOPY --from=a /x /a\nCOPY --from=b /x /b\n"
    )
    with pytest.raises(StepFailedError) as caught:
        based.build(text, {"slow": slow, "bad": bad})
    assert caught.value.command == "/bin/sh -c bad"


def test_cancellation_stops_the_build(based: Workbench) -> None:
    def cancel(step: RunStep) -> int:
        step.cancellation.cancel()
        return 137

    with pytest.raises(BuildCancelledError):
        based.build("FROM base\nRUN one\nRUN two\n", {"one": cancel})
    assert based.runner.texts == ["one"]


class RunnerFault(Exception):
    """What a runner raises, by shape."""

    def __init__(self, what: str, code: str) -> None:
        self.what, self.code, self.where, self.fix = what, code, None, "fix it"
        super().__init__(what)


def _raise(error: Exception) -> Any:
    def command(step: RunStep) -> int:
        raise error

    return command


def test_a_missing_command_is_the_steps_fault(based: Workbench) -> None:
    fault = RunnerFault("nope: not found", "command-not-found")
    with pytest.raises(StepFailedError) as caught:
        based.build('FROM base\nRUN ["nope"]\n', {"nope": _raise(fault)})
    assert caught.value.exit_code == 127
    assert "nope: not found" in caught.value.what
    assert caught.value.fix == "fix it"


def test_a_broken_runtime_is_the_environments_fault(based: Workbench) -> None:
    fault = RunnerFault("no cgroups", "runtime")
    with pytest.raises(BuildEnvironmentError) as caught:
        based.build("FROM base\nRUN x\n", {"x": _raise(fault)})
    assert caught.value.where == "Dockerfile:2"


def test_a_foreign_platform_cannot_run_commands(bench: Workbench) -> None:
    foreign = Platform("linux", "s390x")
    with pytest.raises(BuildEnvironmentError, match="linux/s390x"):
        bench.build('FROM scratch\nRUN ["x"]\n', platform=foreign)
    result = bench.build("FROM scratch\nENV A=b\n", platform=foreign)
    assert bench.store.image(result.descriptor, foreign).config.platform == foreign


DEVICE = 'FROM scratch\nRUN --device=v.example/gpu=0,required ["x"]\n'


@pytest.mark.parametrize("allow", [(), ("device=v.example/gpu=1",), ("network.host",)])
def test_devices_need_leave(bench: Workbench, allow: tuple[str, ...]) -> None:
    with pytest.raises(PlanError, match="gpu=0 is not allowed") as caught:
        bench.build(DEVICE, allow=allow)
    assert caught.value.fix == "build with --allow device=v.example/gpu=0"


@pytest.mark.parametrize("allow", ["device", "device=v.example/gpu=0"])
def test_devices_reach_the_runner(bench: Workbench, allow: str) -> None:
    result = bench.build(DEVICE, allow=(allow,))
    assert bench.runner.steps[-1].devices == (DeviceSpec("v.example/gpu=0", required=True),)
    assert result.entitlements == ("device=v.example/gpu=0",)


@pytest.mark.parametrize("text", ["a,b", "a,required=perhaps", "required", "a,speed=1"])
def test_devices_that_are_none(bench: Workbench, text: str) -> None:
    with pytest.raises(PlanError, match="--device"):
        bench.build(f'FROM scratch\nRUN --device={text} ["x"]\n', allow=("device",))


def test_an_inconsistent_base_is_refused(based: Workbench) -> None:
    config = ImageConfig.build(Platform.host(), [])
    layer = based.image(based.build("FROM base\nRUN x\n")).manifest.layers[0]
    manifest = Manifest.build(config.descriptor(), [layer])
    based.store.blobs.put(config.raw)
    based.store.blobs.put(manifest.raw)
    based.store.tag(Reference.parse("broken"), manifest.descriptor)
    with pytest.raises(InvalidManifestError, match="number of layers"):
        based.build("FROM broken\nRUN x\n")


@pytest.mark.root
def test_a_full_disk_leaves_a_consistent_store(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", small], check=True)
    try:
        bench = Workbench(small)
        bench.files.context["big"] = os.urandom(4 << 20).hex()
        for text in ("FROM scratch\nCOPY big /big\n", "FROM scratch\nCOPY big /big\nRUN x\n"):
            with pytest.raises((EnvironmentFault, BuildEnvironmentError), match="space"):
                bench.build(text)
            assert bench.store.check(rehash=True) == []
            assert bench.store.images() == []
        bench.files.context["big"] = "small enough"
        bench.build("FROM scratch\nCOPY big /big\nRUN x\n")
        bench.close()
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_missing_source_names_its_line(bench: Workbench) -> None:
    with pytest.raises(BuildInputError) as caught:
        bench.build("FROM scratch\n\nCOPY nowhere /x\n")
    assert caught.value.where == "Dockerfile:3"
    assert ">>> COPY nowhere /x" in caught.value.excerpt()


def test_a_linked_copy_survives_a_new_base(based: Workbench) -> None:
    text = "FROM base\nCOPY --link a.txt /a\n"
    based.files.context["a.txt"] = "x"
    first = based.image(based.build(text))
    based.add_base("base", {"other": "file"})
    copied = based.files.copied
    second = based.image(based.build(text))
    assert based.files.copied == copied
    assert second.manifest.layers[-1] == first.manifest.layers[-1]
    assert second.manifest.layers[0] != first.manifest.layers[0]


def test_a_cached_layer_is_not_unpacked(based: Workbench) -> None:
    based.build("FROM base\nRUN one\nRUN two\n")
    for snapshot in list(based.store.snapshots.ids()):
        based.store.snapshots.remove(snapshot)
    assert based.build("FROM base\nRUN one\nRUN two\n").cached
    assert list(based.store.snapshots.ids()) == []


def test_a_lost_blob_counts_as_a_miss(based: Workbench) -> None:
    text = "FROM base\nRUN one\n"
    layer = based.image(based.build(text)).manifest.layers[-1]
    based.store.blobs.delete(layer.digest)
    based.build(text)
    assert based.runner.texts == ["one"]


def test_garbage_collection_keeps_what_the_cache_needs(based: Workbench) -> None:
    text = "FROM base AS s\nRUN one\nFROM scratch\nCOPY --from=s /ran/one /x\n"
    based.build(text)
    based.store.gc(grace=0)
    assert based.build(text).cached
    based.build(text.replace("/x", "/y"))
    assert based.runner.texts == []


def test_epoch_fixes_every_date(based: Workbench) -> None:
    text = "ARG SOURCE_DATE_EPOCH\nFROM base\nRUN one\nENV A=b\n"
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    first = based.build(text, build_args=epoch)
    second = based.build(text, build_args=epoch, no_cache=True)
    assert first.descriptor == second.descriptor
    assert based.image(first).config.created == "2023-11-14T22:13:20Z"


def test_unused_build_arguments_are_told(based: Workbench) -> None:
    result = based.build("FROM base\nARG USED\n", build_args={"USED": "1", "UNUSED": "2"})
    message = "build argument UNUSED is not used by any ARG (did you mean USED?)"
    assert result.warnings == (message,)
    assert based.progress.warnings == list(result.warnings)


def test_long_chains_are_no_deep_recursion(based: Workbench) -> None:
    """More steps on top of one another than the interpreter's stack has room for."""
    stage = "".join(f"RUN r{n}\n" for n in range(110))
    chain = "".join(f"FROM base AS s{n + 1}\nCOPY --from=s{n} /file /f\n" for n in range(120))
    text = f"FROM base AS s0\n{stage}{chain.replace('--from=s0 /file', '--from=s0 /ran/r9', 1)}"
    text = text.replace("/file /f", "/f /f")
    first = based.build(text)
    assert len(based.runner.texts) == 110
    second = based.build(text + "LABEL a=b\n")
    assert second.cached
    assert based.runner.texts == []
    assert first.descriptor != second.descriptor
