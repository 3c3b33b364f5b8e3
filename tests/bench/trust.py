"""Content trust: what a verification adds to a pull, and publishing in a large repository.

A registry with TLS serves on loopback; our client reads and signs as ``pull`` and ``trust sign``
do, without starting a process. Bounds are the project's own; the peer is the notary client, which
publishes one more tag of the same repository (a process of its own, so its start is in the figure).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.access import Access
from engine.content_trust.collection import Collection
from engine.content_trust.session import open_cache, open_server, resolve, with_collection
from images.client.request import Answer, Request
from images.descriptor import Descriptor
from images.digest import Digest
from images.reference import Reference
from registry.config import RegistryConfig
from registry.listening import BoundAddress
from registry.serve import serve_async
from registry.settings import TlsSettings
from tests.bench.harness import Case, main, quietly
from tests.registry.running import certificate
from trust.tuf.draft import Draft
from trust.tuf.keystore import TrustKeys
from trust.tuf.metadata import FileMeta

TAGS = 10_000
SECRET = "a secret of the bench"
TARGET = Descriptor("application/vnd.oci.image.manifest.v1+json", Digest.of(b"manifest"), 8)


class Served:
    """A registry in a thread, and a client's home."""

    def __init__(self, base: Path) -> None:
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self.base = base
        config = RegistryConfig(
            root=base / "registry", port=0, workers=1, tls=TlsSettings(*certificate(base))
        )
        self._thread = threading.Thread(target=self._serve, args=(config,), daemon=True)
        self._thread.start()
        self._started.wait(20)
        self.name = f"localhost:{self._bound.port}/bench/app"
        self.access = self.client("home")
        self.keys = TrustKeys(base / "home/trust", lambda locked: SECRET.encode())

    def client(self, home: str) -> Access:
        """How a user reaches the registry."""
        return Access(
            str(self.base / home), environ={"DOCKER_CONFIG": str(self.base / home), "HOME": "/"}
        )

    def act(self, action: Callable[[Collection], Any]) -> Any:
        """Run one action on the repository's trust data."""
        return with_collection(self.access, Reference.parse(self.name), self.keys, action)

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _serve(self, config: RegistryConfig) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(serve_async(config, ready=self._ready, stop=self._stop))

    def _ready(self, bound: BoundAddress) -> None:
        self._bound = bound
        self._started.set()


def fill(served: Served, count: int) -> None:
    """Trust data with ``count`` tags in one publish."""

    def tags(draft: Draft) -> Draft:
        old = draft.targets["targets"]
        metas = {
            f"v1.{number}": FileMeta(1000, {"sha256": hashlib.sha256(b"%d" % number).digest()})
            for number in range(count)
        }
        fresh = replace(old, targets=metas)
        return replace(draft, targets={"targets": fresh}, dirty=frozenset({"targets"}))

    async def act(collection: Collection) -> None:
        await collection.initialize()
        await collection.change(tags)

    served.act(act)


def requests_of(served: Served, home: str) -> int:
    """How many requests one resolution sends, by the files that it reads."""
    access = served.client(home)
    reference = Reference.parse(f"{served.name}:v1.1")
    seen: list[str] = []

    async def look() -> None:
        from engine.content_trust.updating import Updater

        async with open_server(access, reference) as server:
            fetch = server._transport.fetch

            async def counted(request: Request, limit: int) -> Answer:
                seen.append(str(request.path))
                return await fetch(request, limit)

            server._transport.fetch = counted  # type: ignore[method-assign]
            await Updater(server, open_cache(access, reference)).update()

    asyncio.run(look())
    return len(seen)


def cases(quick: bool) -> Iterable[Case]:
    """Reading a repository of one tag, then publishing in one of many."""
    with ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="bench-trust-"))
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        for folder, count in (("one", 1), ("many", TAGS)):
            (base / folder).mkdir()
            served = Served(base / folder)
            stack.callback(served.close)
            fill(served, count)
            yield from _of(served, count)


def _of(served: Served, count: int) -> Iterable[Case]:
    reference = Reference.parse(f"{served.name}:v1.0")
    cold, warm = requests_of(served, "reader"), requests_of(served, "reader")
    print(f"requests with {count} tags: cold {cold} (bound 4), warm {warm}", flush=True)
    reader = served.client("reader")
    yield Case(
        f"resolve a tag of {count}, warm cache",
        {"lading": lambda: resolve(reader, reference)},
        target="<= 15 ms" if count == 1 else "",
    )
    numbers = iter(range(10**6))

    def sign() -> None:
        served.act(lambda collection: collection.sign(f"new{next(numbers)}", TARGET))

    contestants: dict[str, Callable[[], object]] = {"lading": sign}
    if shutil.which("notary"):
        contestants["notary"] = _notary(served)
    target = "<= 1000 ms" if count > 1 else ""
    yield Case(f"publish one more tag of {count}", contestants, target=target)


def _notary(served: Served) -> Callable[[], object]:
    folder = served.base / "home"
    settings = {
        "remote_server": {
            "url": f"https://{served.name.partition('/')[0]}",
            "root_ca": str(served.base / "cert.pem"),
        },
        "trust_dir": str(folder / "trust"),
    }
    (folder / "notary.json").write_text(json.dumps(settings))
    (folder / "file").write_text("x")
    names = ("ROOT", "TARGETS", "SNAPSHOT", "DELEGATION")
    environ = {**os.environ, **{f"NOTARY_{name}_PASSPHRASE": SECRET for name in names}}
    numbers = iter(range(10**6))

    def publish() -> None:
        words = ["notary", "-c", str(folder / "notary.json"), "add", "-p", served.name]
        quietly(*words, f"n{next(numbers)}", str(folder / "file"), env=environ)()

    return publish


if __name__ == "__main__":
    main(cases, __doc__ or "")
