"""The record of a whole build: when it is believed, and what makes it worthless."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.bases import StoreResolver
from builder.fastpath import BuildRecord, ContextScans, find_record, fingerprint
from builder.inputs import read_inputs
from builder.request import BuildRequest
from builder.runner import Resources
from builder.scan import FINE_TICK_NS, ContextScan, scan_context
from builder.secrets import Secret
from builder.storage import CacheTable
from images.platform import Platform
from images.reference import Reference
from tests.builder.workbench import Workbench

TEXT = "FROM base\nCOPY a.txt /a\nRUN x\n"
LINUX = Platform("linux", "amd64")


@pytest.fixture
def built(bench: Workbench) -> Workbench:
    bench.clock = time.time  # type: ignore[assignment]
    bench.add_base("base", {"file": "x"})
    (bench.directory / "a.txt").write_text("1")
    bench.files.context["a.txt"] = "1"
    bench.build(TEXT)
    return bench


def _find(bench: Workbench, text: str = TEXT, **options: Any) -> BuildRecord | None:
    request = BuildRequest(bench.directory, text.encode(), **options)
    inputs = read_inputs(request)
    return find_record(
        fingerprint(request, inputs, Platform.host()),
        values=CacheTable(bench.store),
        blobs=bench.store.blobs,
        resolver=StoreResolver(bench.store),
        scans=ContextScans(inputs, time.time_ns),
    )


def test_nothing_changed(built: Workbench) -> None:
    record = _find(built)
    assert record is not None
    again = built.build(TEXT)
    assert record.descriptor == again.descriptor
    assert record.image_id == again.image_id
    assert [name.partition("]")[2] for name in record.steps] == [
        " FROM docker.io/library/base:latest",
        " COPY a.txt /a",
        " RUN x",
    ]


def _change_file(bench: Workbench) -> None:
    time.sleep(0.02)
    (bench.directory / "a.txt").write_text("2")


def _ignore_more(bench: Workbench) -> None:
    (bench.directory / ".dockerignore").write_text("a.txt\n")


def _move_base(bench: Workbench) -> None:
    bench.add_base("base", {"file": "y"})


def _lose_base(bench: Workbench) -> None:
    bench.store.untag(Reference.parse("base"))


def _lose_layer(bench: Workbench) -> None:
    layer = bench.image(bench.build(TEXT)).manifest.layers[-1]
    bench.store.blobs.delete(layer.digest)


@pytest.mark.parametrize(
    "change", [_change_file, _ignore_more, _move_base, _lose_base, _lose_layer]
)
def test_a_change_makes_it_worthless(built: Workbench, change: Callable[[Workbench], None]) -> None:
    change(built)
    assert _find(built) is None


def test_another_request_has_no_record(built: Workbench) -> None:
    assert _find(built, TEXT + "CMD x\n") is None
    assert _find(built, build_args={"A": "1"}) is None


def test_a_build_without_context_is_not_scanned(built: Workbench) -> None:
    text = "FROM base\nRUN x\n"
    built.build(text)
    _change_file(built)
    record = _find(built, text)
    assert record is not None
    assert record.context is None


def test_a_base_that_cannot_be_pinned_is_not_recorded(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add_base("base", {"file": "x"})
    monkeypatch.setattr(StoreResolver, "pin", lambda self, reference, platform: None)
    bench.build("FROM base\nRUN x\n")
    assert not list(bench.store.cache.rows("build"))


def test_files_that_keep_changing_are_not_recorded(bench: Workbench) -> None:
    """The clock of this bench runs behind the files, so no scan of them is ever settled."""
    (bench.directory / "a.txt").write_text("1")
    bench.files.context["a.txt"] = "1"
    bench.build("FROM scratch\nCOPY a.txt /a\n")
    assert not list(bench.store.cache.rows("build"))


REQUEST = BuildRequest(Path("/ctx"), b"FROM scratch\n")


@pytest.mark.parametrize(
    "change",
    [
        {"build_args": {"A": "1"}},
        {"labels": {"A": "1"}},
        {"annotations": {"A": "1"}},
        {"target": "t"},
        {"network": "host"},
        {"extra_hosts": (("a", "1.1.1.1"),)},
        {"resources": Resources(shm_size=1)},
        {"compression": "zstd"},
        {"secrets": (Secret("a", b"x"),)},
        {"ssh": {"default": Path("/x")}},
    ],
)
def test_every_option_is_in_the_fingerprint(bench: Workbench, change: dict[str, Any]) -> None:
    plain = replace(REQUEST, context=bench.directory)
    inputs = read_inputs(plain)
    changed = replace(plain, **change)
    assert fingerprint(changed, inputs, LINUX) != fingerprint(plain, inputs, LINUX)


def test_tags_and_secret_values_are_not_in_the_fingerprint(bench: Workbench) -> None:
    plain = replace(REQUEST, context=bench.directory, secrets=(Secret("a", b"x"),))
    inputs = read_inputs(plain)
    tagged = replace(plain, tags=(Reference.parse("x"),), secrets=(Secret("a", b"y"),))
    assert fingerprint(tagged, inputs, LINUX) == fingerprint(plain, inputs, LINUX)
    assert fingerprint(plain, inputs, Platform("linux", "arm64")) != fingerprint(
        plain, inputs, LINUX
    )


def test_a_record_of_another_format_is_no_record(built: Workbench) -> None:
    record = _find(built)
    assert record is not None
    assert BuildRecord.decode(record.encode()) == record
    assert BuildRecord.decode(record.encode().replace(b'"format": 5', b'"format": 1')) is None


def _count_walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    walks: list[int] = []

    def counting(root: str, **named: Any) -> ContextScan:
        walks.append(named["now_ns"])
        return scan_context(root, **named)

    monkeypatch.setattr("builder.fastpath.scan_context", counting)
    return walks


def test_the_scan_that_was_compared_makes_the_next_record(
    built: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(FINE_TICK_NS / 1e9)
    walks = _count_walks(monkeypatch)
    inputs = read_inputs(BuildRequest(built.directory, TEXT.encode()))
    scans = ContextScans(inputs, time.time_ns).main
    assert scans.latest() is scans.settled()
    assert len(walks) == 1


def test_a_scan_too_near_to_a_change_is_repeated_before_it_is_recorded(
    built: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = _count_walks(monkeypatch)
    inputs = read_inputs(BuildRequest(built.directory, TEXT.encode()))
    (built.directory / "a.txt").write_text("2")
    # The first walk begins right after the change, however busy the machine is.
    changed = [(built.directory / "a.txt").stat().st_ctime_ns]
    scans = ContextScans(inputs, lambda: changed.pop() if changed else time.time_ns()).main
    first = scans.latest()
    second = scans.settled()
    assert first is not None
    assert not first.settled
    assert second is not None
    assert second.settled
    assert first.digest == second.digest
    assert len(walks) == 2
