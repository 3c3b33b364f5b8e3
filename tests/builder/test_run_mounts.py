"""What a command finds mounted: caches that stay, secrets that do not, sources of other stages."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from builder.errors import BuildInputError, SecretUnknownError
from builder.runner import (
    BindMount,
    OverlayMount,
    RunStep,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from builder.secrets import Secret
from images.layers.merged import MergedTree
from tests.builder.fakes import read, write
from tests.builder.workbench import Workbench


@pytest.fixture
def based(bench: Workbench) -> Workbench:
    bench.add_base("base", {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
    return bench


def _only(step: RunStep) -> object:
    (mount,) = step.mounts
    return mount


def test_a_cache_outlives_the_build_and_is_in_no_layer(based: Workbench) -> None:
    text = "FROM base\nRUN --mount=type=cache,target=/c,mode=0700 {}\n"
    found: list[str] = []

    def fill(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, BindMount)
        assert not mount.read_only
        assert mount.source.stat().st_mode & 0o7777 == 0o700
        found.extend(path.name for path in mount.source.iterdir())
        (mount.source / step.args[-1]).write_text("kept")

    based.build(text.format("one"), {"one": fill})
    result = based.build(text.format("two"), {"two": fill})
    assert found == ["one"]
    assert based.tree(result).lookup("/c") is None


def test_caches_with_different_ids_are_different(based: Workbench) -> None:
    sources: list[Path] = []

    def remember(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, BindMount)
        sources.append(mount.source)

    based.build(
        "FROM base\n"
        "RUN --mount=type=cache,target=/c one\n"
        "RUN --mount=type=cache,target=/c,id=other two\n"
        "RUN --mount=type=cache,target=/d,id=/c three\n",
        dict.fromkeys(("one", "two", "three"), remember),
    )
    assert sources[0] != sources[1]
    assert sources[0] == sources[2]


def _two_stages(options: str) -> str:
    mount = f"--mount=type=cache,id=i,target=/c,sharing={options}"
    return (
        f"FROM base AS a\nRUN {mount} left\nFROM base AS b\nRUN {mount} right\n"
        "FROM scratch\nCOPY --from=a /ok /a\nCOPY --from=b /ok /b\n"
    )


def test_private_users_get_directories_of_their_own(based: Workbench) -> None:
    meeting = threading.Barrier(2, timeout=60)
    sources: set[Path] = set()

    def meet(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, BindMount)
        sources.add(mount.source)
        meeting.wait()
        write(step, "ok", "")

    based.build(_two_stages("private"), {"left": meet, "right": meet})
    assert len(sources) == 2


def test_shared_users_meet(based: Workbench) -> None:
    meeting = threading.Barrier(2, timeout=60)

    def meet(step: RunStep) -> None:
        meeting.wait()
        write(step, "ok", "")

    based.build(_two_stages("shared"), {"left": meet, "right": meet})


def test_locked_users_wait_for_each_other(based: Workbench) -> None:
    inside = threading.Semaphore(1)

    def alone(step: RunStep) -> None:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.05)
        inside.release()
        write(step, "ok", "")

    based.build(_two_stages("locked"), {"left": alone, "right": alone})


def test_steps_that_lock_the_same_caches_do_not_wait_in_a_circle(based: Workbench) -> None:
    one, two = (f"--mount=type=cache,id={name},target=/{name},sharing=locked" for name in "ab")
    text = (
        f"FROM base AS a\nRUN {one} {two} left\nFROM base AS b\nRUN {two} {one} right\n"
        "FROM scratch\nCOPY --from=a /ok /a\nCOPY --from=b /ok /b\n"
    )

    def use(step: RunStep) -> None:
        threading.Event().wait(0.02)
        write(step, "ok", "")

    based.build(text, {"left": use, "right": use})


def test_a_cache_may_be_mounted_twice(based: Workbench) -> None:
    mounts = " ".join(
        f"--mount=type=cache,id=i,target=/{place},sharing={sharing}"
        for place, sharing in (("a", "locked"), ("b", "shared"))
    )
    based.build(f"FROM base\nRUN {mounts} x\n")
    first, second = based.runner.steps[0].mounts
    assert isinstance(first, BindMount)
    assert isinstance(second, BindMount)
    assert first.source == second.source


def test_a_new_cache_is_seeded(based: Workbench) -> None:
    text = (
        "FROM base AS seed\nRUN plant\nFROM base\n"
        "RUN --mount=type=cache,target=/c,from=seed,source=/seed look\n"
    )
    seen: list[str] = []

    def look(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, BindMount)
        seen.append((mount.source / "file").read_text())

    based.build(text, {"plant": lambda step: write(step, "seed/file", "grown"), "look": look})
    assert seen == ["grown"]


def test_a_source_may_not_lead_out_of_its_cache(based: Workbench) -> None:
    text = "FROM base\nRUN --mount=type=cache,target=/c,id=i{} {}\n"

    def trap(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, BindMount)
        (mount.source / "escape").symlink_to("/etc")

    based.build(text.format("", "trap"), {"trap": trap})
    with pytest.raises(BuildInputError, match="leads out of the cache"):
        based.build(text.format(",source=/escape", "use"))


def test_secrets_arrive_and_leave_no_trace(based: Workbench) -> None:
    text = (
        "FROM base\n"
        "RUN --mount=type=secret,id=k,mode=0440 --mount=type=secret,id=e,env=E "
        "--mount=type=secret,id=absent x\n"
    )
    secrets = (Secret("k", b"hidden"), Secret("e", b"also"))
    result = based.build(text, secrets=secrets)
    (step,) = based.runner.steps
    assert step.mounts == (SecretMount("/run/secrets/k", b"hidden", 0o440),)
    assert "E=also" in step.env
    image = based.image(result)
    assert b"also" not in image.config.raw
    assert b"hidden" not in image.config.raw
    rows = b"".join(row.value for row in based.store.cache.rows())
    assert b"hidden" not in rows
    assert b"also" not in rows


def test_a_required_secret_must_be_given(based: Workbench) -> None:
    with pytest.raises(SecretUnknownError) as caught:
        based.build("FROM base\nRUN --mount=type=secret,id=k,required x\n")
    assert caught.value.what == "secret k: not found"
    assert caught.value.where == "Dockerfile:2"
    assert caught.value.fix == "pass --secret id=k,src=path"


def test_agents(based: Workbench) -> None:
    text = "FROM base\nRUN --mount=type=ssh --mount=type=ssh,id=q,target=/s x\n"
    based.build(text, ssh={"default": Path("/tmp/agent"), "q": Path("/tmp/other")})
    (step,) = based.runner.steps
    assert step.mounts == (
        SshMount("/run/buildkit/ssh_agent.0", Path("/tmp/agent")),
        SshMount("/s", Path("/tmp/other")),
    )
    assert "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0" in step.env
    with pytest.raises(SecretUnknownError, match="agent default: not found"):
        based.build("FROM base\nRUN --mount=type=ssh,required y\n")


def test_tmpfs(based: Workbench) -> None:
    based.build("FROM base\nRUN --mount=type=tmpfs,target=/t,size=1k x\n")
    assert based.runner.steps[0].mounts == (TmpfsMount("/t", 1024),)


def test_another_stage_is_bound(based: Workbench) -> None:
    text = (
        "FROM base AS s\nRUN plant\nFROM base\n"
        "RUN --mount=from=s,source=/dir,target=/ro --mount=from=s,target=/rw,rw look\n"
    )

    def look(step: RunStep) -> None:
        fixed, loose = step.mounts
        assert isinstance(fixed, OverlayMount)
        assert isinstance(loose, OverlayMount)
        assert MergedTree(fixed.lower).read_text(f"{fixed.subpath}/file") == "planted"
        assert fixed.upper is None
        assert loose.upper is not None
        assert loose.work is not None
        assert loose.upper.is_dir()

    result = based.build(
        text, {"plant": lambda step: write(step, "dir/file", "planted"), "look": look}
    )
    assert based.tree(result).lookup("/rw") is None


def test_a_file_of_the_context_is_bound_alone(based: Workbench) -> None:
    text = (
        "FROM base\nRUN --mount=source=main.py,target=/a/main.py "
        "--mount=source=main.py,target=/b,rw use\n"
    )
    based.files.context["main.py"] = "print(1)"

    def use(step: RunStep) -> None:
        fixed, loose = step.mounts
        assert isinstance(fixed, BindMount)
        assert isinstance(loose, BindMount)
        assert fixed.source.read_text() == loose.source.read_text() == "print(1)"
        assert (fixed.read_only, loose.read_only) == (True, False)
        loose.source.write_text("changed")
        assert fixed.source.read_text() == "print(1)"

    based.build(text, {"use": use})


def test_a_file_of_another_stage_is_bound_through_links(based: Workbench) -> None:
    text = (
        "FROM base AS s\nRUN plant\nFROM base\n"
        "RUN --mount=from=s,source=/link/file,target=/file look\n"
    )

    def plant(step: RunStep) -> None:
        write(step, "dir/file", "planted")
        (step.upper / "link").symlink_to("/dir")

    def look(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, BindMount)
        assert mount.source.read_text() == "planted"

    based.build(text, {"plant": plant, "look": look})


def test_a_bound_stage_is_keyed_by_content(based: Workbench) -> None:
    text = "FROM base AS s\nRUN plant\nFROM base\nRUN --mount=from=s,source=/dir,target=/x look\n"

    def build(text: str, content: str) -> list[str]:
        based.build(text, {"plant": lambda step: write(step, "dir/file", content)})
        return based.runner.texts

    assert build(text, "same") == ["plant", "look"]
    changed = text.replace("RUN plant", "ENV A=1\nRUN plant")
    assert build(changed, "same") == ["plant"]
    again = text.replace("RUN plant", "ENV A=2\nRUN plant")
    assert build(again, "different") == ["plant", "look"]


def test_the_context_is_bound_and_keyed_by_content(based: Workbench) -> None:
    text = "FROM base\nRUN --mount=target=/src use\n"
    based.files.context["main.py"] = "print(1)"
    seen: list[str | None] = []

    def use(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, OverlayMount)
        seen.append(MergedTree(mount.lower).read_text("/main.py"))

    based.build(text, {"use": use})
    assert based.build(text, {"use": use}).cached
    based.files.context["main.py"] = "print(2)"
    based.build(text, {"use": use})
    assert seen == ["print(1)", "print(2)"]


def test_a_script_is_provided(based: Workbench) -> None:
    def run(step: RunStep) -> None:
        mount = _only(step)
        assert isinstance(mount, BindMount)
        assert mount.target == "/dev/pipes/EOF"
        assert mount.source.read_text() == "#!/bin/python\nprint(1)\n"
        assert mount.source.stat().st_mode & 0o777 == 0o755

    based.build("FROM base\nRUN <<EOF\n#!/bin/python\nprint(1)\nEOF\n", {"/dev/pipes/EOF": run})


def test_the_root_is_what_the_stage_left(based: Workbench) -> None:
    seen: list[str] = []
    based.build(
        "FROM base AS a\nRUN one\nFROM a\nRUN look\n",
        {
            "one": lambda step: write(step, "etc/passwd", "changed\n"),
            "look": lambda step: seen.append(read(step, "/etc/passwd")),
        },
    )
    assert seen == ["changed\n"]


def test_no_cache_empties_a_cache_once(based: Workbench) -> None:
    mount = "--mount=type=cache,target=/c"
    seen: list[list[str]] = []

    def use(step: RunStep) -> None:
        bound = _only(step)
        assert isinstance(bound, BindMount)
        seen.append([path.name for path in bound.source.iterdir()])
        (bound.source / step.args[-1]).write_text("")

    text = f"FROM base\nRUN {mount} one\nRUN {mount} two\n"
    based.build(text, {"one": use, "two": use})
    based.build(text, {"one": use, "two": use}, no_cache=True)
    assert seen == [[], ["one"], [], ["one"]]
