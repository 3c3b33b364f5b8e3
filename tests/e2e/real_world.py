"""One store for all tests of real input: the Debian base, and containers that are stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import require_program
from tests.e2e.conftest import LADING, Lading

PROJECT = Path(__file__).parents[2]
FIXTURES = PROJECT / "fixtures" / "real"
BASE = "debian:bookworm-slim"
CA_BUNDLE = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
SLOW_BUILD = 280
PATIENCE = 120


def debian_archive() -> Path:
    """The root filesystem of a minimal Debian, made once and kept beside the project."""
    archive = PROJECT / ".cache" / "bookworm-slim.tar"
    if not archive.exists():
        bootstrap = require_program("mmdebstrap")
        archive.parent.mkdir(exist_ok=True)
        partial = archive.with_suffix(f".{os.getpid()}.tar")
        command = [bootstrap, "--variant=minbase", "--quiet", "bookworm", partial]
        command += filter(None, [os.environ.get("LADING_DEBIAN_MIRROR")])
        subprocess.run(command, check=True)
        partial.rename(archive)
    return archive


@dataclass(frozen=True)
class Running:
    """A container in the foreground of a process of ours."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(errors="replace")

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready`` says so; refused connections mean not yet."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if ready():
                    return
            except OSError:
                pass
            assert self.process.poll() is None, f"it ended:\n{self.output}"
            assert time.monotonic() < deadline, f"it is not ready:\n{self.output}"
            time.sleep(0.1)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end as a person at the terminal would; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@dataclass(frozen=True)
class World:
    """A lading whose store all tests share, so that packages are installed once."""

    lading: Lading

    def build(self, name: str, *flags: str | Path, context: Path | None = None) -> str:
        """Build a fixture under its name; what the build printed."""
        done = self.try_build(name, *flags, context=context)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def try_build(
        self, name: str, *flags: str | Path, context: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Build, whatever comes of it."""
        usual = ("-t", name, "--progress", "plain", "--secret", f"id=ca,src={CA_BUNDLE}")
        return subprocess.run(
            [LADING, "build", *usual, *flags, context or FIXTURES / name],
            env=self.lading.environment,
            capture_output=True,
            text=True,
            timeout=SLOW_BUILD,
        )

    def identity(self, name: str) -> str:
        """The image id of a name."""
        return self.lading("inspect", "-f", "{{.Id}}", name).stdout

    def shell(self, image: str, script: str, *flags: str) -> str:
        """What a shell in a container of the image prints."""
        done = self.lading("run", "--rm", *flags, "--entrypoint", "sh", image, "-c", script)
        return done.stdout

    @contextmanager
    def started(self, *argv: str | Path) -> Iterator[Running]:
        """`lading run --rm ARGV` in the background; killed if the block leaves it running."""
        with tempfile.NamedTemporaryFile(dir=self.lading.folder, suffix=".log") as log:
            process = subprocess.Popen(
                [LADING, "run", "--rm", *argv],
                env=self.lading.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                yield Running(process, Path(log.name))
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(PATIENCE)


def copied(name: str, folder: Path) -> Path:
    """A context of one's own to change."""
    return Path(shutil.copytree(FIXTURES / name, folder / name))


def steps(output: str, *, cached: bool) -> list[str]:
    """The instructions that a plain progress log shows as cached, or as really done."""
    names: dict[str, str] = {}
    reused = set()
    for line in output.splitlines():
        number, _, text = line.partition(" ")
        if number.startswith("#") and text.startswith("[") and not text.startswith("[internal]"):
            names[number] = text.partition("] ")[2]
        elif number in names and text == "CACHED":
            reused.add(number)
    return [name for number, name in names.items() if (number in reused) is cached]


def accepts(port: int) -> bool:
    """Whether somebody listens there.

    Raises:
        OSError: nobody does.
    """
    socket.create_connection(("127.0.0.1", port), timeout=10).close()
    return True
