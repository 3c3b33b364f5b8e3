"""Issuers at which browsers log in: one that can be made to lie, and dex as it is.

dex is a certified provider; ``scripts/setup oidc`` builds it with Go.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import aiohttp
import bcrypt
import pytest
from yarl import URL

from registry.access.oidc.settings import BrowserLoginSettings, IssuerSettings
from tests.registry.kit import Answer
from tests.registry.oidc_kit import OutsideIssuer
from tests.registry.web.webkit import Browser

CLIENT = "lading-registry"
SECRET = "s3cret: with/odd+letters"


class LoginIssuer(OutsideIssuer):
    """Gives an id_token for any code; ``lies`` changes claims, ``made`` the whole answer.

    ``shown`` is what its token endpoint was shown last; it answers once it may ``go_on``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.nonce = ""
        self.lies: dict[str, Any] = {}
        self.made: Callable[[], bytes] | None = None
        self.shown: dict[str, str] = {}
        self.headers: Mapping[str, str] = {}
        self.tokens = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def start(self) -> None:
        """Offer endpoints; called once it listens."""
        self.discovery = {
            "authorization_endpoint": f"{self.url}/authorize?tenant=1",
            "token_endpoint": f"{self.url}/token",
        }

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        self.tokens += 1
        self.go_on.wait(60)
        self.shown, self.headers = dict(fields), headers
        if self.made is not None:
            return self.made()
        token = self.token(**{**self.whose(), **self.lies})
        return json.dumps({"id_token": token, "token_type": "Bearer"}).encode()

    def whose(self) -> dict[str, Any]:
        return {"aud": CLIENT, "sub": "ada", "nonce": self.nonce, "email": "ada@example.org"}

    def login_settings(self, **changes: Any) -> IssuerSettings:
        login = BrowserLoginSettings(client_id=CLIENT, title="The Corporation")
        return self.settings(**{"name": "corp", "subjects": ("*",), "login": login, **changes})


@dataclass
class Sent:
    """Where a browser was sent to log in."""

    address: str
    query: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.query = {key: one for key, (one,) in parse_qs(urlsplit(self.address).query).items()}

    @property
    def callback(self) -> str:
        return urlsplit(self.query["redirect_uri"]).path


async def begin(browser: Browser, issuer: LoginIssuer | None = None, onward: str = "") -> Sent:
    """Follow the link on the login page."""
    page = await browser.get("/web/login" + (f"?next={onward}" if onward else ""))
    (link,) = [it for it in page.all("a") if it.attrs["href"].startswith("/auth/oidc/")]
    answer = await browser.send("GET", link.attrs["href"])
    assert answer.status == 303, answer
    sent = Sent(answer.headers["Location"])
    if issuer is not None:
        issuer.nonce = sent.query["nonce"]
    return sent


async def come_back(browser: Browser, sent: Sent, **changes: str) -> Answer:
    """Return from the issuer."""
    query = {"code": "c0de", "state": sent.query["state"], **changes}
    query = {key: value for key, value in query.items() if value}
    return await browser.send("GET", f"{sent.callback}?{urlencode(query)}")


@dataclass
class Dex:
    """Where dex is; its people are ``ada`` and ``bob`` at example.org, passwords as the names."""

    port: int

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/dex"

    def settings(self, secret: Path | None, **changes: Any) -> IssuerSettings:
        """How it is configured here, with its groups."""
        login = BrowserLoginSettings(
            client_id=CLIENT,
            client_secret_file=secret,
            scopes=("openid", "profile", "email", "groups"),
            title="dex",
        )
        fields = {"name": "corp", "issuer": self.issuer, "audience": "lading", "subjects": ("*",)}
        fields |= {"user": "{email}", "groups_claim": "groups", "login": login}
        return IssuerSettings(**{**fields, **changes})


def need_dex() -> str:
    """The program of dex, or a skip that CI counts."""
    program = shutil.which("dex", path=f"{os.environ['PATH']}:{_tools()}")
    if program is None:
        pytest.skip("needs dex: scripts/setup oidc")
    return program


@contextmanager
def dex(folder: Path, *callbacks: str, port: int, public: bool = False) -> Iterator[None]:
    """dex on ``port`` with one client, which may come back to ``callbacks``."""
    program = need_dex()
    issuer = Dex(port).issuer
    people = [
        {
            "email": f"{name}@example.org",
            "username": name,
            "userID": f"id-of-{name}",
            "hash": bcrypt.hashpw(name.encode(), bcrypt.gensalt(10)).decode(),
            "groups": groups,
            "emailVerified": True,
        }
        for name, groups in (("ada", ["dev", "ops"]), ("bob", []))
    ]
    client = {"id": CLIENT, "name": "lading", "redirectURIs": list(callbacks)}
    client |= {"public": True} if public else {"secret": SECRET}
    config = {
        "issuer": issuer,
        "storage": {"type": "memory"},
        "web": {"http": f"127.0.0.1:{port}"},
        "oauth2": {"skipApprovalScreen": True},
        "enablePasswordDB": True,
        "staticPasswords": people,
        "staticClients": [client],
    }
    file = folder / "dex.json"
    file.write_text(json.dumps(config))
    with (folder / "dex.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(file)], stdout=log, stderr=log)
    try:
        _wait(f"{issuer}/.well-known/openid-configuration", process, folder / "dex.log")
        yield
    finally:
        process.kill()
        process.wait()


async def through_dex(address: str, name: str, callback: str) -> str:
    """Log in at dex as a person does; returns where it sends the browser back to."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        fields = None
        for _ in range(10):
            method = "GET" if fields is None else "POST"
            async with session.request(
                method, URL(address, encoded=True), data=fields, allow_redirects=False
            ) as answer:
                page, location = await answer.text(), answer.headers.get("Location")
            fields = None
            if location is not None:
                address = urljoin(address, location)
                if address.startswith(callback):
                    return address
            else:
                action = re.search(r'<form[^>]*action="([^"]*)"', page)
                assert action, page
                address = urljoin(address, html.unescape(action[1]))
                fields = {"login": f"{name}@example.org", "password": name}
    raise AssertionError(address)


def _tools() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "lading-tests" / "bin"


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())
