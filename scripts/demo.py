"""The whole story in one go: base, build, cached build, registry, push, sign, verified pull, run.

`make demo` runs it. State lives in a temporary folder and everything that was started is stopped.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

PROJECT = Path(__file__).parent.parent
LADING = Path(sys.executable).with_name("lading")
CACHE = PROJECT / ".cache"
BASE = "debian:bookworm-slim"
MIRROR = os.environ.get("LADING_DEBIAN_MIRROR")
"""None leaves the choice to mmdebstrap."""
COLOUR = sys.stdout.isatty()


def explain(number: int, text: str) -> None:
    """Say what comes next and why."""
    line = f"\n[{number}/7] {text}"
    print(f"\033[1;36m{line}\033[0m" if COLOUR else line, flush=True)


def show(*argv: str | Path, expect: int | None = 0, **environment: str) -> int:
    """Print a command as a person types it, run it with its real output, check its status."""
    words = ["lading" if word == LADING else str(word) for word in argv]
    print("$ " + " ".join(f"{k}={v}" for k, v in environment.items()) + " ".join(words), flush=True)
    started = time.perf_counter()
    status = subprocess.run(argv, cwd=PROJECT, env={**os.environ, **environment}).returncode
    print(f"  ({time.perf_counter() - started:.2f} s, exit status {status})", flush=True)
    if expect is not None and status != expect:
        sys.exit(f"demo: expected exit status {expect}")
    if expect is None and status == 0:
        sys.exit("demo: this had to be refused, and was not")
    return status


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get_base() -> None:
    """Pull the base image where a hub answers, else bootstrap a minimal Debian and import it."""
    pulled = subprocess.run([LADING, "pull", "-q", BASE], capture_output=True, text=True)
    if pulled.returncode == 0:
        print(f"$ lading pull -q {BASE}\n{pulled.stdout}", end="")
        return
    print("no hub answers here; bootstrapping Debian from the package mirror instead")
    archive = CACHE / "bookworm-slim.tar"
    if not archive.exists():
        CACHE.mkdir(exist_ok=True)
        partial = archive.with_suffix(f".{os.getpid()}.tar")
        command = ["mmdebstrap", "--variant=minbase", "--quiet", "bookworm", partial]
        command += [MIRROR] if MIRROR else []
        print("$ " + " ".join(map(str, command)), flush=True)
        subprocess.run(command, check=True)
        partial.rename(archive)
    show(LADING, "import", archive, BASE)


def start_registry(stack: ExitStack, folder: Path) -> int:
    """Serve a registry on a free loopback port; it is stopped when the demo ends."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [LADING, "registry", "serve", "--addr", address, "--storage", folder / "registry"]
    command += ["--log-level", "warning"]
    print("$ lading " + " ".join(map(str, command[1:])) + " &", flush=True)
    server = subprocess.Popen(command, cwd=PROJECT)
    stack.callback(server.wait, 20)
    stack.callback(server.terminate)
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1):
                return port
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit("demo: the registry does not answer")


def request_page(port: int) -> str:
    """Ask the container's web server once, waiting for it to listen."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    sys.exit("demo: the container's web server does not answer")


def run_image(image: str) -> None:
    """Run the image, ask its web server for the page, and wait for it to finish."""
    port = free_port()
    command = [LADING, "run", "--rm", "-p", f"127.0.0.1:{port}:8080", image]
    print("$ lading " + " ".join(map(str, command[1:])) + " &", flush=True)
    container = subprocess.Popen(command, cwd=PROJECT)
    print(f"$ curl http://127.0.0.1:{port}/\n{request_page(port)}", end="", flush=True)
    if container.wait(20) != 0:
        sys.exit("demo: the container failed")


def main() -> None:
    """Tell the story."""
    if os.geteuid() != 0:
        sys.exit("demo: containers need root here; run `sudo make demo`")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="lading-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ["LADING_ROOT"] = str(folder / "state")
        os.environ["LADING_RUNTIME_DIR"] = str(folder / "run")
        os.environ["DOCKER_CONFIG"] = str(folder / "config")
        os.environ["LADING_TRUST_POLICY"] = str(folder / "policy.json")
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        os.environ["LADING_PASSPHRASE"] = secrets.token_hex()
        stack.callback(subprocess.run, [LADING, "system", "shutdown"], check=False)

        explain(1, f"a base image: {BASE}")
        get_base()
        show(LADING, "images")

        explain(2, "build a real multi-stage Dockerfile: apt-get and a C compiler in one stage")
        port = start_registry(stack, folder)
        image = f"localhost:{port}/demo/web:1"
        show(LADING, "build", "-t", image, "fixtures/demo")

        explain(3, "the same build again: every step comes from the cache")
        show(LADING, "build", "-t", image, "fixtures/demo")

        explain(4, "push to the registry that `lading registry serve` runs")
        unsigned = f"localhost:{port}/demo/web:unsigned"
        show(LADING, "push", image)

        explain(5, "sign the pushed manifest with a key of our own")
        show(LADING, "trust", "key", "generate", "demo", "--output", folder / "keys")
        show(LADING, "trust", "sign", "--key", "demo", image)
        policy = ("--verify-key", folder / "keys" / "demo.pub")
        show(LADING, "trust", "inspect", "--pretty", *policy, image)

        explain(6, "wipe the local copy; pull with verification required; then see a refusal")
        show(LADING, "build", "-q", "-t", unsigned, "--label", "tampered=yes", "fixtures/demo")
        show(LADING, "push", "-q", unsigned)
        show(LADING, "rmi", image, unsigned)
        show(LADING, "system", "prune", "--all", "--force")
        show(LADING, "pull", *policy, image)
        print("the other tag was pushed, but never signed:")
        show(LADING, "pull", *policy, unsigned, expect=None)

        explain(7, "run it: a web server in a container answers one request")
        run_image(image)
        show(LADING, "system", "check")
    print("\ndone: nothing is left running, and the temporary state is gone")


if __name__ == "__main__":
    main()
