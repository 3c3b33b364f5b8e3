"""What tests of the pages share: images with a history, and pages taken apart by html.parser."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from images.mediatype import OCI_INDEX
from tests.registry.kit import Answer, Client, descriptor, digest_of, index, manifest, replaced

VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
LOADS = {("link", "href"), ("img", "src"), ("script", "src"), ("iframe", "src"), ("use", "href")}


@dataclass
class Element:
    """A tag with what it holds."""

    tag: str
    attrs: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        joined = "".join(c if isinstance(c, str) else f" {c.text} " for c in self.children)
        return " ".join(joined.split())

    def all(self, *tags: str, **attrs: str) -> list[Element]:
        found = []
        for child in self.children:
            if isinstance(child, Element):
                fits = all(child.attrs.get(name) == value for name, value in attrs.items())
                if (not tags or child.tag in tags) and fits:
                    found.append(child)
                found += child.all(*tags, **attrs)
        return found

    def one(self, *tags: str, **attrs: str) -> Element:
        (found,) = self.all(*tags, **attrs)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(answer: Answer) -> Element:
    """The page of an answer, well formed and good for people."""
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8", answer
    reader = _Reader()
    reader.feed(answer.body.decode())
    assert reader.open == [reader.root], "everything is closed"
    _check(reader.root)
    return reader.root


def _check(page: Element) -> None:
    """What holds for every page: nothing from elsewhere, and labels for who cannot see it."""
    for element in page.all():
        assert not any(name.startswith("on") for name in element.attrs), element
        assert "style" not in element.attrs
        for tag, name in LOADS:
            if element.tag == tag and name in element.attrs:
                assert element.attrs[name].startswith("/web/file/"), element
    assert not page.all("script", "style", "iframe", "object", "embed", "base")
    assert len(page.all("h1")) == 1
    assert page.one("html").attrs["lang"] == "en"
    assert page.one("head").one("title").text
    levels = [int(it.tag[1]) for it in page.all("h1", "h2", "h3")]
    order = [it for it in levels if it > 1]
    assert not order or min(order) == 2
    identifiers = [it.attrs["id"] for it in page.all() if "id" in it.attrs]
    assert len(identifiers) == len(set(identifiers)), identifiers
    labels = {it.attrs["for"] for it in page.all("label")}
    for control in page.all("input", "select"):
        assert control.attrs.get("type") == "hidden" or control.attrs["id"] in labels
    for table in page.all("table"):
        assert table.one("caption").text
        heads = table.one("thead").all("th")
        assert heads
        assert all(head.attrs["scope"] == "col" and head.text for head in heads)
        for row in table.one("tbody").all("tr"):
            assert row.all("th")[0].attrs["scope"] == "row"
    for nav in page.all("nav"):
        assert nav.attrs["aria-label"]
    for named in page.all():
        for name in ("aria-labelledby", "aria-describedby"):
            if name in named.attrs:
                assert named.attrs[name] in identifiers, named
    for link in page.all("a", "button"):
        assert link.text or link.attrs.get("aria-label"), link
    for picture in page.all("svg"):
        assert picture.attrs.get("aria-hidden") == "true" or picture.attrs.get("aria-label")


def links(page: Element) -> set[str]:
    """Where the page leads, beside places of its own."""
    return {link.attrs["href"] for link in page.all("a")} - {"#main"}


def image_config(*steps: str, **more: Any) -> bytes:
    """A config whose ``steps`` made a layer each, except for those that begin with ``#``."""
    history = [{"created_by": step.lstrip("#"), "empty_layer": step[:1] == "#"} for step in steps]
    count = sum(not step.startswith("#") for step in steps)
    inner = {"Env": ["PATH=/bin"], "Cmd": ["sh"], **more.pop("config", {})}
    document = {
        "os": "linux",
        "architecture": "amd64",
        "config": inner,
        "history": history,
        "rootfs": {"type": "layers", "diff_ids": [digest_of(b"%d" % n) for n in range(count)]},
        **more,
    }
    return json.dumps(document).encode()


async def push_image(
    client: Client, repository: str, *tags: str, config: bytes, layers: list[bytes], **more: Any
) -> bytes:
    """Push an image; returns its manifest."""
    for blob in (config, *layers):
        await client.push_blob(repository, blob)
    raw = manifest(config, layers, **more)
    await client.push_manifest(repository, raw, *tags)
    return raw


async def push_index(
    client: Client, repository: str, tag: str, images: dict[str, bytes], **more: Any
) -> bytes:
    """Push an index of images that are there, by architecture."""
    entries = [
        descriptor(
            raw,
            json.loads(raw)["mediaType"],
            platform={"os": "linux", "architecture": architecture},
        )
        for architecture, raw in images.items()
    ]
    raw = replaced(index(), manifests=entries, **more)
    await client.push_manifest(repository, raw, tag, media_type=OCI_INDEX)
    return raw


@dataclass
class Browser:
    """A client with cookies, as browsers keep them."""

    client: Client
    cookies: dict[str, str] = field(default_factory=dict)

    async def send(
        self, method: str, path: str, *, data: bytes | None = None, **headers: str
    ) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        # The session is shared by browsers, and keeps cookies as well.
        self.client.session.cookie_jar.clear()
        answer = await self.client.send(method, path, data=data, headers=sent)
        self.client.session.cookie_jar.clear()
        for line in answer.headers.getall("Set-Cookie", []):  # type: ignore[attr-defined]
            name, value = line.partition(";")[0].split("=", 1)
            self.cookies[name] = value
            if not value or value == '""':
                del self.cookies[name]
        return answer

    async def get(self, path: str) -> Element:
        answer = await self.send("GET", path)
        assert answer.status == 200, answer
        return parse(answer)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        headers.setdefault("Content_Type", "application/x-www-form-urlencoded")
        return await self.send("POST", path, data=urlencode(fields).encode(), **headers)

    async def submit(self, form: Element, **fields: str) -> Answer:
        """Send a form of a page with its hidden fields."""
        hidden = {it.attrs["name"]: it.attrs["value"] for it in form.all("input", type="hidden")}
        return await self.post(form.attrs["action"], {**hidden, **fields})

    async def log_in(self, user: str, onward: str = "") -> Answer:
        page = await self.get("/web/login" + (f"?next={onward}" if onward else ""))
        form = page.one("form", **{"class": "login"})
        return await self.submit(form, user=user, password=user * 2)


def token_of(page: Element) -> str:
    """The token of the first form."""
    return page.all("input", name="token")[0].attrs["value"]


def policies(header: str) -> dict[str, str]:
    """A content security policy by its directives."""
    parts = (re.split(r"\s+", part.strip(), maxsplit=1) for part in header.split(";"))
    return {name: rest[0] if rest else "" for name, *rest in parts}
