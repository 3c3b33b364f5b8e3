"""What a caller may say about the cache: stages done anew, precise ARGs, secrets that count."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

import pytest

from builder.errors import BuildInputError, TargetUnknownError
from builder.fastpath import fingerprint
from builder.inputs import read_inputs
from builder.request import BuildRequest, Change
from builder.runner import Resources, RunStep
from builder.secrets import Secret, digests
from builder.solver.explain import SAME_FILES
from images.layers.tar_read import read_tar
from images.platform import Platform
from tests.builder.fakes import write
from tests.builder.workbench import Workbench

STAGES = """\
FROM scratch AS one
RUN first
FROM scratch AS two
COPY --from=one /out /out
RUN last
"""


def out(content: str):
    def command(step: RunStep) -> None:
        write(step, "out", content)

    return {"first": command}


def test_a_filtered_stage_is_done_anew_and_the_rest_by_content(bench: Workbench) -> None:
    bench.build(STAGES, out("a"))
    again = bench.build(STAGES, out("a"), no_cache_stages=("ONE",))
    assert bench.runner.texts == ["first"]
    reasons = {step.name: (step.outcome, step.reason) for step in again.steps}
    assert reasons["[one 1/1] RUN first"] == ("executed", "the cache is not asked")
    assert reasons["[two 1/2] COPY --from=one /out /out"] == ("cached", SAME_FILES)
    assert reasons["[two 2/2] RUN last"] == ("cached", SAME_FILES)
    bench.build(STAGES, out("b"), no_cache_stages=("0",))
    assert bench.runner.texts == ["first", "last"]
    bench.build(STAGES)
    assert bench.runner.texts == [], "the newest result is on record"


def test_what_stands_on_a_step_done_anew_is_never_answered_with_the_old_one(
    bench: Workbench,
) -> None:
    text = "FROM scratch AS base\nRUN first\nFROM base\nRUN last\n"
    bench.build(text, out("a"))
    result = bench.build(text, out("b"), no_cache_stages=("base",))
    assert bench.runner.texts == ["first", "last"]
    assert bench.tree(result).read_text("/out") == "b"
    last = result.steps[-1]
    assert last.changes == (Change("step", "[base 1/1] RUN first"),)
    assert last.reason == "[base 1/1] RUN first was done anew"


def test_an_unknown_stage_is_named_with_the_nearest(bench: Workbench) -> None:
    with pytest.raises(TargetUnknownError, match=r'stage "tow" could not be found.*two'):
        bench.build(STAGES, no_cache_stages=("tow",))


ARGS = """\
FROM scratch
ARG USED=1
ARG UNUSED=1
ENV KEPT=$UNUSED
RUN echo ${USED}
RUN --mount=type=cache,target=/$UNUSED mounted
RUN USEDLESS
"""


def test_precise_args_are_those_a_step_mentions(bench: Workbench) -> None:
    def run(**args: str):
        # Other files each time: the same ones would answer the next steps by content.
        def echo(step: RunStep) -> None:
            write(step, "out", repr(args))

        bench.build(ARGS, {"echo ${USED}": echo}, precise_args=True, build_args=args)
        return {step.args[-1]: step.env for step in bench.runner.steps}

    first = run()
    assert [pair for pair in first["echo ${USED}"] if "USED" in pair] == ["USED=1"]
    assert [pair for pair in first["mounted"] if "USED" in pair] == ["UNUSED=1"]
    assert not [pair for pair in first["USEDLESS"] if "USED" in pair]
    assert all("KEPT=1" in env for env in first.values()), "ENV is always there"
    assert set(run(USED="2")) == {"echo ${USED}", "mounted", "USEDLESS"}


def test_an_unused_arg_invalidates_nothing_only_when_precise(bench: Workbench) -> None:
    text = "FROM scratch\nARG UNUSED\nRUN x\n"
    first = bench.build(text, precise_args=True, build_args={"UNUSED": "1"})
    second = bench.build(text, precise_args=True, build_args={"UNUSED": "2"})
    assert bench.runner.texts == []
    runs = [bench.image(result).config.history[-1].created_by for result in (first, second)]
    assert runs == ["RUN /bin/sh -c x # buildkit"] * 2, "history does not mention it either"
    bench.build(text, build_args={"UNUSED": "1"})
    bench.build(text, build_args={"UNUSED": "2"})
    assert bench.runner.texts == ["x"]
    assert bench.progress.reasons["[1/1] RUN x"] == "variable UNUSED changed"


SECRET = "FROM scratch\nRUN --mount=type=secret,id=key use\nRUN free\n"


def test_a_keyed_secret_counts_where_it_is_mounted(bench: Workbench) -> None:
    def build(content: bytes, *, keyed: bool) -> list[str]:
        bench.build(SECRET, secrets=(Secret("key", content, keyed),))
        return sorted(bench.runner.texts)

    assert build(b"1", keyed=False) == ["free", "use"]
    assert build(b"2", keyed=False) == []
    # What it makes may be the very same layer, and then the step above is not done again.
    assert "use" in build(b"1", keyed=True)
    assert bench.progress.reasons["[1/2] RUN --mount=type=secret,id=key use"] == "a secret changed"
    assert build(b"1", keyed=True) == []
    assert "use" in build(b"2", keyed=True)


def test_digests_of_secrets_are_keyed_by_the_store(tmp_path: Path) -> None:
    secrets = [Secret("a", b"x", keyed=True), Secret("b", b"x")]
    one, other = digests(secrets, tmp_path / "1"), digests(secrets, tmp_path / "2")
    assert set(one) == {"a"}
    assert one != other, "another store, another key"
    assert one == digests(secrets, tmp_path / "1")
    assert stat.S_IMODE((tmp_path / "1/secret-key").stat().st_mode) == 0o600


def test_the_whole_build_record_knows_keyed_secrets_and_scopes(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")

    def key(secrets=None, **options) -> bytes:
        request = BuildRequest(tmp_path, **options)
        return fingerprint(request, read_inputs(request), Platform.host(), secrets)

    keys = [key(), key({"a": b"1"}), key({"a": b"2"}), key(precise_args=True)]
    keys.append(key(rewrite_timestamps=False))
    assert len(set(keys)) == len(keys)


def test_secret_cache_option() -> None:
    assert Secret.parse("id=S,env=S,cache=digest", {"S": "1"}).keyed
    assert not Secret.parse("id=S,env=S", {"S": "1"}).keyed
    with pytest.raises(BuildInputError, match="unsupported cache=yes"):
        Secret.parse("id=S,env=S,cache=yes", {"S": "1"})


def test_limits_on_speed_are_in_no_key(bench: Workbench) -> None:
    text = "FROM scratch\nRUN x\n"
    bench.build(text)
    bench.build(text, resources=Resources(memory_limit=64 << 20, cpu_shares=2))
    assert bench.runner.texts == []
    bench.build(text, resources=Resources(shm_size=1 << 20))
    assert bench.runner.texts == ["x"]


def test_times_are_rewritten_unless_told_otherwise(bench: Workbench) -> None:
    text = "FROM scratch\nRUN x\n"
    args = {"SOURCE_DATE_EPOCH": "1000"}

    def times(**options) -> set[int]:
        layer = bench.image(bench.build(text, build_args=args, **options)).manifest.layers[0]
        with gzip.open(bench.store.blobs.path(layer.digest)) as stream:
            return {int(entry.mtime) for entry, _ in read_tar(stream) if entry.kind == "f"}

    assert times() == {1000 * 10**9}
    assert min(times(rewrite_timestamps=False)) > 10**18, "another layer, so another key"
    assert bench.runner.texts == ["x"]
    assert times() == {1000 * 10**9}
    assert bench.runner.texts == []


def test_a_copy_onto_a_layer_that_was_still_being_packed_is_answered_by_content(
    bench: Workbench,
) -> None:
    text = "FROM scratch AS one\nRUN first\nFROM scratch\nRUN below\nCOPY --from=one /out /out\n"
    bench.build(text, out("a"))
    again = bench.build(text, out("a"), no_cache_stages=("one",))
    assert bench.runner.texts == ["first"]
    assert again.steps[-1].reason == SAME_FILES
