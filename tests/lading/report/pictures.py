"""Pictures of a report, to look at: ``python -m tests.lading.report.pictures FILE FOLDER``.

Wide and narrow, light and dark, the whole page each.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.lading.report.browser import browser

SIZES = {"wide": (1280, 900), "narrow": (400, 900)}


async def take(page: Path, folder: Path) -> None:
    """Write four PNG files."""
    for name, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            with tempfile.TemporaryDirectory() as profile:
                async with browser("chromium", Path(profile)) as tab:
                    await tab.open(page, width=width, height=height, scheme=scheme)
                    await tab.picture(folder / f"{page.stem}-{name}-{scheme}.png")


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1]).absolute(), Path(sys.argv[2])))
