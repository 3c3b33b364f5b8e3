"""What people build, from fixtures/real: built for real, started, spoken to, stopped, rebuilt."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.conftest import Lading, leftover_mounts
from tests.e2e.real_world import (
    BASE,
    Running,
    World,
    accepts,
    copied,
    debian_archive,
    steps,
)
from tests.ports import free_port

# Whoever comes first waits for packages of a mirror as well.
pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A store with Debian in it; nothing is left mounted, and the store is sound, at the end."""
    folder = tmp_path_factory.mktemp("real")
    lading = Lading(folder)
    lading("import", "-c", 'CMD ["bash"]', debian_archive(), BASE)
    yield World(lading)
    assert lading("system", "check").returncode == 0
    lading("system", "shutdown")
    assert not leftover_mounts(folder)
    shutil.rmtree(folder, ignore_errors=True)


def fetch(url: str, data: dict[str, str] | None = None) -> str:
    """The body of an answer, whatever its status."""
    body = None if data is None else urllib.parse.urlencode(data).encode()
    try:
        with urllib.request.urlopen(url, body, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


# --- nginx with TLS 1.3 only


@pytest.fixture(scope="module")
def nginx(world: World) -> str:
    world.build("nginx")
    return "nginx"


def handshake(port: int, version: ssl.TLSVersion, authority: str) -> tuple[str | None, bytes]:
    """The TLS version agreed on, and the answer to a request for the first page."""
    context = ssl.create_default_context(cadata=authority)
    context.maximum_version = context.minimum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: secure.recv(65536), b""))
        return secure.version(), answer


def test_nginx_speaks_tls_13_and_nothing_older(world: World, nginx: str) -> None:
    authority = world.shell(nginx, "cat /etc/nginx/tls/server.crt")
    port = free_port()
    with world.started("-p", f"127.0.0.1:{port}:8443", nginx) as server:
        server.until(lambda: accepts(port))
        version, answer = handshake(port, ssl.TLSVersion.TLSv1_3, authority)
        assert version == "TLSv1.3"
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"shipped over TLS 1.3" in answer
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(port, ssl.TLSVersion.TLSv1_2, authority)
        assert server.stop(signal.SIGQUIT) == 0
        assert '"GET / HTTP/1.0" 200' in server.output
        assert "gracefully shutting down" in server.output


def test_nginx_files_are_what_the_flags_say(world: World, nginx: str) -> None:
    listing = world.shell(
        nginx,
        "cd /etc/nginx/tls && stat -c '%n %U:%G %a' * /srv/www/*; "
        "test -e /tls || test -e /usr/bin/openssl || echo clean; ls /var/lib/apt/lists",
    )
    assert listing.splitlines() == [
        "server.crt root:root 444",
        "server.key root:www-data 440",
        "/srv/www/health.txt root:root 644",
        "/srv/www/index.html root:root 644",
        "/srv/www/robots.txt root:root 644",
        "clean",
        "lock",
        "partial",
    ]
    config = json.loads(world.lading("inspect", nginx).stdout)[0]["Config"]
    assert config["Entrypoint"] == ["nginx"]
    assert config["Cmd"] == ["-g", "daemon off;"]
    assert config["StopSignal"] == "SIGQUIT"
    assert config["Healthcheck"]["Test"] == ["CMD", "nginx", "-t", "-q"]
    assert config["ExposedPorts"] == {"8443/tcp": {}}


def test_a_changed_page_leaves_the_certificate_alone(
    world: World, nginx: str, tmp_path: Path
) -> None:
    before = world.identity(nginx)
    again = world.build(nginx)
    assert steps(again, cached=False) == []
    assert world.identity(nginx) == before

    context = copied("nginx", tmp_path)
    (context / "site/index.html").write_text("<p>another page\n")
    (context / "site/.index.html.swp").write_text("ignored by .dockerignore\n")
    output = world.build("nginx-changed", context=context)
    done = [step.split()[0] for step in steps(output, cached=False)]
    assert "apt-get" not in " ".join(steps(output, cached=False))
    assert set(done) <= {"COPY", "RUN"}
    assert not any("--from=certificate" in step for step in steps(output, cached=False))
    key = "sha256sum /etc/nginx/tls/server.key"
    assert world.shell(nginx, key) == world.shell("nginx-changed", key)
    page = world.shell("nginx-changed", "cat /srv/www/index.html; ls -A /srv/www")
    assert page.split("\n", 1) == ["<p>another page", "health.txt\nindex.html\nrobots.txt\n"]


# --- a C program, static, in scratch


@pytest.fixture(scope="module")
def greet(world: World) -> str:
    world.build("c", "--build-arg", "VERSION=1.2.3")
    return "c"


