"""Pages as a person meets them: what they say, where they lead, in how many steps."""

from __future__ import annotations

import json

import pytest

from images.mediatype import OCI_EMPTY
from registry.errors import RegistryConfigError
from registry.web import queries
from registry.web.settings import WebSettings
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, descriptor, digest_of, manifest, replaced
from tests.registry.web.webkit import (
    Browser,
    image_config,
    links,
    parse,
    policies,
    push_image,
    push_index,
)

BASE = b"base" * 1000
APP = b"app" * 500
STEPS = ("ADD rootfs.tar.xz /", '#CMD ["sh"]', "/bin/sh -c make install # buildkit")


@pytest.fixture
async def filled(client: Client) -> Client:
    """Two repositories: an image, a later one, and an index with an attachment."""
    config = image_config(*STEPS, config={"Labels": {"maintainer": "Ada"}})
    one = await push_image(client, "team/app", "1.0", config=config, layers=[BASE, APP])
    other = image_config(*STEPS, config={"Env": ["PATH=/bin", "DEBUG=1"]})
    await push_image(client, "team/app", "1.1", "2.0", config=other, layers=[BASE, APP * 2])
    await push_index(client, "team/app", "latest", {"amd64": one})
    await push_image(client, "team/base", "1", config=image_config("ADD a"), layers=[BASE])
    await client.push_blob("team/app", b"{}")
    sbom = replaced(
        manifest(),
        config=descriptor(b"{}", OCI_EMPTY),
        artifactType="application/spdx+json",
        subject=descriptor(one, json.loads(one)["mediaType"]),
        annotations={"tool": "syft"},
    )
    await client.push_manifest("team/app", sbom)
    return client


