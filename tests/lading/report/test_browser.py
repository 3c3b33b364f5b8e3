"""The report in Chromium: wide and narrow, light and dark, with the keyboard alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.store import ImageStore
from lading.render.report.page import report_html
from tests.conftest import require_program
from tests.lading.report.browser import browser
from tests.lading.report.test_page import HOSTILE, LogLine, Story, stored_image, story

pytestmark = pytest.mark.peer

WIDE, NARROW = (1280, 900), (360, 740)
OVERFLOW = "document.scrollingElement.scrollWidth - window.innerWidth"
CONTRAST = """
(() => {
  const light = (text) => {
    const parts = text.match(/[0-9.]+/g).slice(0, 3).map(Number).map((value) => {
      value /= 255;
      return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const of = (element) => {
    const front = light(getComputedStyle(element).color);
    return (Math.max(front, ground) + 0.05) / (Math.min(front, ground) + 0.05);
  };
  return Math.min(...[...document.querySelectorAll("p, a, dt, dd, th, td, .time, .chip")].map(of));
})()
"""
"""The lowest contrast of text with the page, as WCAG 2.2 1.4.3 defines it."""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A report with everything in it, half of it hostile."""
    store = ImageStore.open(tmp_path / "store")
    told: Story = story(tmp_path, f"RUN make {HOSTILE} {'x' * 300}", build_args={"A": HOSTILE})
    told.tracker.warn(HOSTILE, "Dockerfile:1")
    told.step("[other 1/2] RUN " + "y" * 200, 1.5)
    told.end()
    stored_image(told, store, "a" * 200, HOSTILE)
    log = [LogLine(2, told.clock.now, 1, f"{HOSTILE}\n{'z' * 500}\n")]
    path = tmp_path / "report.html"
    path.write_text(report_html(told.recorder.document, log, store))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_it_fits_and_can_be_read(
    page: Path, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    async with browser(require_program("chromium"), tmp_path) as tab:
        await tab.open(page, width=size[0], height=size[1], scheme=scheme)
        for _ in range(2):
            assert await tab.evaluate(OVERFLOW) <= 0, "the page is wider than the window"
            assert await tab.evaluate(CONTRAST) >= 4.5
            opened = "document.querySelectorAll('details').forEach((it) => (it.open = true))"
            await tab.evaluate(opened)
        ground = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light"), "the style was applied"
        assert await tab.evaluate("document.scripts.length") == 0
        assert len(await tab.picture(tmp_path / "report.png")) > 10_000
        assert tab.complaints == []


async def test_a_step_opens_from_the_keyboard(page: Path, tmp_path: Path) -> None:
    async with browser(require_program("chromium"), tmp_path) as tab:
        await tab.open(page, width=WIDE[0], height=WIDE[1], scheme="light")
        inside = "document.activeElement.closest('details')?.id ?? ''"
        for _ in range(40):
            await tab.press("Tab", 9)
            if await tab.evaluate(inside) == "step-2":
                break
        await tab.press("Enter", 13)
        assert await tab.evaluate("document.getElementById('step-2').open") is True
        assert "zzzz" in await tab.evaluate("document.querySelector('#step-2 pre').innerText")
