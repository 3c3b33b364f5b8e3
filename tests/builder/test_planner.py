"""What the planner decides beyond the recorded answers: mounts, sources, errors that help."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.errors import PlanError, TargetUnknownError
from builder.plan.model import Plan
from builder.plan.ops import (
    BindSpec,
    CacheSpec,
    Copy,
    MountSpec,
    Run,
    SecretSpec,
    SourceImage,
    SshSpec,
    TmpfsSpec,
)
from builder.plan.render import plan_dot, plan_json
from builder.plan.render import plan_text as plan_as_text
from builder.runner import Resources, Ulimit
from images.platform import Platform
from tests.builder.plans import STUB, StubResolver, plan_text


def _run(plan: Plan) -> Run:
    return next(step.op for step in reversed(plan.steps) if isinstance(step.op, Run))


def _copy(plan: Plan) -> Copy:
    return next(step.op for step in reversed(plan.steps) if isinstance(step.op, Copy))


@pytest.mark.parametrize(
    ("written", "mount"),
    [
        ("type=bind,target=/t", BindSpec("/t")),
        ("target=t,source=a/../b,rw", BindSpec("/w/t", "/b", None, read_only=False)),
        ("type=cache,target=/t", CacheSpec("/t", "/t")),
        (
            "type=cache,target=/t,id=i,sharing=locked,mode=0700,uid=1,gid=2,ro",
            CacheSpec("/t", "i", "locked", read_only=True, mode=0o700, uid=1, gid=2),
        ),
        ("type=tmpfs,target=/t,size=64m", TmpfsSpec("/t", 64 << 20)),
        ("type=secret,id=k", SecretSpec("k", "/run/secrets/k")),
        ("type=secret,id=k,env=K", SecretSpec("k", None, "K")),
        (
            "type=secret,target=/f/g.txt,required,mode=0440,uid=1",
            SecretSpec("g.txt", "/f/g.txt", None, required=True, mode=0o440, uid=1),
        ),
        ("type=ssh", SshSpec("default", "/run/buildkit/ssh_agent.0", sets_variable=True)),
        ("type=ssh,id=q,target=/s", SshSpec("q", "/s", sets_variable=False)),
    ],
)
def test_mounts(written: str, mount: MountSpec) -> None:
    plan = plan_text(f"FROM b\nWORKDIR /w\nRUN --mount={written} x\n")
    assert _run(plan).mounts == (mount,)


def test_mount_from_a_stage_and_an_image() -> None:
    plan = plan_text(
        "FROM b AS s\nRUN 1\nFROM c\n"
        "RUN --mount=from=S,target=/s --mount=type=cache,from=img:1,target=/i x\n"
    )
    step = plan.steps[plan.result]
    stage, image = step.inputs
    assert isinstance(plan.steps[stage].op, Run)
    assert isinstance(plan.steps[image].op, SourceImage)


def test_mount_from_takes_an_argument() -> None:
    head = "ARG S=a\nFROM b AS a\nRUN 1\nFROM c\n"
    plan = plan_text(f"{head}ARG S\nRUN --mount=from=$S,target=/x y\n")
    (stage,) = plan.steps[plan.result].inputs
    assert isinstance(plan.steps[stage].op, Run)
    with pytest.raises(PlanError, match=r"the name in from=\$S is empty"):
        plan_text(f"{head}RUN --mount=from=$S,target=/x y\n")


def test_mount_from_written_empty_is_the_context() -> None:
    assert _run(plan_text("FROM b\nRUN --mount=from=,target=/x y\n")).mounts == (BindSpec("/x"),)


def test_copy_from_takes_an_argument() -> None:
    plan = plan_text("ARG S=a\nFROM b AS a\nRUN 1\nFROM c\nARG S\nCOPY --from=$S /x /y\n")
    source = _copy(plan).from_
    assert source is not None
    assert isinstance(plan.steps[source].op, Run)


def test_copy_from_an_index() -> None:
    plan = plan_text("FROM b\nRUN 1\nFROM c\nCOPY --from=0 /x /y\n")
    (source,) = plan.steps[plan.result].inputs
    assert plan.steps[source].name == "[stage-0 2/2] RUN 1"


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("# syntax=tonistiigi/hlb\nFROM b\n", "unsupported frontend tonistiigi/hlb", 1),
        ("FROM b AS a\nCOPY --from=a /x /y\n", "circular dependency detected on stage: a", 2),
        ("FROM b\nCOPY --from=3 /x /y\n", "invalid stage index 3", 2),
        ("FROM b\nCOPY --from=$NOPE /x /y\n", "the name after from= is empty", 2),
        ("FROM b\nENV A=${B:?must}\n", 'failed to process "${B:?must}": B: must', 2),
        ("FROM b\nEXPOSE 99999\n", "invalid containerPort: 99999", 2),
        ("FROM b\nEXPOSE 80/icmp\n", "invalid proto: icmp", 2),
        ("FROM --platform=nonsense/a/b/c b\n", "invalid platform 'nonsense/a/b/c'", 1),
        ("FROM b\nRUN --mount=type=cache x\n", 'target required for "cache" type mounts', 2),
        ("FROM b\nADD --checksum=sha256:0 a /x\n", "checksum requires HTTP(S) or Git sources", 2),
        ("FROM b\nCOPY git@x:y.git /x\n", "source can't be a git ref for COPY", 2),
    ],
)
def test_errors_point_at_their_line(text: str, message: str, line: int) -> None:
    with pytest.raises(PlanError) as caught:
        plan_text(text)
    assert caught.value.what == message
    assert caught.value.where == f"Dockerfile:{line}"
    assert ">>>" in caught.value.excerpt()


@pytest.mark.parametrize(
    "name", ["docker/dockerfile:1", "docker.io/docker/dockerfile:1-labs", "dockerfile.v0"]
)
def test_frontends_of_the_language_are_the_builder(name: str) -> None:
    assert plan_text(f"# syntax={name}\nFROM b\nRUN x\n").steps


def test_an_unknown_target_is_suggested_and_listed() -> None:
    with pytest.raises(TargetUnknownError) as caught:
        plan_text("FROM a AS build\nFROM b AS test\n", target="biuld")
    assert caught.value.what == ('target stage "biuld" could not be found (did you mean build?)')
    assert caught.value.fix == "the stages are build, test"


def test_a_target_is_found_in_any_case() -> None:
    assert plan_text("FROM a AS build\nRUN x\nFROM b\n", target="BUILD").target == "build"


def test_an_epoch_must_be_a_number() -> None:
    with pytest.raises(PlanError, match="invalid SOURCE_DATE_EPOCH: soon"):
        plan_text("FROM b\n", build_args={"SOURCE_DATE_EPOCH": "soon"})


def test_triggers_of_a_base_run_in_the_child_alone() -> None:
    document = {**STUB, "config": {"OnBuild": ["COPY . /app", "RUN build"]}}
    plan = plan_text(
        "FROM on AS child\nFROM child\nRUN own\n", StubResolver({"on:latest": document})
    )
    assert [step.name for step in plan.steps if step.makes_layer] == [
        "[child 2/3] ONBUILD COPY . /app",
        "[child 3/3] ONBUILD RUN build",
        "[stage-1 1/1] RUN own",
    ]
    assert "OnBuild" not in plan.image.config


def test_a_broken_trigger_is_the_bases_fault() -> None:
    document = {**STUB, "config": {"OnBuild": ["NONSENSE x"]}}
    with pytest.raises(PlanError) as caught:
        plan_text("FROM on\n", StubResolver({"on:latest": document}))
    assert "trigger ONBUILD NONSENSE x cannot be parsed" in caught.value.what
    assert caught.value.where == "Dockerfile:1"


def test_triggers_reach_a_child_stage_of_the_same_file() -> None:
    plan = plan_text("FROM b AS a\nONBUILD RUN triggered\nFROM a\n")
    assert _run(plan).args[-1] == "triggered"


def test_here_documents() -> None:
    plan = plan_text("FROM b\nRUN <<-EOF\n\techo $X\n\tls\nEOF\n")
    assert _run(plan).args == ("/bin/sh", "-c", "echo $X\nls\n")
    assert plan.steps[-1].name == "[2/2] RUN <<-EOF (echo $X...)"
    plan = plan_text("FROM b\nRUN <<EOF\n#!/usr/bin/env python\nprint(1)\nEOF\n")
    (script,) = _run(plan).scripts
    assert script.content == b"#!/usr/bin/env python\nprint(1)\n"
    assert _run(plan).args[-1] == "/dev/pipes/EOF"
    plan = plan_text("FROM b\nRUN cat <<A && cat <<B\na\nA\nb\nB\n")
    assert _run(plan).args[-1] == "cat <<A && cat <<B\na\nA\nb\nB"
    plan = plan_text("FROM b\nENV V=1\nCOPY <<A <<'B' /d/\n$V\nA\n$V\nB\n")
    assert [doc.content for doc in _copy(plan).heredocs] == [b"1\n", b"$V\n"]


def test_settings_of_the_build_reach_every_command() -> None:
    limits = Resources(shm_size=1 << 20, ulimits=(Ulimit("nofile", 1, 2),))
    plan = plan_text(
        "FROM b\nRUN x\n",
        network="host",
        extra_hosts=(("a", "1.2.3.4"),),
        resources=limits,
        build_args={"http_proxy": "p"},
    )
    op = _run(plan)
    assert (op.network, op.extra_hosts, op.resources) == ("host", (("a", "1.2.3.4"),), limits)
    assert op.proxy_env == ("HTTP_PROXY=p", "http_proxy=p")
    assert not any("PROXY" in pair for pair in op.env)
    assert _run(plan_text("FROM b\nRUN --network=none x\n", network="host")).network == "none"


def test_a_declared_proxy_is_an_ordinary_argument() -> None:
    plan = plan_text("FROM b\nARG http_proxy\nRUN x\n", build_args={"http_proxy": "p"})
    assert "http_proxy=p" in _run(plan).env


def test_one_image_is_one_source() -> None:
    plan = plan_text("FROM b AS one\nRUN 1\nFROM b\nCOPY --from=one /x /\nCOPY --from=b /y /\n")
    assert sum(isinstance(step.op, SourceImage) for step in plan.steps) == 1


def test_a_stage_keeps_its_own_platform() -> None:
    plan = plan_text(
        "FROM --platform=$BUILDPLATFORM b AS cross\nRUN x\nFROM b\nCOPY --from=cross /x /\n",
        platform=Platform("linux", "arm64"),
    )
    assert _run(plan).platform == Platform("linux", "amd64")
    assert plan.image.platform == Platform("linux", "arm64")


def test_a_plan_prints_as_text() -> None:
    plan = plan_text("FROM b AS build\nRUN make\nFROM scratch\nCOPY --from=build /x /\nCMD x\n")
    assert plan_as_text(plan) == (
        "platform linux/amd64\n"
        "\n"
        "stage 0 build from b\n"
        "  [build 2/2] RUN make\n"
        "\n"
        "stage 1 from scratch\n"
        "  [stage-1 1/1] COPY --from=build /x /\n"
        "  CMD x\n"
    )


def test_a_plan_prints_as_json() -> None:
    text = (
        "FROM b AS build\nRUN --mount=type=cache,target=/c make\n"
        "FROM scratch\nCOPY --from=build /x /\nWORKDIR /w\n"
    )
    document: dict[str, Any] = json.loads(json.dumps(plan_json(plan_text(text))))
    steps = {step["name"]: step for step in document["steps"]}
    run = steps["[build 2/2] RUN --mount=type=cache,target=/c make"]
    assert run["op"]["type"] == "run"
    assert run["op"]["mounts"][0]["type"] == "CacheSpec"
    assert run["lines"] == [[2, 2]]
    copy = steps["[stage-1 1/2] COPY --from=build /x /"]
    assert copy["inputs"] == [run["id"]]
    assert document["config"]["WorkingDir"] == "/w"
    assert steps["[build 1/2] FROM docker.io/library/b:latest"]["op"]["type"] == "image"


def test_the_graph_for_graphviz() -> None:
    text = 'FROM b AS one\nRUN echo "a"\nFROM scratch\nCOPY --from=one /x /x\n'
    lines = plan_dot(plan_text(text)).splitlines()
    assert lines[0] == "digraph plan {"
    assert lines[-1] == "}"
    assert any(line.endswith('RUN echo \\"a\\""];') for line in lines), lines
    assert sum("style=dashed" in line for line in lines) == 1
    assert sum("peripheries=2" in line for line in lines) == 1
    assert all(line.endswith((";", "{", "}")) for line in lines)
