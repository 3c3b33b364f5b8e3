"""Renderers: the exact lines of a small build."""

from __future__ import annotations

import base64
import io
import json

import pytest

from builder.errors import BuildInputError
from builder.progress.events import (
    ContextRead,
    DefinitionRead,
    LayerStored,
    MaterialFound,
    VertexStarted,
    WarningRaised,
)
from builder.progress.plain import PARTIAL_LIMIT, PlainProgress
from builder.progress.rawjson import RawJsonProgress
from builder.progress.render import QuietProgress, make_progress
from builder.progress.tracker import TAIL_LINES, Tracker
from builder.progress.tty import TtyProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.progress.events import ProgressSink


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _play(sink: ProgressSink) -> None:
    """Two steps at once, one from the cache, one that fails."""
    clock = Clock()
    tracker = Tracker(sink, clock)
    tracker.cached("[1/4] FROM base")
    make = tracker.start("[2/4] RUN make", "no record")
    clock.now += 0.123
    make.output(1, b"one\ntw")
    clock.now += 1
    other = tracker.start("[other 1/1] RUN x")
    other.output(2, b"10%\r20%\r100%\n")
    make.output(1, b"o\n")
    make.done()
    other.output(1, b"no newline")
    other.failed("exit code: 1")
    tracker.start("[4/4] RUN late").failed("stopped", cancelled=True)
    tracker.warn("watch out", "Dockerfile:3")
    sink.close()


PLAIN = """\
#1 [1/4] FROM base
#1 CACHED

#2 [2/4] RUN make
#2 0.123 one
#2 ...

#3 [other 1/1] RUN x
#3 0.000 100%
#3 ...

#2 [2/4] RUN make
#2 1.123 two
#2 DONE 1.1s

#3 [other 1/1] RUN x
#3 0.000 no newline
#3 ERROR: exit code: 1

#4 [4/4] RUN late
#4 CANCELED

1 warning:
 - watch out (Dockerfile:3)
"""


def test_plain() -> None:
    out = io.StringIO()
    _play(PlainProgress(out))
    assert out.getvalue() == PLAIN


def test_plain_explains_when_asked() -> None:
    out = io.StringIO()
    _play(PlainProgress(out, explain=True))
    assert "#2 [2/4] RUN make\n#2 NOT CACHED: no record\n#2 0.123 one\n" in out.getvalue()


def test_rawjson_is_one_object_a_line() -> None:
    out = io.StringIO()
    _play(RawJsonProgress(out))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    vertexes = {v["number"]: v for line in lines for v in line.get("vertexes", [])}
    assert vertexes[1]["cached"] is True
    assert vertexes[2]["name"] == "[2/4] RUN make"
    assert vertexes[2]["reason"] == "no record"
    assert vertexes[2]["started"] == "1970-01-01T00:16:40Z"
    assert vertexes[2]["completed"] == "1970-01-01T00:16:41.123000Z"
    assert vertexes[3]["error"] == "exit code: 1"
    assert vertexes[4]["error"] == "context canceled: stopped"
    logs = [log for line in lines for log in line.get("logs", [])]
    made = [log for log in logs if log["vertex"] == vertexes[2]["digest"]]
    assert b"".join(base64.b64decode(log["data"]) for log in made) == b"one\ntwo\n"
    assert base64.b64decode(lines[-1]["warnings"][0]["short"]) == b"watch out"


def test_tty_leaves_the_whole_table_behind() -> None:
    out = io.StringIO()
    _play(TtyProgress(out))
    text = out.getvalue()
    assert "[+] Building 1.1s (4/4)" in text
    assert " => CACHED [1/4] FROM base" in text
    assert " => [2/4] RUN make" in text
    assert " => ERROR [other 1/1] RUN x" in text
    assert "watch out (Dockerfile:3)" in text


def test_tty_shows_no_control_characters_of_a_command() -> None:
    out = io.StringIO()
    sink = TtyProgress(out)
    vertex = Tracker(sink, Clock()).start("[1/1] RUN evil")
    vertex.output(1, b"\x1b[2Jgone\n")
    sink.close()
    assert "\x1b[2J" not in out.getvalue()


def test_tty_needs_no_rich_when_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TtyProgress, "_start", lambda _: pytest.fail("the live table was started"))
    out = io.StringIO()
    sink = TtyProgress(out)
    tracker = Tracker(sink, Clock())
    tracker.cached("[1/2] FROM base")
    tracker.cached("[2/2] RUN \x1b[2Jevil")
    tracker.warn("watch out", "Dockerfile:3")
    sink.close()
    lines = out.getvalue().splitlines()
    assert lines[0] == "[+] Building 0.0s (2/2) FINISHED"
    assert lines[1].startswith(" => CACHED [1/2] FROM base ")
    assert lines[1].endswith(" 0.0s")
    assert len(lines[1]) < 80
    assert "\x1b" not in out.getvalue()
    assert lines[-2:] == [" 1 warning:", "  - watch out (Dockerfile:3)"]


def test_quiet() -> None:
    _play(QuietProgress())


def test_names() -> None:
    out = io.StringIO()
    assert isinstance(make_progress("auto", out), PlainProgress)
    assert isinstance(make_progress("tty", out), TtyProgress)
    assert isinstance(make_progress("rawjson", out), RawJsonProgress)
    assert isinstance(make_progress("quiet", out), QuietProgress)
    with pytest.raises(BuildInputError, match="invalid progress mode 'loud'"):
        make_progress("loud", out)


def test_the_tail_of_a_log_is_kept() -> None:
    vertex = Tracker(QuietProgress(), Clock()).start("x")
    vertex.output(1, "".join(f"{number}\n" for number in range(1000)).encode())
    vertex.output(2, b"last")
    assert vertex.tail()[-1] == "last"
    assert len(vertex.tail()) == TAIL_LINES


