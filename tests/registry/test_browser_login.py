"""Logging in at an issuer with a browser, and issuers and visitors that mean no good."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.access.denials import deny
from registry.access.jwt import encode_bytes
from registry.access.oidc.settings import BrowserLoginSettings, OutsideAlgorithm
from registry.access.settings import AccessSettings, AuditSettings
from registry.errors import RegistryConfigError
from tests.registry.access_kit import rule, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Answer, Client
from tests.registry.login_kit import CLIENT, SECRET, LoginIssuer, begin, come_back
from tests.registry.oidc_kit import listening
from tests.registry.web.webkit import Browser, parse


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[LoginIssuer]:
    with listening(LoginIssuer(tmp_path)) as started:
        started.start()
        yield started


@pytest.fixture(autouse=True)
def changes_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.access.control._LOOK_SECONDS", 0.0)


def access(issuer: LoginIssuer, **changes: Any) -> AccessSettings:
    rules = (
        rule("team/**", "pull,push", groups=("corp/builders",)),
        rule("own/**", "pull", outside=("corp/ada",)),
    )
    more = {name: changes.pop(name) for name in ("audit", "public_url") if name in changes}
    return AccessSettings(rules=rules, issuer=(issuer.login_settings(**changes),), **more)


@pytest.fixture
async def client(start: StartRegistry, issuer: LoginIssuer) -> Client:
    return await start(access=access(issuer))


def problem(answer: Answer) -> str:
    assert answer.status == 403, answer
    assert not any("session" in it for it in answer.headers.getall("Set-Cookie", []))  # type: ignore[attr-defined]
    return parse(answer).one("p", role="alert").text


async def logged_in(browser: Browser) -> bool:
    answer = await browser.send("GET", "/")
    return answer.status == 200 and bool(parse(answer).all("a", **{"class": "user"}))


async def test_a_login_goes_there_and_back(client: Client, issuer: LoginIssuer) -> None:
    browser = Browser(client)
    login = await browser.get("/web/login?next=/web/usage")
    assert "Log in with The Corporation" in login.text
    sent = await begin(browser, issuer, onward="/web/usage")
    assert sent.address.startswith(f"{issuer.url}/authorize?tenant=1&")
    assert sent.query["redirect_uri"] == f"{client.base}/auth/oidc/corp/callback"
    assert sent.query["scope"] == "openid profile email"
    answer = await come_back(browser, sent)
    page = parse(answer)
    assert "corp/ada" in page.text
    assert page.one("meta", **{"http-equiv": "refresh"}).attrs["content"] == "0; url=/web/usage"
    assert await logged_in(browser)
    shown = issuer.shown
    hashed = hashlib.sha256(shown["code_verifier"].encode()).digest()
    assert encode_bytes(hashed) == sent.query["code_challenge"]
    assert shown["redirect_uri"] == sent.query["redirect_uri"]
    assert shown["client_id"] == CLIENT
    assert "Authorization" not in issuer.headers
    page = await browser.get("/")
    await browser.submit(page.one("form", action="/web/logout"))
    assert not await logged_in(browser)


async def test_cookies_are_for_the_way_back_alone(client: Client, issuer: LoginIssuer) -> None:
    browser = Browser(client)
    page = await browser.get("/web/login")
    link = next(it for it in page.all("a") if "oidc" in it.attrs["href"])
    answer = await browser.send("GET", link.attrs["href"])
    (cookie,) = [it for it in answer.headers.getall("Set-Cookie") if "lading-login" in it]  # type: ignore[attr-defined]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Max-Age=600" in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    for name in ("lading-session", "lading-form"):
        assert not await logged_in(Browser(client, {name: value}))


async def test_secrets_go_as_the_issuer_wants_them(
    start: StartRegistry, issuer: LoginIssuer, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    login = BrowserLoginSettings(client_id=CLIENT, client_secret_file=file)
    client = await start(access=access(issuer, login=login))
    browser = Browser(client)
    assert (await come_back(browser, await begin(browser, issuer))).status == 200
    pair = base64.b64decode(issuer.headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "lading-registry:s3cret%3A+with%2Fodd%2Bletters"
    assert "client_secret" not in issuer.shown
    issuer.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    other = await start(access=access(issuer, login=login), root=tmp_path / "other")
    browser = Browser(other)
    assert (await come_back(browser, await begin(browser, issuer))).status == 200
    assert issuer.shown["client_secret"] == SECRET
    file.unlink()
    browser = Browser(other)
    assert "secret" in problem(await come_back(browser, await begin(browser, issuer)))


@pytest.mark.parametrize(
    ("lies", "told"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"aud": "lading"}, "aud"),
        ({"aud": [CLIENT, "other"]}, "azp"),
        ({"azp": "other"}, "azp"),
        ({"exp": int(time.time()) - 3600}, "expired"),
        # Much later than the last test, as this is read before the first one.
        ({"iat": int(time.time()) + 86_400}, "not valid yet"),
        ({"iat": None}, "iat"),
        ({"sub": None}, "sub"),
        ({"sub": "a\nb"}, "sub"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
async def test_lies_of_tokens_let_nobody_in(
    client: Client, issuer: LoginIssuer, lies: dict[str, Any], told: str
) -> None:
    browser = Browser(client)
    sent = await begin(browser, issuer)
    issuer.lies = lies
    assert told in problem(await come_back(browser, sent))
    assert not await logged_in(browser)


async def test_clocks_may_differ_by_a_minute(client: Client, issuer: LoginIssuer) -> None:
    for lies in ({"iat": 50}, {"exp": -50, "iat": -100}):
        browser = Browser(client)
        sent = await begin(browser, issuer)
        now = int(time.time())
        issuer.lies = {name: now + by for name, by in lies.items()}
        assert (await come_back(browser, sent)).status == 200


async def test_signatures_that_are_none(client: Client, issuer: LoginIssuer) -> None:
    kid = issuer.keys[0].kid
    forged = {
        "alg none": lambda: issuer.forged(
            {"alg": "none", "kid": kid}, lambda message: b"\0", **issuer.whose()
        ),
        "another key": lambda: issuer.forged(
            {"alg": "ES256", "kid": kid}, lambda message: b"\1" * 64, **issuer.whose()
        ),
        "a key that it brings": lambda: issuer.forged(
            {"alg": "ES256", "kid": "mine", "jwk": issuer.keys[0].jwk()},
            issuer.keys[0].sign,
            **issuer.whose(),
        ),
        "no token": lambda: "x" * 100,
    }
    for what, make in forged.items():
        browser = Browser(client)
        sent = await begin(browser, issuer)
        issuer.made = lambda make=make: json.dumps({"id_token": make()}).encode()  # type: ignore[misc]
        assert "id_token is not good" in problem(await come_back(browser, sent)), what


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>", "without JSON"),
        (b"[" * 100_000, "without JSON"),
        (b"[]", "without an object"),
        (b"{}", "no id_token"),
        (b'{"id_token": 7}', "no id_token"),
        (b'{"id_token": "' + b"x" * (600 << 10) + b'"}', "too long"),
    ],
    ids=["html", "nested", "list", "empty", "number", "oversized"],
)
async def test_answers_that_are_none(
    client: Client, issuer: LoginIssuer, body: bytes, told: str
) -> None:
    browser = Browser(client)
    sent = await begin(browser, issuer)
    issuer.made = lambda: body
    assert told in problem(await come_back(browser, sent))


async def test_a_slow_issuer_is_said_to_be(start: StartRegistry, issuer: LoginIssuer) -> None:
    client = await start(access=access(issuer, timeout=2.0))
    browser = Browser(client)
    sent = await begin(browser, issuer)
    issuer.go_on.clear()
    try:
        assert "does not answer" in problem(await come_back(browser, sent))
    finally:
        issuer.go_on.set()


async def test_a_code_that_was_used_before(client: Client, issuer: LoginIssuer) -> None:
    """The issuer refuses it; here the ticket is gone with the first answer, whoever replays it."""
    browser = Browser(client)
    sent = await begin(browser, issuer)
    assert (await come_back(browser, sent)).status == 200
    assert "over already" in problem(await come_back(Browser(client), sent))
    again = await come_back(browser, sent)
    assert (again.status, again.headers["Location"]) == (303, "/"), "the button back does no harm"
    browser = Browser(client)
    sent = await begin(browser, issuer)
    issuer.status = 400
    issuer.made = lambda: b'{"error": "invalid_grant", "error_description": "code <b>used</b>"}'
    assert "invalid_grant: code <b>used</b>" in problem(await come_back(browser, sent))


async def test_a_login_counts_in_the_browser_that_asked(
    client: Client, issuer: LoginIssuer
) -> None:
    """Login CSRF: an answer that somebody else got logs nobody in as them."""
    mallory, ada = Browser(client), Browser(client)
    theirs = await begin(mallory, issuer)
    assert "another browser" in problem(await come_back(Browser(client), theirs))
    await begin(ada, issuer)
    assert "another login" in problem(await come_back(ada, theirs))
    assert issuer.tokens == 0, "no code of another login is shown to the issuer"
    mine = await begin(ada, issuer)
    assert "another login" in problem(await come_back(ada, mine, state=""))


async def test_a_ticket_is_signed_and_short_lived(
    client: Client, issuer: LoginIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(client)
    sent = await begin(browser, issuer)
    head, body, signature = browser.cookies["lading-login"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["ticket"]["onward"] = "https://evil.example"
    forged = encode_bytes(json.dumps(claims).encode())
    changed = Browser(client, {**browser.cookies, "lading-login": f"{head}.{forged}.{signature}"})
    assert "another browser" in problem(await come_back(changed, sent))
    monkeypatch.setattr("registry.web.pages.login_elsewhere.TICKET_SECONDS", -61.0)
    late = Browser(client)
    sent = await begin(late, issuer)
    assert "took too long" in problem(await come_back(late, sent))


async def test_answers_of_another_issuer(start: StartRegistry, issuer: LoginIssuer) -> None:
    """Mix-up (RFC 9207): an answer counts for the issuer that was asked."""
    first = issuer.login_settings()
    second = issuer.login_settings(name="other", audience="elsewhere")
    client = await start(access=AccessSettings(issuer=(first, second)))
    browser = Browser(client)
    answer = await browser.send("GET", "/auth/oidc/corp/login")
    state = answer.headers["Location"].partition("state=")[2].partition("&")[0]
    crossed = await browser.send("GET", f"/auth/oidc/other/callback?code=c&state={state}")
    assert "another browser" in problem(crossed)
    client = await start(access=access(issuer), root=Path(str(issuer.folder)) / "second")
    browser = Browser(client)
    sent = await begin(browser, issuer)
    told = problem(await come_back(browser, sent, iss="https://evil.example"))
    assert "another issuer" in told
    sent = await begin(browser, issuer)
    assert (await come_back(browser, sent, iss=issuer.url)).status == 200


async def test_an_issuer_that_always_names_itself_has_to(
    start: StartRegistry, issuer: LoginIssuer
) -> None:
    issuer.discovery["authorization_response_iss_parameter_supported"] = True
    browser = Browser(await start(access=access(issuer)))
    sent = await begin(browser, issuer)
    assert "another issuer" in problem(await come_back(browser, sent))
    sent = await begin(browser, issuer)
    assert (await come_back(browser, sent, iss=issuer.url)).status == 200


async def test_errors_are_sentences(client: Client, issuer: LoginIssuer) -> None:
    browser = Browser(client)
    sent = await begin(browser, issuer)
    words = "no\u202e <script>alert(1)</script>" + "x" * 1000
    answer = await come_back(browser, sent, code="", error="access_denied", error_description=words)
    told = problem(answer)
    assert "access_denied: no" in told
    assert "\u202e" not in told
    assert len(told) < 500
    assert not parse(answer).all("script")
    sent = await begin(browser, issuer)
    query = f"state={sent.query['state']}&code=a&code=b"
    answer = await browser.send("GET", f"{sent.callback}?{query}")
    assert "twice" in problem(answer)
    sent = await begin(browser, issuer)
    assert "no code" in problem(await come_back(browser, sent, code="x" * 5000))


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_nobody_is_sent_elsewhere(client: Client, issuer: LoginIssuer, onward: str) -> None:
    browser = Browser(client)
    answer = await browser.send("GET", f"/auth/oidc/corp/login?next={onward}")
    sent_to = answer.headers["Location"]
    state = sent_to.partition("state=")[2].partition("&")[0]
    issuer.nonce = sent_to.partition("nonce=")[2].partition("&")[0]
    answer = await browser.send("GET", f"/auth/oidc/corp/callback?code=c&state={state}")
    assert answer.status == 200
    refresh = parse(answer).one("meta", **{"http-equiv": "refresh"})
    assert refresh.attrs["content"] == "0; url=/"


async def test_whoever_is_logged_in_goes_on(client: Client, issuer: LoginIssuer) -> None:
    browser = Browser(client)
    await come_back(browser, await begin(browser, issuer))
    answer = await browser.send("GET", "/auth/oidc/corp/login?next=/web/usage")
    assert (answer.status, answer.headers["Location"]) == (303, "/web/usage")


@pytest.mark.parametrize(
    "path",
    ["/auth/oidc/nobody/login", "/auth/oidc/corp/", "/auth/oidc/corp/logout", "/auth/oidc//login"],
)
async def test_what_is_not_there_is_no_page(client: Client, path: str) -> None:
    assert (await Browser(client).send("GET", path)).status == 404


async def test_a_registry_without_issuers_has_no_such_pages(
    start: StartRegistry, tmp_path: Path
) -> None:
    users = users_file(tmp_path / "users", "ada")
    client = await start(access=AccessSettings(htpasswd=users))
    assert (await client.send("GET", "/auth/oidc/corp/login")).status == 404
    assert "Log in with" not in (await Browser(client).get("/web/login")).text


async def test_discovery_that_cannot_be(client: Client, issuer: LoginIssuer) -> None:
    for name, url in (
        ("token_endpoint", "http://evil.example/token"),
        ("authorization_endpoint", "javascript:alert(1)"),
    ):
        before = dict(issuer.discovery)
        issuer.discovery[name] = url
        answer = await Browser(client).send("GET", "/auth/oidc/corp/login")
        assert f"no safe {name}" in problem(answer)
        issuer.discovery = before


async def test_the_public_address_is_the_one_to_come_back_to(
    start: StartRegistry, issuer: LoginIssuer
) -> None:
    client = await start(access=access(issuer, public_url="https://registry.example.org"))
    answer = await client.send("GET", "/auth/oidc/corp/login", headers={"Host": "evil.example"})
    location = answer.headers["Location"]
    assert "redirect_uri=https%3A%2F%2Fregistry.example.org%2Fauth%2Foidc%2Fcorp" in location
    cookie = answer.headers["Set-Cookie"]
    assert "Secure" in cookie
    assert "__Host-lading-login" in cookie


async def test_a_denied_person_is_out_at_once(
    start: StartRegistry, issuer: LoginIssuer, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    client = await start(access=access(issuer, audit=AuditSettings(path=log)))
    browser = Browser(client)
    await come_back(browser, await begin(browser, issuer))
    assert await logged_in(browser)
    denied = tmp_path / "registry" / "access" / "denied"
    await asyncio.to_thread(deny, denied, "outside:corp/ada")
    assert not await logged_in(browser)
    assert "deny list" in problem(await come_back(browser, await begin(browser, issuer)))


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    for fields in (
        {"client_secret_file": tmp_path / "x"},
        {"client_id": 'a"b'},
        {"client_id": "a", "scopes": ("two words",)},
        {"client_id": "a", "title": "x" * 100},
    ):
        with pytest.raises(RegistryConfigError):
            BrowserLoginSettings(**fields)
    assert OutsideAlgorithm("ES256")
