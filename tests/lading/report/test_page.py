"""The report as HTML: everything escaped, nothing loaded, readable in any browser."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from builder.progress.events import ContextRead, DefinitionRead, LayerStored
from engine.builds.history.archive import LogLine
from images.config import HistoryEntry, ImageConfig
from images.layers.entry import Entry
from images.layers.pack import pack_layer
from images.manifest import Manifest
from images.platform import Platform
from images.store import ImageStore
from lading.render.report.page import LOG_LINES, report_html
from tests.engine.builds.history.kit import Story

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = (
    "</pre></style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'`{{7*7}}\x1b[2J"
)


class Page(HTMLParser):
    """Elements and text; refuses tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        # Cells stand apart on the screen.
        self.text += f"{data} "

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "store")


def story(tmp_path: Path, name: str = "RUN make", **options: Any) -> Story:
    told = Story(tmp_path / "store", **options)
    tracker = told.tracker
    tracker.send(DefinitionRead("Dockerfile", f"FROM base\n{name}\n".encode()))
    tracker.send(ContextRead(7, 7_000))
    base = tracker.cached("[1/2] FROM base", "base image", where="Dockerfile:1")
    step = told.step(
        f"[2/2] {name}", 2.5, reason="file a changed", where="Dockerfile:2", inputs=(base,)
    )
    tracker.send(LayerStored(step, "sha256:2", 99, told.clock.now))
    told.step("exporting to image", 0.2)
    return told


def page(told: Story, store: ImageStore, text: str = "made\n") -> tuple[str, Page]:
    log = [LogLine(2, told.clock.now, 1, text)]
    html = report_html(told.recorder.document, log, store)
    return html, Page(html)


def test_what_it_says(tmp_path: Path, store: ImageStore) -> None:
    told = story(tmp_path, build_args={"MODE": "fast"}, target="prod")
    told.tracker.warn("casing is odd", "Dockerfile:1")
    told.end()
    _, found = page(told, store)
    text = " ".join(found.text.split())
    for part in (
        "shop (prod) completed",
        "Time 2.7s",
        "Cached 1 of 2",
        "Slowest chain",
        "Context 7kB 7 files",
        "[2/2] RUN make",
        "file a changed",
        "casing is odd",
        "MODE=fast",
        "made",
    ):
        assert part in text, part
    bars = [it for it in found.named("rect") if it.get("class") == "executed"]
    widths = [float((it["width"] or "").rstrip("%")) for it in bars]
    assert max(widths) > 90


@pytest.mark.parametrize("place", ["step", "log", "argument", "warning", "file", "error", "name"])
def test_hostile_text_is_only_text(tmp_path: Path, store: ImageStore, place: str) -> None:
    told = story(
        tmp_path,
        HOSTILE if place == "step" else "RUN make",
        build_args={HOSTILE: HOSTILE} if place == "argument" else {},
        context=f"/src/{HOSTILE}" if place == "name" else "/src/shop",
    )
    if place == "warning":
        told.tracker.warn(HOSTILE, HOSTILE)
    if place == "error":
        told.recorder.failed(ValueError(HOSTILE))
    else:
        told.end()
    if place == "file":
        stored_image(told, store, HOSTILE.replace("/", "-"), HOSTILE)
    html, found = page(told, store, HOSTILE + "\n" if place == "log" else "made\n")
    assert "alert(1)" in found.text, "it is shown"
    assert not found.named("script")
    assert not found.named("img")
    assert not [name for _, attrs in found.elements for name in attrs if name.startswith("on")]
    assert "49" not in re.findall(r"`(\d+)", found.text), "it was evaluated"
    assert "\x1b" not in html


def test_nothing_is_loaded_and_nothing_runs(tmp_path: Path, store: ImageStore) -> None:
    told = story(tmp_path)
    told.end()
    html, found = page(told, store)
    policy = next(it["content"] or "" for it in found.named("meta") if it.get("http-equiv"))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    for _, attrs in found.elements:
        assert "style" not in attrs, "the policy forbids it"
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")