def test_rawjson_has_the_fields_of_buildkit() -> None:
    out = io.StringIO()
    sink = RawJsonProgress(out, run=b"salt")
    clock = Clock()
    tracker = Tracker(sink, clock)
    base = tracker.cached("[1/2] FROM base", "base image")
    make = tracker.start("[2/2] RUN make", "no record", where="Dockerfile:2", inputs=(base,))
    make.done()
    tracker.send(LayerStored(make.number, "sha256:1", 99, clock.now))
    tracker.warn("casing", "Dockerfile:1")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [list(line) for line in lines] == [["vertexes"]] * 3 + [["statuses"], ["warnings"]]
    first, second = lines[0]["vertexes"][0], lines[2]["vertexes"][0]
    assert second["inputs"] == [first["digest"]]
    assert set(second) - {"number", "reason", "where"} == {
        *("digest", "inputs", "name", "started", "completed"),
    }
    assert lines[3]["statuses"] == [
        {
            "id": "layer sha256:1",
            "vertex": second["digest"],
            "name": "layer",
            "total": 99,
            "current": 99,
            **dict.fromkeys(("timestamp", "started", "completed"), "1970-01-01T00:16:40Z"),
        }
    ]
    (warning,) = lines[4]["warnings"]
    assert warning["sourceInfo"] == {"filename": "Dockerfile"}
    assert warning["range"] == [{"start": {"line": 1}, "end": {"line": 1}}]


def test_vertices_of_two_builds_have_other_digests() -> None:
    digests = set()
    for _ in range(2):
        out = io.StringIO()
        Tracker(RawJsonProgress(out), Clock()).cached("[1/1] FROM base")
        digests.add(json.loads(out.getvalue())["vertexes"][0]["digest"])
    assert len(digests) == 2


def test_equal_warnings_are_told_once_with_all_their_places() -> None:
    out = io.StringIO()
    sink = PlainProgress(out)
    tracker = Tracker(sink, Clock())
    for where in ("Dockerfile:3", "Dockerfile:9", "Dockerfile:3"):
        tracker.warn("casing", where)
    tracker.warn("unused", "")
    sink.close()
    sink.close()
    assert out.getvalue() == "3 warnings:\n - casing (Dockerfile:3, Dockerfile:9)\n - unused\n"


def test_plain_needs_no_more_memory_than_a_line_may_take() -> None:
    out = io.StringIO()
    tracker = Tracker(PlainProgress(out), Clock())
    vertex = tracker.start("[1/1] RUN dots")
    for _ in range(3):
        vertex.output(1, b"." * PARTIAL_LIMIT)
    assert out.getvalue().count("#1 0.000 ...") == 3


def test_plain_on_a_terminal_keeps_colours_alone() -> None:
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    vertex = Tracker(PlainProgress(out), Clock()).start("[1/1] RUN \x1b[2Jx")
    vertex.output(1, b"\x1b[31mred\x1b[0m\x1b[2J\n")
    assert "\x1b[31mred\x1b[0m\n" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    piped = io.StringIO()
    Tracker(PlainProgress(piped), Clock()).start("[1/1] RUN x").output(1, b"\x1b[2J\n")
    assert "\x1b[2J" in piped.getvalue(), "whoever reads a file knows better"


class Gone(io.StringIO):
    """A reader that has hung up."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("name", ["plain", "tty", "rawjson"])
def test_a_display_that_has_gone_does_not_end_the_build(name: str) -> None:
    _play(make_progress(name, Gone()))


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"BUILDKIT_PROGRESS": "rawjson"}, RawJsonProgress),
        ({"BUILDKIT_PROGRESS": "none"}, QuietProgress),
        ({"BUILDKIT_PROGRESS": ""}, PlainProgress),
        ({}, PlainProgress),
    ],
    ids=["rawjson", "none", "empty", "unset"],
)
def test_the_environment_says_what_auto_is(environment: dict[str, str], kind: type) -> None:
    assert isinstance(make_progress("auto", io.StringIO(), environment=environment), kind)
    plain = make_progress("plain", io.StringIO(), environment=environment)
    assert isinstance(plain, PlainProgress)


def test_a_dumb_terminal_gets_lines() -> None:
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    assert isinstance(make_progress("auto", out, environment={"TERM": "dumb"}), PlainProgress)
    assert isinstance(make_progress("auto", out, environment={}), TtyProgress)


def test_events_that_a_display_has_no_use_for_are_passed_over() -> None:
    for name in ("plain", "tty", "rawjson", "quiet"):
        tracker = Tracker(make_progress(name, io.StringIO()), Clock())
        tracker.send(DefinitionRead("Dockerfile", b"FROM x"))
        tracker.send(MaterialFound("x", "sha256:1"))
        tracker.send(ContextRead(1, 2))


def test_rawjson_warnings_show_their_file() -> None:
    out = io.StringIO()
    sink = RawJsonProgress(out)
    sink.emit(DefinitionRead("Dockerfile", b"FROM scratch as x\n"))
    sink.emit(VertexStarted(1, "[internal] load build definition from Dockerfile", 1.0))
    sink.emit(WarningRaised("the casing does not match", "Dockerfile:1"))
    sink.emit(WarningRaised("elsewhere", "Other:2"))
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    vertex = rows[0]["vertexes"][0]["digest"]
    first, second = (row["warnings"][0] for row in rows[1:])
    assert first["vertex"] == vertex
    assert base64.b64decode(first["sourceInfo"]["data"]) == b"FROM scratch as x\n"
    assert first["sourceInfo"]["language"] == "Dockerfile"
    assert "vertex" not in second
    assert second["sourceInfo"] == {"filename": "Other"}
