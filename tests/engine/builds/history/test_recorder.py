"""What is written down of a build, by whichever way it ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from builder.errors import BuildCancelledError, StepFailedError
from builder.progress.events import ContextRead, DefinitionRead, LayerStored, MaterialFound
from builder.request import BuildRequest
from builder.secrets import Secret
from engine.builds.history import journal
from engine.builds.history.archive import entries
from engine.builds.history.recorder import FOLDER, Recorder
from engine.builds.order import BuildOrder
from engine.builds.sources.wanted import Sources
from images.reference import Reference
from tests.engine.builds.history.kit import DIGEST, OUTCOME, Clock, Story, log_of


def files(root: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in (root / FOLDER).iterdir())


def test_a_whole_build(tmp_path: Path) -> None:
    story = Story(
        tmp_path,
        tags=(Reference.parse("shop:1"),),
        target="prod",
        build_args={"MODE": "fast"},
        labels={"a": "b"},
    )
    tracker = story.tracker
    tracker.send(DefinitionRead("Dockerfile", b"FROM base\nRUN make\n"))
    tracker.send(MaterialFound("base:latest", "sha256:1"))
    tracker.send(ContextRead(3, 30))
    base = tracker.cached("[1/2] FROM base", "base image sha256:1")
    number = story.step("[2/2] RUN make", 2.5, b"made\n", reason="no record", inputs=(base,))
    tracker.send(LayerStored(number, "sha256:2", 99, story.clock.now))
    tracker.warn("casing", "Dockerfile:1")
    story.end()

    assert files(tmp_path) == [f"{story.recorder.ref}.json", f"{story.recorder.ref}.log.gz"]
    document = story.entry().document()
    assert document is not None
    assert (document["name"], document["status"]) == ("shop:1", "completed")
    assert document["ended"] - document["started"] == 2.5
    assert document["request"] == {
        "context": "/src/shop",
        "target": "prod",
        "tags": ["shop:1"],
        "args": {"MODE": "fast"},
        "labels": {"a": "b"},
        "network": "default",
    }
    assert document["definition"]["text"] == "FROM base\nRUN make\n"
    assert document["context"] == {"files": 3, "bytes": 30}
    assert document["materials"] == [{"uri": "base:latest", "digest": "sha256:1"}]
    assert document["warnings"] == [["casing", "Dockerfile:1"]]
    assert document["result"]["digest"] == str(DIGEST)
    made = document["steps"]["2"]
    assert (made["outcome"], made["size"], made["inputs"]) == ("executed", 99, [1])
    assert log_of(story.entry()) == "made\n"


def test_a_cached_build_writes_one_small_file_without_waiting_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fsync", "fdatasync", "sync"):
        monkeypatch.setattr(os, name, lambda *_: pytest.fail("it waits for the disk"))
    story = Story(tmp_path)
    for number in range(20):
        story.tracker.cached(f"[{number}/20] RUN x")
    story.end()
    assert files(tmp_path) == [f"{story.recorder.ref}.json"]
    assert os.stat(story.entry().stem + ".json").st_size < 4096
    assert os.stat(story.entry().stem + ".json").st_mode & 0o777 == 0o600
    assert os.stat(tmp_path / FOLDER).st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StepFailedError("make", 2, log=["boom"]), "failed"),
        (BuildCancelledError("the build was cancelled"), "canceled"),
        (KeyboardInterrupt(), "canceled"),
        (ValueError("a bug"), "failed"),
    ],
    ids=["failed", "cancelled", "interrupt", "bug"],
)
def test_builds_that_end_badly(tmp_path: Path, error: BaseException, status: str) -> None:
    story = Story(tmp_path)
    story.tracker.start("[1/1] RUN make").output(2, b"boom")
    story.clock.now += 1
    story.recorder.failed(error)
    document = story.entry().document()
    assert document is not None
    assert document["status"] == status
    assert document["error"]["message"]
    assert document["steps"]["1"]["outcome"] == "canceled", "nobody said how it ended"
    assert log_of(story.entry()) == "boom"


def test_a_build_that_runs_and_one_that_was_killed(tmp_path: Path) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        story = Story(tmp_path)
        story.step("[1/2] RUN fast", output=b"fast\n")
        story.tracker.start("[2/2] RUN slow").output(1, b"begun\n")
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    (running,) = entries(str(tmp_path))
    document = running.document()
    assert document is not None
    assert document["status"] == "running"
    assert not running.remove()

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (killed,) = entries(str(tmp_path))
    document = killed.document()
    assert document is not None
    assert document["status"] == "interrupted"
    assert [step["outcome"] for step in document["steps"].values()] == ["executed", "interrupted"]
    assert log_of(killed) == "fast\nbegun\n"
    assert killed.remove()
    assert entries(str(tmp_path)) == []


def test_a_line_that_a_kill_cut_off_is_passed_over(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.step("[1/1] RUN x")
    entry = story.entry()
    with open(entry.stem + ".journal", "ab") as file:
        file.write(b'["step",{"number":2,"na')
    document = entry.document()
    assert document is not None
    assert list(document["steps"]) == ["1"]


SECRET = "correct-horse-battery"


def test_no_secret_is_written_down(tmp_path: Path) -> None:
    story = Story(
        tmp_path,
        secrets=(Secret("key", f"{SECRET}\nsecond-line-of-it\n".encode()),),
        build_args={
            "NPM_TOKEN": "tok-123456",
            "PASSWORD": "pw",
            "MIRROR": "https://me:hunter2@mirror/x",
            "PUBLIC_KEY": "this-is-public",
        },
        sources=Sources("https://user:letmein@git/repo.git"),
    )
    story.tracker.send(DefinitionRead("Dockerfile", f"RUN echo {SECRET}".encode()))
    vertex = story.tracker.start(f"[1/1] RUN curl -H tok-123456 {SECRET}", f"it was {SECRET}")
    for piece in (SECRET[:7], SECRET[7:] + "\nsecond-", "line-of-it https://a:b@c\n"):
        vertex.output(1, piece.encode())
    vertex.failed(f"failed with {SECRET}")
    story.tracker.warn(f"do not say {SECRET}")
    story.recorder.failed(ValueError(f"no {SECRET}, no tok-123456"))
    entry = story.entry()
    told = json.dumps(entry.document()) + log_of(entry)
    assert story.recorder.document["name"] == "repo.git"
    for word in (SECRET, "second-line-of-it", "tok-123456", '"pw"', "hunter2", "letmein", "a:b@"):
        assert word not in told
    assert "this-is-public" in told
    assert "*****" in told


def test_words_of_a_secret_file_are_not_masked_everywhere(tmp_path: Path) -> None:
    content = b"server: registry.example\n//registry/:_authToken=npm_0123456789abcdef\n"
    story = Story(tmp_path, secrets=(Secret("npmrc", content),))
    story.step("[1/1] RUN x", output=b"server is up\ntoken npm_0123456789abcdef\n")
    story.end()
    assert log_of(story.entry()) == "server is up\ntoken *****\n"


def test_of_a_long_log_the_beginning_and_the_end_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "HEAD_LIMIT", 1000)
    monkeypatch.setattr(journal, "TAIL_LIMIT", 500)
    story = Story(tmp_path)
    lines = [b"line %05d\n" % number for number in range(1000)]
    vertex = story.tracker.start("[1/1] RUN loud")
    for line in lines:
        vertex.output(1, line)
    vertex.done()
    story.end()
    text = log_of(story.entry())
    assert text.startswith("line 00000\nline 00001\n")
    assert text.endswith("line 00998\nline 00999\n")
    assert "bytes are left out here]" in text
    assert len(text) < 2000
    document = story.entry().document()
    assert document is not None
    assert document["log"]["dropped"] > 5000


def test_a_line_without_an_end_needs_no_more_memory_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LINE_LIMIT", 100)
    story = Story(tmp_path)
    story.step("[1/1] RUN dots", output=b"." * 250)
    story.end()
    assert log_of(story.entry()) == "." * 250


def test_the_oldest_go_first(tmp_path: Path) -> None:
    clock = Clock()
    for number in range(6):
        story = Story(tmp_path, clock, limit=3, context=f"/src/{number}")
        story.step("[1/1] RUN x", output=b"x\n")
        story.end()
    names = [entry.document()["name"] for entry in entries(str(tmp_path))]
    assert names == ["5", "4", "3"]
    assert len(files(tmp_path)) == 6


def test_cached_builds_are_bounded_too(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(120):
        clock.now += 1
        Story(tmp_path, clock, limit=10).end()
    assert len(files(tmp_path)) <= 70


@pytest.mark.parametrize("text", ["0", "7", "nonsense", ""])
def test_the_limit_of_the_environment(tmp_path: Path, text: str) -> None:
    order = BuildOrder(BuildRequest("/src"))
    recorder = Recorder.of(order, str(tmp_path), Clock(), {"LADING_HISTORY_BUILDS": text})
    recorder.finished(OUTCOME)
    assert (tmp_path / FOLDER).exists() == (text != "0")


def test_a_record_that_cannot_be_written_is_no_trouble_of_the_build(tmp_path: Path) -> None:
    (tmp_path / "builder").write_text("a file where a folder should be")
    story = Story(tmp_path)
    story.step("[1/1] RUN x", output=b"x\n")
    story.end()
    assert story.recorder.document["status"] == "completed"


def test_a_journal_that_was_pruned_meanwhile(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.step("[1/1] RUN x", output=b"x\n")
    os.unlink(story.entry().stem + ".journal")
    story.end()
    document = story.entry().document()
    assert document is not None
    assert document["status"] == "completed"


def test_two_builds_on_one_display_have_records_of_their_own(tmp_path: Path) -> None:
    first = Story(tmp_path)
    second = Story(tmp_path, first.clock)
    second.tracker = first.tracker.seen_by(second.recorder)
    outer = first.tracker
    outer.cached("both see what is told above them")
    second.tracker.cached("only told below")
    assert len(first.recorder.document["steps"]) == 2
    assert [it["number"] for it in second.recorder.document["steps"].values()] == [2]
