"""The front door on real files: contexts, ignore files, Dockerfiles from anywhere, the record."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder import api
from builder.bases import StoreResolver
from builder.errors import BuildInputError, PlanError
from builder.progress.events import WarningRaised
from builder.progress.plain import PlainProgress
from builder.progress.tracker import Tracker
from builder.request import BuildRequest, BuildResult
from dockerfile_grammar.errors import DockerfileError
from images.layers.merged import MergedTree
from images.reference import Reference
from images.store import ImageStore
from tests.builder.fakes import Command, FakeRunner, RecordingProgress, read, write


class Site:
    """A context directory and a store; the latest build's progress and commands are kept."""

    def __init__(self, root: Path) -> None:
        self.context = root / "context"
        self.context.mkdir()
        self.store = ImageStore.open(root / "store")
        self.progress = RecordingProgress()
        self.runner = FakeRunner()

    def put(self, path: str, content: str = "", mode: int = 0o644) -> None:
        file = self.context / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)

    def build(self, commands: dict[str, Command] | None = None, **options: Any) -> BuildResult:
        self.progress, self.runner = RecordingProgress(), FakeRunner(commands)
        options.setdefault("context", self.context)
        return api.build(
            BuildRequest(**options),
            store=self.store,
            runner=self.runner,
            resolver=StoreResolver(self.store),
            tracker=Tracker(self.progress),
        )

    def tree(self, result: BuildResult) -> MergedTree:
        return MergedTree(self.store.lowerdirs(self.store.image(result.descriptor)))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def test_the_runner_hears_that_commands_are_coming_and_only_then(site: Site) -> None:
    site.put("a", "1")
    site.put("Dockerfile", "FROM scratch\nCOPY a /a\n")
    site.build()
    assert site.runner.expected == 0
    site.put("Dockerfile", "FROM scratch\nCOPY a /b\nRUN x\n")
    site.build()
    assert site.runner.expected > 0
    site.build()
    assert site.runner.expected == 0


