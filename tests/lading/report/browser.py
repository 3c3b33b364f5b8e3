"""A real browser behind the DevTools protocol: what a page looks like, and what it complains of.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE = 60.0


class Tab:
    """One page; ``complaints`` are what the console and the log got."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket = socket
        self._session = session
        self._ids = itertools.count(1000)
        self.complaints: list[str] = []
        self._events: list[str] = []
        self._origin = "file:"

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Do something and wait for the answer."""
        number = next(self._ids)
        await self._socket.send_json(
            {"id": number, "method": method, "params": params, "sessionId": self._session}
        )
        while True:
            message = json.loads((await self._socket.receive(PATIENCE)).data)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._heard(message)

    async def open(self, page: Path | str, *, width: int, height: int, scheme: str) -> None:
        """Load a file or an address in a window of this size, with this colour scheme."""
        url = page if isinstance(page, str) else page.as_uri()
        self._origin = "/".join(url.split("/")[:3]) if isinstance(page, str) else "file:"
        for domain in ("Page", "Log", "Runtime", "Network"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=media)
        self._events.clear()
        await self.call("Page.navigate", url=url)
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until a page has loaded since the last call of this, or of ``open``."""
        while "Page.loadEventFired" not in self._events:
            self._heard(json.loads((await self._socket.receive(PATIENCE)).data))
        self._events.clear()

    async def type(self, text: str) -> None:
        """Text goes into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; the page's policy does not bind the debugger."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def press(self, key: str, code: int) -> None:
        """A key goes down and up."""
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                text="\r" if key == "Enter" and kind == "keyDown" else "",
            )

    async def picture(self, path: Path) -> bytes:
        """The whole page as PNG, also at ``path``."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        data = base64.b64decode(answer["data"])
        path.write_bytes(data)
        return data

    def _heard(self, message: dict[str, Any]) -> None:
        method = message.get("method", "")
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(self._origin) or url.endswith("favicon.ico"):
                self.complaints.append(f"it loads {url}")
        if method in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(message["params"]))


@asynccontextmanager
async def browser(program: str, folder: Path) -> AsyncIterator[Tab]:
    """A headless browser with one empty tab; its profile is below ``folder``."""
    process = subprocess.Popen(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder / 'profile'}",
            "about:blank",
        ],
        stderr=subprocess.PIPE,
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        assert process.stderr is not None
        url = next(
            found[1].decode()
            for line in process.stderr
            if (found := re.search(rb"DevTools listening on (ws://\S+)", line))
        )
        async with aiohttp.ClientSession() as client, client.ws_connect(url, max_msg_size=0) as ws:
            await ws.send_json(
                {"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}
            )
            target = await _answer(ws, 1)
            params = {"targetId": target["targetId"], "flatten": True}
            await ws.send_json({"id": 2, "method": "Target.attachToTarget", "params": params})
            yield Tab(ws, (await _answer(ws, 2))["sessionId"])
    finally:
        process.kill()
        process.communicate()


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    while True:
        message = json.loads((await socket.receive(PATIENCE)).data)
        if message.get("id") == number:
            return message["result"]
