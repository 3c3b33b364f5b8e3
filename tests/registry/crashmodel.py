"""What a client of a registry may rely on: the state that was acknowledged, beside the server's.

One ``Client`` works alone in its repositories, so after a crash everything it was told is certain;
only the one request under way may have happened or not. Where garbage is ``collected``, a blob that
no manifest names may be gone.
"""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from images.mediatype import OCI_MANIFEST
from tests.registry import kit
from tests.registry.kit import digest_of


class Unreachable(Exception):
    """The server is gone, or its answer never came."""


class Failing(Exception):
    """The server answered that it cannot store anything now (5xx)."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(str(status))


def exchange(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """One request to a registry on loopback: status, headers and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


@dataclass
class Session:
    """An upload under way: ``taken`` of its ``data`` was acknowledged."""

    location: str
    data: bytes
    taken: int = 0
    ending: bool = False


@dataclass
class Client:
    """Sends requests and remembers what was promised; ``readable`` is content by URL path."""

    name: str
    port: int = 0
    readable: dict[str, bytes] = field(default_factory=dict)
    doubt: dict[str, bytes | None] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    session: Session | None = None
    collected: bool = False

    # Requests

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request on a connection of its own; raises Unreachable."""
        try:
            return exchange(self.port, method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable from error

    def change(
        self,
        effects: Mapping[str, bytes | None],
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        expected: int = 201,
    ) -> Mapping[str, str]:
        """A request that has ``effects`` when it is answered with ``expected``.

        Raises Failing on 5xx: then nothing may have changed.
        """
        self.seen |= effects.keys()
        self.doubt = dict(effects)
        status, answered, text = self.call(method, path, body, headers)
        self.doubt = {}
        if status >= 500:
            raise Failing(status)
        assert status == expected, (method, path, status, text)
        for where, content in effects.items():
            if content is None:
                self.readable.pop(where, None)
            else:
                self.readable[where] = content
        return answered

    # What a client does

    def upload(self, repository: str, data: bytes) -> str:
        """A blob in one request."""
        digest = digest_of(data)
        path = f"/v2/{repository}/blobs/{digest}"
        where = f"/v2/{repository}/blobs/uploads/?digest={digest}"
        self.change({path: data}, "POST", where, data)
        return digest

    def begin(self, repository: str, data: bytes) -> None:
        """A session for ``data``; ``advance`` and ``finish`` go on with it."""
        answered = self.change({}, "POST", f"/v2/{repository}/blobs/uploads/", expected=202)
        self.session = Session(answered["Location"], data)

    def advance(self, count: int) -> None:
        """Send the next chunk of the session."""
        session = self.session
        assert session is not None
        chunk = session.data[session.taken : session.taken + count]
        first = session.taken
        headers = {"Content-Range": f"{first}-{first + len(chunk) - 1}"} if chunk else {}
        self.change({}, "PATCH", session.location, chunk, headers, expected=202)
        session.taken += len(chunk)

    def finish(self) -> None:
        """Send what is left and close the session."""
        session = self.session
        assert session is not None
        digest = digest_of(session.data)
        path = session.location.partition("/blobs/uploads/")[0] + f"/blobs/{digest}"
        session.ending = True
        where = f"{session.location}?digest={digest}"
        self.change({path: session.data}, "PUT", where, session.data[session.taken :])
        self.session = None

    def cancel(self) -> None:
        """End the session without a blob."""
        session = self.session
        assert session is not None
        session.ending = True
        self.change({}, "DELETE", session.location, expected=204)
        self.session = None

    def mount(self, source: str, repository: str, data: bytes) -> None:
        """Have a blob of one repository in another."""
        digest = digest_of(data)
        where = f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}"
        self.change({f"/v2/{repository}/blobs/{digest}": data}, "POST", where)

    def push(self, repository: str, raw: bytes, tag: str, media_type: str = OCI_MANIFEST) -> None:
        """A manifest under a tag; its content must be there."""
        base = f"/v2/{repository}/manifests/"
        effects = {base + tag: raw, base + digest_of(raw): raw}
        self.change(effects, "PUT", base + tag, raw, {"Content-Type": media_type})

    def delete(self, path: str) -> None:
        """Whatever is readable at ``path``; a digest takes its tags with it."""
        effects: dict[str, bytes | None] = {path: None}
        base, _, reference = path.rpartition("/")
        if base.endswith("/manifests") and ":" in reference:
            raw = self.readable[path]
            effects |= {
                other: None
                for other, content in self.readable.items()
                if content == raw and other.startswith(base + "/")
            }
        self.change(effects, "DELETE", path, expected=202)

    def image(self, repository: str, layer: bytes, note: str, **more: object) -> bytes:
        """A manifest of ``layer`` whose content is uploaded already."""
        return kit.manifest(layers=[layer], annotations={"note": note}, **more)

    # The judgement

    def check(self) -> None:
        """Everything promised is there, whole; nothing else is, but what was under way."""
        needed = self._needed()
        for path in sorted(self.seen):
            allowed = {self.readable.get(path)}
            if self.collected and "/blobs/" in path and path not in needed:
                allowed.add(None)
            if path in self.doubt:
                allowed.add(self.doubt[path])
            status, _, body = self.call("GET", path)
            found = body if status == 200 else None
            assert found is not None or status == 404, (path, status)
            assert found in allowed, (path, status, len(body))
            if found is None:
                self.readable.pop(path, None)
            else:
                self.readable[path] = found
        self._check_tags()
        self._check_content()
        self.doubt = {}
        self._check_session()

    def _needed(self) -> set[str]:
        """Paths of the blobs that a readable manifest names."""
        needed = set()
        for path, raw in self.readable.items():
            base, manifest, _ = path.partition("/manifests/")
            if manifest:
                document = json.loads(raw)
                parts = [*document.get("layers", []), *filter(None, [document.get("config")])]
                needed |= {f"{base}/blobs/{part['digest']}" for part in parts}
        return needed

    def _check_tags(self) -> None:
        for repository in {path.split("/manifests/")[0] for path in self.seen if "/manif" in path}:
            status, _, body = self.call("GET", f"{repository}/tags/list")
            listed = set(json.loads(body)["tags"]) if status == 200 else set()
            base = f"{repository}/manifests/"
            names = {p.removeprefix(base) for p in self.readable if p.startswith(base)}
            assert listed == {name for name in names if ":" not in name}, repository

    def _check_content(self) -> None:
        for path, raw in self.readable.items():
            if "/manifests/" not in path:
                continue
            document = json.loads(raw)
            base = path.split("/manifests/")[0]
            for part in [*document.get("layers", []), *filter(None, [document.get("config")])]:
                blob = f"{base}/blobs/{part['digest']}"
                if blob in self.readable:  # else the client deleted it
                    assert len(self.readable[blob]) == part["size"]

    def _check_session(self) -> None:
        """What was acknowledged of an open session is there, and it can be finished."""
        session = self.session
        if session is None:
            return
        status, answered, _ = self.call("GET", session.location)
        if status == 404:
            assert session.ending, "an upload session was lost"
            self.session = None
            return
        assert status == 204
        last = int(answered["Range"].removeprefix("0-"))
        if last == 0 and session.data and not session.taken:
            # "0-0" is no byte or one; after this it is one.
            headers = {"Content-Range": "0-0"}
            status, _, _ = self.call("PATCH", session.location, session.data[:1], headers)
            assert status in (202, 416)
        offset = last + 1 if session.data else 0
        assert session.taken <= offset <= len(session.data)
        session.taken = offset
        session.ending = False
        self.finish()


def work(client: Client, rng: random.Random) -> None:
    """One random thing that clients do."""
    here, there = f"{client.name}/one", f"{client.name}/two"
    kind = rng.random()
    deletable = sorted(path for path in client.readable if "/two/" in path or "/manif" in path)
    if kind < 0.25 and deletable:
        client.delete(rng.choice(deletable))
        return
    layer = rng.randbytes(rng.choice([0, 1, 100, 70_000, 1_500_000]))
    client.upload(here, b"{}")
    if rng.random() < 0.5:
        client.upload(here, layer)
    else:
        client.begin(here, layer)
        for _ in range(rng.randrange(3)):
            client.advance(rng.randrange(len(layer) + 1))
        if rng.random() < 0.1:
            client.cancel()
            return
        client.finish()
    if kind < 0.4:
        client.mount(here, there, layer)
    raw = client.image(here, layer, str(rng.random()))
    client.push(here, raw, f"t{rng.randrange(5)}")