def test_a_context_becomes_an_image(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY . /app/\nWORKDIR /app\nCMD x\n")
    site.put("bin/run", "#!/bin/sh\n", 0o755)
    tag = Reference.parse("demo")
    result = site.build(tags=(tag,))
    tree = site.tree(result)
    node = tree.lookup("/app/bin/run")
    assert node is not None
    assert node.status.st_mode & 0o7777 == 0o755
    assert site.store.resolve(tag) == result.descriptor
    assert site.store.check(rehash=True) == []


def test_a_second_build_comes_from_the_record(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY a /a\nRUN x\n")
    site.put("a", "1")
    first = site.build()
    second = site.build(tags=(Reference.parse("again"),))
    assert second.cached
    assert second.descriptor == first.descriptor
    assert site.progress.cached == ["[1/2] COPY a /a", "[2/2] RUN x"]
    assert len(site.progress.events) == 3, "the Dockerfile was read, and no more done"
    assert site.store.resolve(Reference.parse("again")) == first.descriptor


def test_the_record_repeats_warnings_with_their_lines(site: Site) -> None:
    site.put("a.txt", "1")
    time.sleep(0.03)
    options: dict[str, Any] = {"dockerfile": b"FROM scratch\nCOPY a.txt /a\nMAINTAINER me\n"}

    def told() -> list[tuple[str, str]]:
        site.build(**options)
        events = site.progress.events
        return [(e.message, e.where) for e in events if isinstance(e, WarningRaised)]

    first = told()
    assert [where for _, where in first] == ["Dockerfile:3"]
    assert told() == first
    assert site.build(**options).steps[0].reason == api.WHOLE_BUILD


def test_a_removed_image_comes_back_with_the_record(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nENV A=b\n")
    for tags in ((), (Reference.parse("named"),)):
        first = site.build(tags=tags)
        site.store.remove(str(first.image_id), force=True)
        assert site.store.images() == []
        again = site.build(tags=tags)
        assert again.cached
        assert [image.image_id for image in site.store.images()] == [first.image_id]
        site.store.remove(str(first.image_id), force=True)


def test_a_touched_file_changes_nothing(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY a /a\n")
    site.put("a", "1")
    first = site.build()
    os.utime(site.context / "a", ns=(1, 1))
    second = site.build()
    assert second.cached
    assert second.descriptor == first.descriptor


@pytest.mark.parametrize("change", ["content", "mode", "new"])
def test_a_changed_context_is_built_again(site: Site, change: str) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY . /d/\n")
    site.put("a", "1")
    site.build()
    time.sleep(0.02)
    if change == "content":
        site.put("a", "2")
    elif change == "mode":
        site.put("a", "1", 0o600)
    else:
        site.put("b", "1")
    result = site.build()
    assert not result.cached
    name = "b" if change == "new" else "a"
    (reason,) = site.progress.reasons.values()
    assert reason.startswith(f"file {name} ")


def test_no_cache_and_pull_do_not_believe_the_record(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nRUN x\n")
    site.build()
    assert site.build(pull=True).cached
    assert "[internal] load build definition from Dockerfile" in site.progress.names
    assert not site.build(no_cache=True).cached


def test_ignored_files_are_neither_copied_nor_counted(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY . /d/\n")
    site.put(".dockerignore", "secret\nDockerfile\n")
    site.put("secret", "1")
    site.put("a", "1")
    result = site.build()
    assert site.tree(result).listdir("/d") == [".dockerignore", "a"]
    site.put("secret", "2")
    assert site.build().cached


def test_an_ignored_source_says_which_line_hides_it(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY secret /s\n")
    site.put(".dockerignore", "# private\nsecret\n")
    site.put("secret", "1")
    with pytest.raises(BuildInputError) as caught:
        site.build()
    assert "excluded by .dockerignore line 2 (secret)" in caught.value.what
    assert caught.value.where == "Dockerfile:2"
    assert ">>> COPY secret /s" in caught.value.excerpt()


def test_the_ignore_file_beside_the_dockerfile_wins(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "My.Dockerfile").write_text("FROM scratch\nCOPY . /d/\n")
    (other / "My.Dockerfile.dockerignore").write_text("a\n")
    site.put(".dockerignore", "b\n")
    site.put("a")
    site.put("b")
    result = site.build(dockerfile=other / "My.Dockerfile")
    assert site.tree(result).listdir("/d") == [".dockerignore", "b"]


def test_a_dockerfile_from_bytes_without_a_context(site: Site) -> None:
    result = site.build(context=None, dockerfile=b"FROM scratch\nENV A=b\n")
    assert site.store.image(result.descriptor).config.config["Env"][-1] == "A=b"
    with pytest.raises(BuildInputError, match="there is no build context"):
        site.build(context=None, dockerfile=b"FROM scratch\nCOPY a /a\n")
    with pytest.raises(BuildInputError, match="there is no Dockerfile"):
        site.build(context=None)


def test_other_names_of_the_file(site: Site) -> None:
    site.put("Containerfile", "FROM scratch\nENV A=b\n")
    site.build()
    site.put("dockerfile", "FROM nonsense:\n")
    with pytest.raises(PlanError):
        site.build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": Path("/nowhere/at/all")}, "the build context /nowhere/at/all does not exist"),
        ({"context": Path("/etc/passwd")}, "the build context /etc/passwd is not a directory"),
        ({"dockerfile": Path("/nowhere/D")}, "cannot read /nowhere/D: No such file or directory"),
        ({}, "there is no Dockerfile in "),
    ],
)
def test_bad_inputs_say_what_is_missing(site: Site, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildInputError) as caught:
        site.build(**options)
    assert message in caught.value.what
    assert caught.value.fix


def test_a_syntax_error_points_at_its_line(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nRNU x\n")
    with pytest.raises(DockerfileError) as caught:
        site.build()
    assert caught.value.where == "Dockerfile:2"


def test_an_unknown_owner_is_refused(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY --chown=nobody a /a\n")
    site.put("a")
    with pytest.raises(BuildInputError, match="unable to find user nobody") as caught:
        site.build()
    assert caught.value.where == "Dockerfile:2"


@pytest.mark.root
def test_files_that_are_only_looked_at_are_not_unpacked(site: Site) -> None:
    site.put(
        "Dockerfile",
        "FROM scratch\nCOPY . /app/\nWORKDIR /app/sub\nCOPY a ./\nCOPY --chown=me a /owned\n",
    )
    site.put("a")
    site.put("sub/b")
    site.put("etc/passwd", "me:x:7:8::/:/bin/sh\n")
    site.put("Dockerfile2", "FROM scratch\nCOPY etc /etc\nCOPY --chown=me a /app/sub/\n")
    with pytest.raises(BuildInputError, match="unable to find user me"):
        site.build()
    result = site.build(dockerfile=site.context / "Dockerfile2")
    assert list(site.store.snapshots.ids()) == []
    node = site.tree(result).lookup("/app/sub/a")
    assert node is not None
    assert (node.status.st_uid, node.status.st_gid) == (7, 8)


def test_stages_copy_between_each_other(site: Site) -> None:
    site.put(
        "Dockerfile",
        "FROM scratch AS build\nCOPY src /src\nRUN make\n"
        "FROM scratch\nCOPY --from=build /out/ /\nCOPY <<EOF /note\nhello\nEOF\n",
    )
    site.put("src/main.c", "int main;")

    def make(step: Any) -> None:
        write(step, "out/app", read(step, "/src/main.c").upper())

    result = site.build({"make": make})
    tree = site.tree(result)
    assert tree.read_text("/app") == "INT MAIN;"
    assert tree.read_text("/note") == "hello\n"


@pytest.mark.root
def test_owners_are_roots_or_those_asked_for(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY a /a\nCOPY --chown=7:8 a /b\nRUN x\n")
    site.put("a")
    os.chown(site.context / "a", 1000, 1000)
    tree = site.tree(site.build())
    nodes = [tree.lookup("/a"), tree.lookup("/b")]
    owners = [(node.status.st_uid, node.status.st_gid) for node in nodes if node is not None]
    assert owners == [(0, 0), (7, 8)]


@pytest.mark.root
def test_an_owner_changed_in_a_stage_is_noticed(site: Site) -> None:
    def build(uid: int) -> int:
        site.put(
            "Dockerfile",
            f"FROM scratch AS build\nRUN make {uid}\nFROM scratch\nCOPY --from=build /out /out\n",
        )

        def make(step: Any) -> None:
            write(step, "out", "same")
            os.chown(step.upper / "out", uid, uid)

        node = site.tree(site.build({f"make {uid}": make})).lookup("/out")
        assert node is not None
        return node.status.st_uid

    assert [build(5), build(6)] == [5, 6]


def test_add_unpacks_a_local_archive(site: Site) -> None:
    import tarfile

    with tarfile.open(site.context / "a.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("dir/file")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"hi"))
    site.put("Dockerfile", "FROM scratch\nADD a.tgz /x/\nADD --unpack=false a.tgz /y/\n")
    tree = site.tree(site.build())
    assert tree.read_text("/x/dir/file") == "hi"
    assert tree.listdir("/y") == ["a.tgz"]


def test_a_plan_executes_nothing(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY nowhere /x\nRUN y\n")
    progress = RecordingProgress()
    plan = api.plan(
        BuildRequest(site.context),
        store=site.store,
        resolver=StoreResolver(site.store),
        tracker=Tracker(progress),
    )
    assert [step.name for step in plan.steps] == [
        "FROM scratch",
        "[1/2] COPY nowhere /x",
        "[2/2] RUN y",
    ]
    assert not progress.closed  # its maker closes it
    assert site.store.images() == []


COLD = """
import sys
from pathlib import Path
from builder import api
from builder.bases import StoreResolver
from builder.progress.render import make_progress
from builder.progress.tracker import Tracker
from builder.request import BuildRequest
from images.store import ImageStore
store = ImageStore.open(Path(sys.argv[2]))
result = api.build(
    BuildRequest(Path(sys.argv[1])), store=store, runner=None, resolver=StoreResolver(store),
    tracker=Tracker(make_progress("plain", sys.stderr)),
)
store.close()
heavy = {"lark", "aiohttp", "asyncio", "tarfile", "subprocess", "rich", "builder.plan.planner",
         "dockerfile_grammar.parser", "builder.solver.solver", "concurrent.futures"}
print(result.cached, sorted(heavy & set(sys.modules)))
"""


def test_an_unchanged_build_imports_next_to_nothing(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nCOPY a /a\nENV A=b\n")
    site.put("a")
    site.build()
    site.store.close()
    done = subprocess.run(
        [sys.executable, "-c", COLD, str(site.context), str(site.store.root)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "True []\n"
    assert "#1 [1/1] COPY a /a\n#1 CACHED\n" in done.stderr


def test_plain_progress_of_a_whole_build(site: Site) -> None:
    site.put("Dockerfile", "FROM scratch\nRUN x\n")
    out = io.StringIO()
    api.build(
        BuildRequest(site.context, tags=(Reference.parse("t:1"),)),
        store=site.store,
        runner=FakeRunner(),
        resolver=StoreResolver(site.store),
        tracker=Tracker(PlainProgress(out), lambda: 1000.0),
    )
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["#1 [internal] load build definition from Dockerfile", "#1 DONE 0.0s"]
    assert "#2 [1/1] RUN x" in lines
    assert "#2 0.000 running x" in lines
    assert lines[-4].startswith("#3 0.000 writing image sha256:")
    assert lines[-3] == "#3 0.000 naming to t:1"
