"""Beside a real dockerd: neither breaks the other, in either order of arrival."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.network.endpoint import detach
from runtime.network.namespaces import inside, open_namespace, write_setting
from runtime.network.ports import PortBinding
from tests.conftest import require_program
from tests.runtime.network.conftest import HOST_ADDRESS, OUTSIDE_ADDRESS
from tests.runtime.network.test_reachability import assert_reaches, listening, reach

pytestmark = [pytest.mark.root, pytest.mark.peer]


class Docker:
    """A dockerd in the network namespace of the test, with state of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"

    def call(self, *words: str, stdin: bytes = b"") -> str:
        command = [require_program("docker"), "-H", self.url, *words]
        result = subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=120)
        return result.stdout.decode().strip()

    @contextmanager
    def running(self) -> Iterator[None]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    require_program("dockerd"),
                    f"--host={self.url}",
                    f"--data-root={self.folder}/data",
                    f"--exec-root={self.folder}/exec",
                    f"--pidfile={self.folder}/pid",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            self._wait(process)
            yield
        finally:
            process.terminate()
            process.wait(90)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                self.call("version")
            except subprocess.CalledProcessError:
                assert process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.1)
            else:
                return

    def serve(self) -> tuple[str, str]:
        """A web server in one of its containers: its address and id."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.add(require_program("busybox"), "bin/busybox")
        self.call("import", "-", "test/busybox", stdin=stream.getvalue())
        words = [
            "run",
            "-d",
            "--rm",
            "test/busybox",
            "/bin/busybox",
            "httpd",
            "-f",
            "-p",
            "80",
            "-h",
            "/",
        ]
        identifier = self.call(*words)
        template = "{{.NetworkSettings.IPAddress}}"
        return self.call("inspect", "-f", template, identifier), identifier


@pytest.fixture
def docker(host, tmp_path_factory) -> Docker:
    require_program("dockerd")
    # dockerd sets its policy to drop only when it finds forwarding off.
    write_setting("ipv4/ip_forward", "0")
    return Docker(tmp_path_factory.mktemp("dockerd"))


def assert_ours_work(host) -> None:
    one, _ = host.container(ports=[PortBinding(80, host_port=8080)])
    two, other = host.container()
    with listening(two) as server:
        assert_reaches(one, other.address, 80, server)
    with listening(one) as server:
        assert_reaches(None, "127.0.0.1", 8080, server)
        assert_reaches(host.outside, HOST_ADDRESS, 8080, server)
        assert_reaches(two, HOST_ADDRESS, 8080, server)
    with listening(host.outside) as server:
        assert_reaches(one, OUTSIDE_ADDRESS, 80, server, seen_as=HOST_ADDRESS)
    for endpoint in host.endpoints:
        detach(endpoint)


def assert_docker_works(docker: Docker) -> None:
    address, identifier = docker.serve()
    pid = int(docker.call("inspect", "-f", "{{.State.Pid}}", identifier))
    namespace = open_namespace(pid)
    try:
        deadline = time.monotonic() + 60
        while (client := reach(None, address)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client.close()
        with inside(namespace), open("/proc/net/route") as file:
            assert "00000000" in file.read()
    finally:
        os.close(namespace)
        docker.call("kill", identifier)


def test_docker_first(host, docker):
    with docker.running():
        assert_ours_work(host)
        assert_docker_works(docker)
        address, identifier = docker.serve()
        ours, _ = host.container()
        leak = reach(ours, address)
        assert leak is None, leak.close()
        docker.call("kill", identifier)


def test_docker_comes_and_goes_while_our_containers_run(host, docker):
    one, _ = host.container()
    two, other = host.container()
    with listening(two) as server:
        assert_reaches(one, other.address, 80, server)
        with docker.running():
            assert_docker_works(docker)
            assert_ours_work(host)
            assert_reaches(one, other.address, 80, server)
        assert_reaches(one, other.address, 80, server)
        with docker.running():
            assert_ours_work(host)
            assert_reaches(one, other.address, 80, server)
