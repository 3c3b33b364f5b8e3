"""Request ids, the access log, health and readiness, and tasks that only one process runs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from registry.drain import Drain
from registry.election import FileOffices
from registry.errors import RegistryStartError
from registry.logs import JsonFormatter, LineHandler, TextFormatter, configure, in_background
from registry.schedule import Task, run_tasks
from registry.settings import LogFormat, LogLevel, LogSettings
from registry.status import Status
from registry.tally import BOUNDS, Count, Level, Tally
from tests.registry.conftest import StartRegistry
from tests.registry.service_kit import call, service
from tests.waiting import eventually


async def test_a_request_id_of_the_client_is_kept(start: StartRegistry) -> None:
    client = await start()
    await client.push_image("a", "1", layers=[b"x" * 200_000])
    paths = ("/v2/", "/v2/a/manifests/1", "/v2/a/manifests/none", "/v2/a/tags/list", "/nowhere")
    for path in paths:
        answer = await client.send("GET", path, headers={"X-Request-Id": "abc.1-2_3"})
        assert answer.headers["X-Request-Id"] == "abc.1-2_3"


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "ü", 'a"b'])
async def test_a_malformed_request_id_is_replaced(start: StartRegistry, bad: str) -> None:
    client = await start()
    found = set()
    for _ in range(2):
        answer = await client.send("GET", "/v2/", headers={"X-Request-Id": bad})
        found.add(answer.headers["X-Request-Id"])
    assert len(found) == 2
    assert bad not in found


@pytest.mark.parametrize("style", ["text", "json"])
def test_every_request_has_a_line(tmp_path: Path, style: str) -> None:
    config = f'[log]\nformat = "{style}"\n'
    with service(tmp_path, config) as found:
        headers = {"X-Request-Id": "my-request"}
        assert call(found.port, "GET", "/v2/a/manifests/1?x=%0aforged", headers=headers)[0] == 404
        eventually(lambda: "my-request" in found.logged())
        line = next(one for one in found.logged().splitlines() if "my-request" in one)
    if style == "text":
        assert "INFO registry.access 127.0.0.1 GET /v2/a/manifests/1?x=%0aforged 404 " in line
        assert line.endswith("request_id=my-request")
    else:
        entry = json.loads(line)
        expected = {"level": "info", "logger": "registry.access", "request_id": "my-request"}
        expected |= {"client": "127.0.0.1", "method": "GET"}
        expected |= {"path": "/v2/a/manifests/1?x=%0aforged"}
        assert expected.items() <= entry.items()
        assert entry["status"] == 404
        assert 0 <= entry["seconds"] < 10


def test_the_access_log_can_be_switched_off(tmp_path: Path) -> None:
    with service(tmp_path, "[log]\naccess = false\n", workers=1) as found:
        call(found.port, "GET", "/v2/")
    assert "registry.access" not in found.logged()
    assert "drained, 0 cut off" in found.logged()


@pytest.fixture
def clean_root() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("registry.access").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("clean_root")
def test_lines_are_dropped_when_nobody_reads_them() -> None:
    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            stuck.wait(60)
            return super().write(text)

    stuck, stream = threading.Event(), Stuck()
    handler = LineHandler(stream, limit=10)
    handler.setFormatter(TextFormatter("%(message)s"))
    lost: list[int] = []
    handler.start(lost.append)
    for number in range(500):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, str(number), (), None))
    stuck.set()
    handler.stop()
    written = stream.getvalue().splitlines()
    assert written[0] == "0"
    assert len(written) + sum(lost) == 500
    assert sum(lost) > 300


@pytest.mark.usefixtures("clean_root", "faults_expected")
def test_formats() -> None:
    stream = io.StringIO()
    configure(LogSettings(LogLevel.WARNING, LogFormat.JSON), stream)
    logger = logging.getLogger("registry.test")
    with in_background(lambda _count: None):
        logger.info("too little")
        try:
            raise ValueError("line\nbreak")
        except ValueError:
            logger.exception("it\nbroke", extra={"request_id": "r", "user": ""})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    entry = json.loads(lines[0])
    assert (entry["message"], entry["request_id"]) == ("it\nbroke", "r")
    assert "ValueError: line\nbreak" in entry["traceback"]
    assert "user" not in entry
    record = logging.LogRecord("n", logging.INFO, "", 0, "first\nsecond", (), None)
    record.request_id = "r"
    assert TextFormatter("%(message)s").format(record) == "first request_id=r\nsecond"
    assert json.loads(JsonFormatter().format(record))["message"] == "first\nsecond"


async def test_readiness(tmp_path: Path) -> None:
    now = 0.0
    drain = Drain()
    status = Status(tmp_path, Tally(1), drain, clock=lambda: now)

    async def ready() -> tuple[int, str | None]:
        answer = await status.handle(make_mocked_request("GET", "/readyz"))
        assert isinstance(answer, web.Response)
        return answer.status, answer.text

    assert await ready() == (200, "ok\n")
    assert list(tmp_path.iterdir()) == []
    tmp_path.rename(tmp_path.with_name("gone"))
    assert await ready() == (200, "ok\n"), "one look at the disk counts for a while"
    now = 10.0
    assert await ready() == (503, "the disk cannot be written: No such file or directory\n")
    tmp_path.with_name("gone").rename(tmp_path)
    now = 20.0
    assert await ready() == (200, "ok\n")
    await drain.wait(0)
    assert await ready() == (503, "draining\n")
    health = await status.handle(make_mocked_request("GET", "/healthz"))
    assert health.status == 200
    assert (await status.handle(make_mocked_request("POST", "/metrics"))).status == 405
    assert (await status.handle(make_mocked_request("GET", "/v2/"))).status == 404


async def test_a_full_disk_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    status = Status(tmp_path, Tally(1), Drain())
    assert await status.trouble() == "the disk is full"
    assert list(tmp_path.iterdir()) == []
    assert await Status(tmp_path, Tally(1), Drain(), read_only=True).trouble() == ""


def test_rows_are_added_up() -> None:
    tally = Tally(2)
    for worker, status in ((0, 200), (1, 200), (1, 299), (1, 404)):
        tally.begin(worker, 100 + worker)
        tally.request("manifest", "GET", status, 0.003)
        tally.count(Count.SENT, 10)
        tally.move(Level.CONNECTIONS, 1)
    tally.request("blob", "BREW", 200, 1e6)
    counted = dict(tally.requests())
    assert counted[("manifest", "GET", 200)] == 2
    assert counted[("manifest", "GET", 0)] == 1
    assert counted[("blob", "other", 200)] == 1
    assert (tally.total(Count.SENT), tally.pids()) == (40, [100, 101])
    durations = {kind: (buckets, seconds) for kind, buckets, seconds in tally.durations()}
    assert durations["blob"][0][len(BOUNDS)] == 1
    assert durations["manifest"][0][2] == 4
    assert durations["manifest"][1] == pytest.approx(0.012)
    assert tally.total(Level.CONNECTIONS) == 2, "a worker that begins has none"
    tally.forget(1)
    assert tally.total(Level.CONNECTIONS) == 1
    tally.close()


async def test_one_process_of_several_runs_the_tasks(tmp_path: Path) -> None:
    ran: list[str] = []

    def task(name: str) -> Task:
        async def run() -> str:
            ran.append(name)
            if len(ran) == 2:
                raise RegistryStartError("this happens")
            return "done"

        return Task(name, 0.0, run)

    def begin(name: str) -> asyncio.Task[None]:
        return asyncio.create_task(
            run_tasks(FileOffices(tmp_path), [task(name)], look_seconds=0.01)
        )

    async def until(count: int) -> None:
        deadline = time.monotonic() + 60
        while len(ran) < count:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    first = begin("first")
    await until(3)
    second = begin("second")
    await until(6)
    assert set(ran) == {"first"}, "a failure ends nothing, and the lock is held"
    first.cancel()
    await asyncio.wait([first])
    ran.clear()
    await until(3)
    assert set(ran) == {"second"}
    second.cancel()
    await asyncio.wait([second])