async def test_every_page_leads_only_to_pages(filled: Client) -> None:
    browser = Browser(filled)
    seen: set[str] = set()
    waiting = {"/"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        page = await browser.get(path)
        found = {link.partition("#")[0] for link in links(page)} - {""}
        assert all(link.startswith("/") for link in found), found
        waiting |= found - seen
    kinds = {path.split("/")[2] for path in seen if path.count("/") > 1}
    assert kinds >= {"repository", "image", "compare", "history", "usage", "delete"}


async def test_what_every_answer_carries(filled: Client) -> None:
    for path in ("/", "/web/image/team/app:1.0", "/web/nothing", "/web/repository/no/such"):
        answer = await filled.send("GET", path)
        policy = policies(answer.headers["Content-Security-Policy"])
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "script-src" not in policy
        assert not any("unsafe" in value or "http" in value for value in policy.values())
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
        parse(answer)


async def test_files_keep_for_ever_under_their_content(client: Client) -> None:
    page = await Browser(client).get("/")
    for link in page.all("link"):
        answer = await client.send("GET", link.attrs["href"])
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
    assert (await client.send("GET", "/web/file/page-000000000000.css")).status == 404


async def test_repositories_tell_size_tags_and_age(filled: Client) -> None:
    page = await Browser(filled).get("/")
    rows = page.one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == ["team/app", "team/base"]
    assert rows[0].all("td")[0].text == "4"
    assert rows[0].one("time").text == "just now"


async def test_an_empty_registry_says_how_to_begin(client: Client) -> None:
    page = await Browser(client).get("/")
    assert "Nothing here yet" in page.text
    assert "docker push" in page.text


async def test_search_finds_parts_and_prefixes(filled: Client) -> None:
    browser = Browser(filled)
    for query, names in (
        ("bas", ["team/base"]),
        ("team/*", ["team/app", "team/base"]),
        ("BASE", ["team/base"]),
        ("pp*", []),
    ):
        page = await browser.get(f"/?q={query}")
        assert [th.text for th in page.all("th", scope="row")] == names, query
    assert "No repository matches nothing" in (await browser.get("/?q=nothing")).text


async def test_pages_of_repositories_and_of_a_search(
    start: StartRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start()
    for number in range(60):
        await client.push_blob(f"r{number:02}/{'odd' if number % 2 else 'even'}", b"x")
    monkeypatch.setattr(queries, "WINDOW", 25)
    for query, count, steps in (("", 60, 2), ("r*", 60, 2), ("odd", 30, 3), ("r3*", 10, 1)):
        browser, seen, pages = Browser(client), [], 0
        path = f"/?q={query}"
        while path:
            page = await browser.get(path)
            pages += 1
            seen += [th.text for th in page.all("th", scope="row")]
            onward = page.all("a", rel="next")
            assert bool(page.all("a", rel="first")) == (pages > 1)
            path = onward[0].attrs["href"] if onward else ""
        assert (len(seen), pages) == (count, steps), query
        assert seen == sorted(set(seen))


async def test_pages_of_tags(client: Client) -> None:
    config = image_config("ADD a")
    tags = [f"v{number:02}" for number in range(60)]
    await push_image(client, "a", *tags, config=config, layers=[b"a"])
    for query in ("", "?order=name", "?q=v", "?q=v*"):
        browser, seen, path = Browser(client), [], f"/web/repository/a{query}"
        while path:
            page = await browser.get(path)
            seen += [th.text for th in page.one("table").all("th", scope="row")]
            onward = page.all("a", rel="next")
            path = onward[0].attrs["href"] if onward else ""
        assert sorted(seen) == tags, query


async def test_tags_tell_what_they_are(filled: Client) -> None:
    page = await Browser(filled).get("/web/repository/team/app?order=name")
    rows = page.one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == ["1.0", "1.1", "2.0", "latest"]
    assert "linux/amd64" in rows[0].text
    assert "linux/amd64" in rows[3].text
    assert f"docker pull {filled.base.partition('//')[2]}/team/app:1.0" in page.text


async def test_a_tag_search_within_one_repository(filled: Client) -> None:
    browser = Browser(filled)
    for query, names in ((".0", ["1.0", "2.0"]), ("1*", ["1.0", "1.1"]), ("zzz", [])):
        page = await browser.get(f"/web/repository/team/app?q={query}")
        assert [th.text for th in page.all("th", scope="row")] == names, query


async def test_an_image_shows_steps_layers_and_settings(filled: Client) -> None:
    page = await Browser(filled).get("/web/image/team/app:1.0")
    rows = page.all("table")[0].one("tbody").all("tr")
    assert [row.all("code")[0].text for row in rows] == [
        "ADD rootfs.tar.xz /",
        'CMD ["sh"]',
        "RUN make install",
    ]
    assert "4 kB" in rows[0].text
    assert "no layer" in rows[1].text
    assert "team/base" in rows[0].text, "who else has the layer"
    assert "PATH=/bin" in page.text
    assert "maintainer" in page.text
    assert len(page.one("svg", **{"class": "stack"}).all("rect")) == 2
    assert "SBOM (SPDX)" in page.text


async def test_an_index_shows_its_platforms(filled: Client) -> None:
    page = await Browser(filled).get("/web/image/team/app:latest")
    row = page.all("table")[0].one("tbody").one("tr")
    assert row.one("th").text == "linux/amd64"
    assert row.one("th").one("a").attrs["href"].startswith("/web/image/team/app@sha256:")


async def test_two_tags_compared(filled: Client) -> None:
    page = await Browser(filled).get("/web/compare/team/app?a=1.0&b=1.1")
    common, ours, theirs = page.all("h3")
    assert "In both 4 kB" in common.text
    assert "Only in 1.0 1.5 kB" in ours.text
    assert "Only in 1.1 3 kB" in theirs.text
    config, labels = page.all("table")
    assert [th.text for th in config.all("th", scope="row")] == ["DEBUG"]
    assert [th.text for th in labels.all("th", scope="row")] == ["maintainer"]
    same = await Browser(filled).get("/web/compare/team/app?a=1.1&b=2.0")
    assert "Both are the same image" in same.text


async def test_an_index_is_compared_by_platform(filled: Client) -> None:
    page = await Browser(filled).get("/web/compare/team/app?a=latest&b=1.0")
    assert "Both are the same image" in page.text


async def test_a_tag_tells_its_moves(filled: Client) -> None:
    config = image_config("ADD other")
    await push_image(filled, "team/app", "1.0", config=config, layers=[BASE])
    page = await Browser(filled).get("/web/history/team/app:1.0")
    rows = page.one("tbody").all("tr")
    assert len(rows) == 2
    assert "moved to" in rows[0].text
    assert "set to" in rows[1].text
    compare = rows[0].all("a")[-1].attrs["href"]
    assert "only in" in (await Browser(filled).get(compare)).text.lower()


async def test_what_is_no_image_is_shown_all_the_same(client: Client) -> None:
    await client.push_blob("a", b"{}")
    raw = replaced(
        manifest(),
        config=descriptor(b"{}", "application/vnd.acme.config"),
        artifactType="text/acme",
    )
    await client.push_manifest("a", raw, "thing")
    page = await Browser(client).get("/web/image/a:thing")
    assert "text/acme" in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/repository",
        "/web/repository/A",
        "/web/repository/no/such",
        "/web/image/team/app:none",
        f"/web/image/team/app@sha256:{'0' * 64}",
        "/web/image/team/app@sha256:short",
        "/web/image/team/app",
        "/web/image/team%2fapp:1.0",
        "/web/history/team/app:none",
        "/web/compare/no/such?a=1&b=2",
        "/web/image/%ff:1",
        "/web/../v2/:1",
    ],
)
async def test_what_is_not_there_is_a_page_that_says_so(filled: Client, path: str) -> None:
    answer = await filled.send("GET", path)
    assert answer.status == 404, answer
    assert parse(answer).one("h1").text == "Not found"


async def test_a_wrong_reference_to_compare_is_told(filled: Client) -> None:
    answer = await filled.send("GET", "/web/compare/team/app?a=1.0&b=%3Cb%3E")
    assert answer.status == 400
    assert "neither a tag nor a digest" in parse(answer).text


async def test_other_methods_are_refused(client: Client) -> None:
    answer = await client.send("POST", "/")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert (await client.send("PUT", "/")).status == 405
    assert (await client.send("HEAD", "/")).body == b""


async def test_pages_can_be_switched_off(start: StartRegistry) -> None:
    client = await start(web=WebSettings(enabled=False))
    for path in ("/", "/web/login"):
        answer = await client.send("GET", path)
        assert (answer.status, answer.code) == (404, "UNSUPPORTED")
    assert (await client.send("GET", "/v2/")).status == 200


async def test_pages_do_not_change_what_clients_get(filled: Client) -> None:
    answer = await filled.send("GET", "/v2/team/app/manifests/1.0")
    assert "Content-Security-Policy" not in answer.headers
    assert digest_of(answer.body) == answer.headers["Docker-Content-Digest"]


def test_a_login_lasts_a_minute_at_least() -> None:
    with pytest.raises(RegistryConfigError):
        WebSettings(session=5)