def test_the_static_program_is_alone_and_serves(world: World, greet: str) -> None:
    lading = world.lading
    assert lading("run", "--rm", greet, "--version").stdout == "greet 1.2.3\n"
    assert lading("run", "--rm", "-i", greet, "--encode", stdin="lading").stdout == "bGFkaW5n\n"
    assert lading("run", "--rm", greet, "--nonsense", status=64).stderr.startswith("usage:")
    lading("run", "--rm", "--entrypoint", "/bin/sh", greet, status=127)
    port = free_port()
    with world.started(
        "-p", f"127.0.0.1:{port}:7000", "--read-only", "--cap-drop=ALL", greet
    ) as it:
        it.until(lambda: first_line(port) == "greet 1.2.3 as 10001, process 1\n")
        assert it.stop() == 0
        assert "signal 15, leaving" in it.output


def first_line(port: int) -> str:
    """What a TCP server says first."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return connection.makefile().readline()


def test_a_changed_source_is_compiled_with_the_same_tools(
    world: World, greet: str, tmp_path: Path
) -> None:
    context = copied("c", tmp_path)
    source = context / "src/greet.c"
    text = source.read_text().replace('"greet " VERSION', '"greeter " VERSION')
    # Compiled before, in a first try of this test, it would not be compiled again.
    source.write_text(f"{text}/* {uuid4()} */\n")
    output = world.build("c-changed", "--build-arg", "VERSION=2", context=context)
    done = steps(output, cached=False)
    assert not any("apt-get" in step or step.startswith("ADD") for step in done)
    assert world.lading("run", "--rm", "c-changed", "--version").stdout == "greeter 2\n"
    tested = world.build("c-test", "--target", "test", context=context)
    assert "RUN test" in " ".join(steps(tested, cached=False))

    source.write_text(source.read_text().replace("stopping;", "stopped;"))
    failed = world.try_build("c-changed", context=context)
    assert failed.returncode == 1
    assert "'stopping' undeclared" in failed.stderr.replace("‘", "'").replace("’", "'")
    assert ">>>" in failed.stderr
    assert world.lading("run", "--rm", "c-changed", "--version").stdout == "greeter 2\n"


# --- a Python service


@pytest.fixture(scope="module")
def service(world: World) -> str:
    world.build("python")
    return "python"


def test_the_python_service_answers_as_its_user(world: World, service: str) -> None:
    port = free_port()
    with world.started("-p", f"127.0.0.1:{port}:9000", "-e", "PORT=9000", service) as server:
        url = f"http://127.0.0.1:{port}"
        server.until(lambda: fetch(f"{url}/health") == "fine\n")
        facts = json.loads(fetch(f"{url}/who"))
        assert facts == {"uid": 10001, "gid": 10001, "cwd": "/srv/app", "python": "3.11"}
        assert fetch(f"{url}/greet?<b>") in {"<p>Hello, &lt;b&gt;\n", "<p>Hello, %3Cb%3E\n"}
        assert server.stop(signal.SIGINT) == 0


def test_what_the_python_build_used_is_not_shipped(world: World, service: str) -> None:
    script = (
        "find /srv/app /tmp /root/.cache /run/secrets -type f 2>/dev/null;"
        "python3 -m pip --version 2>&1;"
        "grep -rl 'BEGIN CERTIFICATE' /opt /etc /run /srv /tmp; true"
    )
    found = world.shell(service, script, "-u", "0").splitlines()
    assert sorted(found[:2]) == ["/srv/app/BUILD", "/srv/app/service.py"]
    assert found[2:] == ["/opt/venv/bin/python3: No module named pip"]


def test_a_changed_module_does_not_install_again(
    world: World, service: str, tmp_path: Path
) -> None:
    context = copied("python", tmp_path)
    module = context / "app/service.py"
    # A second try must not find what the first one built.
    module.write_text(module.read_text().replace("fine", "splendid") + f"# {uuid4()}\n")
    (context / "app/test_service.py").write_text("")
    done = steps(world.build("python-changed", context=context), cached=False)
    assert [step.split()[0] for step in done] == ["COPY", "RUN"]
    assert "splendid" in world.shell("python-changed", "cat service.py")

    module.write_text((copied("python", tmp_path / "same") / "app/service.py").read_text())
    world.build("python-changed", context=context)
    assert world.identity("python-changed") == world.identity(service)


# --- a front end


@pytest.mark.slow
def test_the_front_end_ships_its_bundle_alone(world: World, tmp_path: Path) -> None:
    world.build("node")
    port = free_port()
    with world.started("-p", f"127.0.0.1:{port}:8080", "node") as server:
        url = f"http://127.0.0.1:{port}/"
        server.until(lambda: "<title>front</title>" in fetch(url))
        bundle = re.search(r'src="(main-\w+\.js)"', fetch(url))
        assert bundle is not None
        assert "Shipped by " in fetch(url + bundle[1])
        assert server.stop() == 128 + signal.SIGTERM
    assert world.shell("node", "id -un; ls; which node npm || echo none").splitlines() == [
        "www",
        "index.html",
        bundle[1],
        "none",
    ]
    context = copied("node", tmp_path)
    source = context / "src/title.js"
    # What the bundle says is new in a second try of this test too.
    carried = f"{uuid4().hex[:8]} Carried by"
    source.write_text(source.read_text().replace("Shipped by", carried))
    done = steps(world.build("node-changed", context=context), cached=False)
    assert [step.split()[0] for step in done] == ["COPY", "RUN", "COPY", "WORKDIR"]
    failed = world.try_build("node-test", "--target", "test", context=context)
    assert failed.returncode == 1
    assert f"'{carried} lading'" in failed.stderr
    world.build("node-test", "--target", "test", context=copied("node", tmp_path / "same"))


# --- a database, and a site that uses it


@pytest.fixture(scope="module")
def mariadb(world: World) -> str:
    world.build("mariadb")
    return "mariadb"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("it's a s3cret\n")
    path.chmod(0o444)
    return path


def ask(world: World, *words: str, flags: tuple[str | Path, ...]) -> str:
    """What the mariadb client in a container prints; nothing if it could not connect."""
    command = ("mariadb", "--batch", "--skip-column-names", *words)
    done = world.lading("run", "--rm", *flags, "mariadb", *command, status=None)
    return done.stdout


@pytest.mark.slow
def test_the_database_keeps_its_data_in_its_volume(
    world: World, mariadb: str, password: Path
) -> None:
    port = free_port()
    secret = ("-v", f"{password}:/run/secrets/mariadb-root:ro")
    # A second try needs volumes that the first one left nothing in.
    data, sockets = f"db-data-{uuid4()}", f"db-socket-{uuid4()}"
    volumes = ("-v", f"{data}:/var/lib/mysql", "-v", f"{sockets}:/run/mysqld")
    inside = ("-v", f"{sockets}:/run/mysqld")
    flags = (*secret, *volumes, "-e", "MARIADB_DATABASE=shop", "-p", f"127.0.0.1:{port}:3306")
    with world.started(*flags, mariadb) as server:
        server.until(lambda: ask(world, "-e", "select 1+1", flags=inside) == "2\n")
        table = "create table shop.orders (id int primary key, what varchar(20) not null)"
        assert ask(world, "-e", table, flags=inside) == ""
        row = "insert into shop.orders values (1, '📦 crate'); select count(*) from shop.orders"
        assert ask(world, "-e", row, flags=inside) == "1\n"
        assert server.stop() == 0
        assert "initialising" in server.output
        assert "Shutdown complete" in server.output
    with world.started(*flags, mariadb) as server:
        over_tcp = ("-h127.0.0.1", f"-P{port}", "-uroot", "-pit's a s3cret")
        query = ("--default-character-set=utf8mb4", "-e", "select what, user() from shop.orders")
        answers: list[str] = []

        def answered() -> bool:
            answers.append(ask(world, *over_tcp, *query, flags=("--network", "host")))
            return answers[-1] != ""

        server.until(answered)
        assert answers[-1].startswith("📦 crate\troot@")
        assert server.stop() == 0
        assert "initialising" not in server.output


def install_wordpress(server: Running, url: str) -> None:
    server.until(lambda: "wp-admin/install.php" in fetch(url) or "<form" in fetch(url))
    page = fetch(
        f"{url}wp-admin/install.php?step=2",
        {
            "weblog_title": "Bills of lading",
            "user_name": "captain",
            "admin_password": "k33l-hauling-9",
            "admin_password2": "k33l-hauling-9",
            "admin_email": "captain@example.org",
            "blog_public": "0",
            "language": "",
        },
    )
    assert "Success!" in page


@pytest.mark.slow
def test_wordpress_installs_itself_and_shows_its_theme(
    world: World, mariadb: str, password: Path
) -> None:
    world.build("wordpress")
    sockets = ("-v", f"wp-socket-{uuid4()}:/run/mysqld")
    secret = ("-v", f"{password}:/run/secrets/wordpress-db:ro")
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    grant = (
        "create user wordpress@localhost identified by 'it\\'s a s3cret';"
        "grant all on wordpress.* to wordpress@localhost"
    )
    with (
        world.started(*sockets, "-e", "MARIADB_DATABASE=wordpress", mariadb) as database,
        world.started(*sockets, *secret, "-p", f"127.0.0.1:{port}:80", "wordpress") as site,
    ):
        database.until(lambda: ask(world, "-e", "select 1", flags=sockets) == "1\n")
        assert ask(world, "-e", grant, flags=sockets) == ""
        install_wordpress(site, url)
        front = fetch(url)
        assert "<h1>Bills of lading</h1>" in front
        assert 'class="manifest"' in front
        assert "Hello world!" in front
        assert "Theme Name: Manifest" in fetch(f"{url}wp-content/themes/manifest/style.css")
        assert "Powered by WordPress" in fetch(f"{url}wp-login.php")
        assert site.stop() == 0
        assert database.stop() == 0
