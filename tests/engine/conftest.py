"""A store with one small image, and a run-time directory whose launcher ends with the tests."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import pytest

from engine.run import run
from engine.run_options import RunOptions, Streams
from images.archive import RootfsImport, import_rootfs
from images.client import ClientOptions, RegistryClient
from images.client.retry import RetryPolicy
from images.reference import Reference
from images.store import ImageStore
from runtime.client import stop_launcher
from tests.conftest import require_program
from tests.engine.signing_kit import NAME, add_image
from tests.simulators.registry import SimulatedRegistry

FILES = {
    "etc/passwd": (0o644, b"root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n"),
    "etc/group": (0o644, b"root:x:0:\nbob:x:1000:\nstaff:x:50:bob\n"),
    "data/seed": (0o640, b"seed\n"),
    "not-executable": (0o644, b"text\n"),
}
CONFIG = {
    "Cmd": ["sh", "-c", "echo default"],
    "Env": ["PATH=/bin", "COLOR=blue"],
    "ExposedPorts": {"80/tcp": {}},
}


def small_rootfs() -> io.BytesIO:
    """A root file system of one static busybox as a tar stream."""
    busybox = require_program("busybox")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for folder in ("bin", "data", "dev", "etc", "proc", "sys"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        archive.add(busybox, "bin/busybox")
        for name in names.stdout.split():
            if name != "busybox":
                member = tarfile.TarInfo(f"bin/{name}")
                member.type, member.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(member)
        for name, (mode, content) in FILES.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size = mode, len(content)
            archive.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


@pytest.fixture(scope="session")
def engine_folder() -> Iterator[Path]:
    """One folder for all tests: the launcher started in it serves them all."""
    with TemporaryDirectory(prefix="lading-engine-") as folder:
        yield Path(folder)
        stop_launcher(Path(folder) / "run")


@pytest.fixture(scope="session")
def image_store(engine_folder: Path) -> Iterator[ImageStore]:
    store = ImageStore.open(engine_folder / "root")
    request = RootfsImport(reference=Reference.parse("test/small"), config=CONFIG)
    import_rootfs(small_rootfs(), store, request)
    yield store
    store.close()


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def run_small(image_store: ImageStore, engine_folder: Path) -> Callable[..., Result]:
    """Run a command in the small image; keyword arguments are flags."""

    def call(*command: str, stdin: bytes = b"", **flags: object) -> Result:
        options = RunOptions(**{"image": "test/small", "command": command, "rm": True, **flags})
        with TemporaryFile() as feed, TemporaryFile() as out, TemporaryFile() as err:
            feed.write(stdin)
            feed.seek(0)
            streams = Streams(feed.fileno(), out.fileno(), err.fileno())
            code = run(options, image_store, engine_folder / "run", streams, environ={"HOST": "1"})
            out.seek(0)
            err.seek(0)
            return Result(code, out.read().decode(), err.read().decode())

    return call


@pytest.fixture
def registry() -> SimulatedRegistry:
    """A registry that says what a test wants it to say."""
    return SimulatedRegistry()


@pytest.fixture
async def host(registry: SimulatedRegistry) -> AsyncIterator[str]:
    """The simulated registry's address."""
    async with registry.serve() as authority:
        yield authority


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    """A client that tries once."""
    options = ClientOptions(environ={}, retry=RetryPolicy(attempts=1))
    async with RegistryClient(options=options) as client:
        yield client


@pytest.fixture
def web(registry: SimulatedRegistry, host: str) -> Reference:
    """An image in the simulated registry, unsigned."""
    add_image(registry, "1")
    return Reference.parse(f"{host}/{NAME}:1")