def test_it_can_be_read_and_walked_through(tmp_path: Path, store: ImageStore) -> None:
    told = story(tmp_path)
    told.end()
    _, found = page(told, store)
    assert found.elements[0] == ("html", {"lang": "en"})
    assert len(found.named("h1")) == 1
    ids = {attrs["id"] for _, attrs in found.elements if "id" in attrs}
    targets = {(it.get("href") or "")[1:] for it in found.named("a")}
    assert targets <= ids, "a link leads nowhere"
    for section in found.named("section"):
        assert section["aria-labelledby"] in ids
    for picture in found.named("svg"):
        assert picture.get("aria-hidden") == "true" or picture.get("aria-label")
    assert all(it.get("scope") for it in found.named("th"))
    assert all(it.get("tabindex") == "0" for it in found.named("pre")), "it scrolls"


def stored_image(told: Story, store: ImageStore, name: str, created_by: str) -> None:
    """An image of two layers in the store, as the build's result."""
    layers = [
        pack_layer([Entry(path, "f", size=size, source=b"x" * size)], store.blobs)
        for path, size in (("base.bin", 1000), (name, 5_000))
    ]
    config = ImageConfig.build(
        Platform.host(),
        [layer.diff_id for layer in layers],
        history=[HistoryEntry(created_by="base"), HistoryEntry(created_by=created_by)],
    )
    manifest = Manifest.build(config.descriptor(), [layer.descriptor for layer in layers])
    store.blobs.put(config.raw)
    store.blobs.put(manifest.raw)
    told.recorder.document["result"]["images"][0]["digest"] = str(manifest.descriptor.digest)
    step = told.recorder.document["steps"]["2"]
    step["layer"] = str(layers[1].descriptor.digest)


def test_layers_and_files_name_the_step_that_brought_them(
    tmp_path: Path, store: ImageStore
) -> None:
    told = story(tmp_path)
    told.end()
    stored_image(told, store, "big.bin", "RUN make # buildkit")
    _, found = page(told, store)
    text = " ".join(found.text.split())
    assert "big.bin 5kB [2/2] RUN make" in text
    assert "base.bin 1kB base" in text
    shares = [it["aria-label"] for it in found.named("svg") if "%" in (it.get("aria-label") or "")]
    assert shares == ["83.3 %", "16.7 %"]


def test_an_image_that_is_gone(tmp_path: Path, store: ImageStore) -> None:
    told = story(tmp_path)
    told.end()
    _, found = page(told, store)
    assert "The image is not in this store" in found.text


def test_a_failed_build_says_why_first(tmp_path: Path, store: ImageStore) -> None:
    told = Story(tmp_path / "store")
    vertex = told.tracker.start("[1/1] RUN make")
    told.clock.now += 1
    vertex.failed("exit code: 2")
    told.recorder.failed(ValueError("make did not complete"))
    _, found = page(told, store)
    assert found.text.index("make did not complete") < found.text.index("Slowest chain")
    steps = [it for it in found.named("details") if (it.get("id") or "").startswith("step-")]
    assert "open" in steps[0]


def test_of_a_long_log_the_end_is_shown(tmp_path: Path, store: ImageStore) -> None:
    told = story(tmp_path)
    told.end()
    _, found = page(told, store, "".join(f"line {n}.\n" for n in range(LOG_LINES + 5)))
    assert "line 4." not in found.text
    assert f"line {LOG_LINES + 4}." in found.text
    assert "lading history builds logs" in found.text


@pytest.mark.parametrize("wall", [0.0, 0.004, 0.9, 61.0, 7200.0])
def test_any_length_has_an_axis(tmp_path: Path, store: ImageStore, wall: float) -> None:
    told = Story(tmp_path / "store")
    told.step("[1/1] RUN x", wall)
    told.end()
    _, found = page(told, store)
    places = [float((it["x"] or "").rstrip("%")) for it in found.named("text")]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert len(places) <= 7
