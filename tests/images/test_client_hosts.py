"""Where requests go: schemes, certificates, proxies, retries; and what is said when they do not."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from images.client.errors import (
    HostUnknownError,
    RegistryConnectionError,
    RegistryError,
    Target,
    TlsError,
    error_from_response,
)
from images.client.hosts import bare_host, endpoint, is_listed, is_loopback
from images.client.options import ClientOptions
from images.client.proxy import proxy_for
from images.client.retry import RetryPolicy, retry_after
from images.client.tls import default_directories
from images.errors import InputError
from images.reference import Reference
from tests.images.clientkit import Clock, Keyring, client, nothing_blocks_the_loop, publish, sample  # noqa: F401
from tests.images.test_client_auth import ALICE, Loopback
from tests.simulators.registry import SimulatedRegistry

NAME = "team/app"


def ref(host: str) -> Reference:
    return Reference.parse(f"{host}/{NAME}:1")


# -- endpoints


@pytest.mark.parametrize(
    ("registry", "schemes", "verify"),
    [
        ("localhost:5000", ("http", "https"), False),
        ("127.0.0.1:5000", ("http", "https"), False),
        ("127.9.9.9", ("https", "http"), False),
        ("[::1]", ("https", "http"), False),
        ("[::1]:5000", ("http", "https"), False),
        ("listed.example:5000", ("https", "http"), False),
        ("bare.example:5000", ("https", "http"), False),
        ("10.1.2.3:5000", ("https", "http"), False),
        ("listed.example", ("https",), True),
        ("11.1.2.3", ("https",), True),
        ("localhost.example", ("https",), True),
        ("notlocalhost", ("https",), True),
        ("127.0.0.1.example", ("https",), True),
    ],
)
def test_only_loopback_and_listed_hosts_may_be_plain(
    registry: str, schemes: tuple[str, ...], verify: bool
) -> None:
    listed = ("listed.example:5000", "bare.example", "10.0.0.0/8")
    found = endpoint(registry, insecure=listed)
    assert (found.schemes, found.verify) == (schemes, verify)


def test_an_own_ca_ends_all_leniency() -> None:
    found = endpoint("localhost:5000", has_own_ca=True)
    assert (found.schemes, found.verify) == (("https",), True)


def test_the_hub_is_contacted_at_its_api_host() -> None:
    assert endpoint("docker.io").host == "registry-1.docker.io"


def test_hosts_without_their_port() -> None:
    assert [bare_host(h) for h in ("a", "a:1", "[::1]:1", "[::1]", "::1")] == [
        "a", "a", "::1", "::1", "::1",
    ]  # fmt: skip
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_listed("a.example", ["b.example", "10.0.0.0/8"])


def test_a_bad_insecure_entry_is_refused_when_given() -> None:
    with pytest.raises(InputError, match="neither a host nor"):
        ClientOptions(insecure=frozenset({"10.0.0.0/99"}))


# -- proxies


@pytest.mark.parametrize(
    ("scheme", "host", "port", "environ", "expected"),
    [
        ("https", "r.example", 443, {}, None),
        ("https", "r.example", 443, {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https", "r.example", 443, {"https_proxy": "p:1"}, "http://p:1"),
        ("https", "r.example", 443, {"HTTP_PROXY": "http://p:1"}, None),
        ("http", "r.example", 80, {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https", "localhost", 443, {"HTTPS_PROXY": "http://p:1"}, None),
        ("https", "127.0.0.1", 443, {"HTTPS_PROXY": "http://p:1"}, None),
    ],
)
def test_proxies(
    scheme: str, host: str, port: int, environ: dict[str, str], expected: str | None
) -> None:
    assert proxy_for(scheme, host, port, environ) == expected


@pytest.mark.parametrize(
    ("rule", "host", "direct"),
    [
        ("*", "r.example", True),
        ("r.example", "r.example", True),
        ("example", "r.example", True),
        (".example", "r.example", True),
        ("*.example", "r.example", True),
        (".r.example", "r.example", False),
        ("xample", "r.example", False),
        ("R.EXAMPLE", "r.example", True),
        ("r.example:443", "r.example", True),
        ("r.example:444", "r.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "110.1.2.3", False),
        ("fe80::/10", "fe80::1", True),
        ("a.example, r.example", "r.example", True),
        ("", "r.example", False),
    ],
)
def test_no_proxy(rule: str, host: str, direct: bool) -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": rule}
    assert (proxy_for("https", host, 443, environ) is None) == direct


async def test_requests_really_go_through_the_proxy() -> None:
    registry, image = SimulatedRegistry(), sample()
    publish(registry, NAME, image, "1")
    # A plain HTTP proxy sees absolute URLs; the simulator answers them like its own.
    async with registry.serve() as address:
        environ = {"HTTP_PROXY": f"http://{address}", "HTTPS_PROXY": "http://127.0.0.1:1"}
        insecure = frozenset({"plain.example"})
        async with client(environ=environ, insecure=insecure) as it:
            assert await it.resolve(ref("plain.example")) == image.descriptor
    assert registry.requests[-1].headers["Host"] == "plain.example"


async def test_a_proxy_may_want_a_password() -> None:
    registry = SimulatedRegistry()
    publish(registry, NAME, sample(), "1")
    async with registry.serve() as address:
        environ = {"HTTP_PROXY": f"http://alice:s3cret@{address}"}
        async with client(environ=environ, insecure=frozenset({"plain.example"})) as it:
            await it.resolve(ref("plain.example"))
    assert registry.requests[-1].headers["Proxy-Authorization"] == "Basic YWxpY2U6czNjcmV0"


# -- retries


def test_backoff_doubles_up_to_its_ceiling() -> None:
    policy = RetryPolicy(attempts=9, first=1.0, ceiling=8.0)
    assert [policy.delay(n, 1.0) for n in range(1, 7)] == [1, 2, 4, 8, 8, 8]
    assert policy.delay(3, 0.0) == 2


def test_waiting_honours_the_server_within_our_patience() -> None:
    policy = RetryPolicy(attempts=3, first=1.0, patience=60.0)
    assert policy.wait(1, 1.0, None) == 1.0
    assert policy.wait(1, 1.0, 30.0) == 30.0
    assert policy.wait(1, 1.0, 61.0) is None
    assert policy.wait(3, 1.0, None) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        (" 5 ", 5.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, 999999999.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, 10.0) == seconds


# -- errors


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"errors":null}',
        b'{"errors":[7]}',
        b"<html>nginx</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"errors":[{"code":{"a":1},"message":["x"]}]}',
    ],
)
@pytest.mark.parametrize("status", [401, 403, 404, 418, 429, 500])
def test_any_answer_makes_a_readable_error(body: bytes, status: int) -> None:
    target = Target("r.example", "r.example/x:1", "manifest")
    error = error_from_response(target, status, body, credentials_sent=False)
    assert isinstance(error, RegistryError)
    assert str(status) in error.what
    assert error.where == "r.example/x:1"
    assert error.what.isprintable()


async def test_an_unknown_host_is_named() -> None:
    class Nothing(Loopback):
        async def resolve(
            self, host: str, port: int = 0, family: int = 0
        ) -> list[dict[str, object]]:
            raise OSError(-2, "Name or service not known")

    clock = Clock()
    async with client(clock, resolver=Nothing()) as it:
        with pytest.raises(HostUnknownError) as caught:
            await it.resolve(ref("nowhere.example"))
    assert "nowhere.example" in caught.value.what
    assert "spelling" in str(caught.value.fix)
    assert clock.slept == []


async def test_nobody_listening() -> None:
    clock = Clock()
    # Whose port it is does not listen, and nobody else gets it meanwhile.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with client(clock) as it:
            with pytest.raises(RegistryConnectionError, match="Connection refused"):
                await it.resolve(ref(f"127.0.0.1:{held.getsockname()[1]}"))
    assert clock.slept == []  # nobody waits for a typing error


async def test_a_registry_that_restarts_is_waited_for() -> None:
    registry, image, clock = SimulatedRegistry(), sample(), Clock()
    publish(registry, NAME, image, "1")
    async with client(clock) as it:
        async with registry.serve() as host:
            await it.resolve(ref(host))
        # Nobody else may listen there meanwhile.
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", int(host.rpartition(":")[2])))
            with pytest.raises(RegistryConnectionError):
                await it.resolve(ref(host))
    assert len(clock.slept) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b[2Jnot http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000,
        b"HTTP/1.1 307 x\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 307 x\r\nLocation: http://a:99999/\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 401 x\r\nWWW-Authenticate: Bearer realm="::"\r\nContent-Length: 0\r\n\r\n',
        b"HTTP/1.1 401 x\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 x\r\nDocker-Content-Digest: sha256:zz\r\nContent-Length: 2\r\n\r\n{}",
        b"",
    ],
)
async def test_servers_that_do_not_speak_http_well(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) != b"\x16":  # the TLS hello of the first try
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = f"plain.example:{server.sockets[0].getsockname()[1]}"
    options = {"resolver": Loopback(), "insecure": frozenset({"plain.example"})}
    async with server, client(**options) as it:
        with pytest.raises(RegistryError) as caught:
            await it.manifest(ref(host))
    assert str(caught.value).isprintable()


# -- TLS


class Authority:
    """A certificate authority for tests, and certificates by it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        certificate = self._sign(self._name, self._key, [], authority=True)
        self.path = folder / "ca.crt"
        self.path.write_bytes(certificate)

    def issue(self, *names: str) -> tuple[Path, Path]:
        """A certificate for ``names`` and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate, private = self._folder / "leaf.cert", self._folder / "leaf.key"
        certificate.write_bytes(self._sign(subject, key, list(names), authority=False))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names))
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: list[str],
        *,
        authority: bool,
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            found: list[x509.GeneralName] = [
                x509.IPAddress(ipaddress.ip_address(name))
                if name[0].isdigit()
                else x509.DNSName(name)
                for name in names
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_an_unknown_authority_is_refused_and_the_fix_named(authority: Authority) -> None:
    registry = SimulatedRegistry()
    async with registry.serve(authority.server("r.example")) as address:
        host = f"r.example:{address.rpartition(':')[2]}"
        async with client(resolver=Loopback()) as it:
            with pytest.raises(TlsError, match="not trusted") as caught:
                await it.resolve(ref(host))
        assert f"/etc/docker/certs.d/{host}/ca.crt" in str(caught.value.fix)
    assert registry.requests == []


async def test_a_ca_in_certs_d_is_trusted_for_its_host_alone(
    authority: Authority, tmp_path: Path
) -> None:
    registry, image = SimulatedRegistry(), sample()
    publish(registry, NAME, image, "1")
    async with registry.serve(authority.server("r.example", "s.example")) as address:
        port = address.rpartition(":")[2]
        folder = tmp_path / "certs.d" / f"r.example:{port}"
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.path.read_bytes())
        async with client(resolver=Loopback(), certificate_dirs=(folder.parent,)) as it:
            assert await it.resolve(ref(f"r.example:{port}")) == image.descriptor
            with pytest.raises(TlsError):
                await it.resolve(ref(f"s.example:{port}"))


async def test_a_certificate_for_another_name_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    registry = SimulatedRegistry()
    async with registry.serve(authority.server("other.example")) as address:
        host = f"r.example:{address.rpartition(':')[2]}"
        folder = tmp_path / "certs.d" / host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.path.read_bytes())
        async with client(resolver=Loopback(), certificate_dirs=(folder.parent,)) as it:
            with pytest.raises(TlsError, match=r"other\.example|mismatch"):
                await it.resolve(ref(host))


async def test_a_client_certificate_is_shown(authority: Authority, tmp_path: Path) -> None:
    registry, image = SimulatedRegistry(), sample()
    publish(registry, NAME, image, "1")
    tls = authority.server("r.example")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.path)
    async with registry.serve(tls) as address:
        host = f"r.example:{address.rpartition(':')[2]}"
        folder = tmp_path / "certs.d" / host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.path.read_bytes())
        certificate, key = authority.issue("client")
        (folder / "client.cert").write_bytes(certificate.read_bytes())
        options = {"resolver": Loopback(), "certificate_dirs": (folder.parent,)}
        async with client(**options) as it:
            with pytest.raises(TlsError, match="cannot use this certificate"):
                await it.resolve(ref(host))  # the key is missing
        (folder / "client.key").write_bytes(key.read_bytes())
        async with client(**options) as it:
            assert await it.resolve(ref(host)) == image.descriptor


async def test_loopback_takes_any_certificate_as_docker_does(authority: Authority) -> None:
    registry, image = SimulatedRegistry(), sample()
    publish(registry, NAME, image, "1")
    async with registry.serve(authority.server("other.example")) as host, client() as it:
        assert await it.resolve(ref(host)) == image.descriptor


@pytest.mark.parametrize(
    "said",
    ["400 Bad Request", "301 Moved\r\nLocation: https://127.0.0.1/", None],
    ids=["go", "redirected", "hangs up"],
)
async def test_a_port_of_tls_gets_no_credentials_in_plain_text(
    authority: Authority, said: str | None
) -> None:
    registry, image, heard = SimulatedRegistry(auth="basic"), sample(), []
    registry.users["alice"] = "s3cret"
    publish(registry, NAME, image, "1")
    async with registry.serve(authority.server("other.example")) as behind:

        async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            first = await reader.read(4096)
            if first[:1] == b"\x16":  # a record of a TLS handshake
                await relay(first, (reader, writer), int(behind.rpartition(":")[2]))
                return
            heard.append(first)
            if said is not None:
                writer.write(f"HTTP/1.0 {said}\r\n\r\n".encode())
            writer.close()

        async with await asyncio.start_server(front, "127.0.0.1", 0) as server:
            host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with client(credentials=Keyring({host: ALICE})) as it:
                assert await it.resolve(ref(host)) == image.descriptor
    assert heard
    assert all(question.startswith(b"GET /v2/ ") for question in heard)
    assert not any(b"authorization" in question.lower() for question in heard)
    assert "Authorization" in registry.requests[-1].headers


async def relay(
    first: bytes, near: tuple[asyncio.StreamReader, asyncio.StreamWriter], port: int
) -> None:
    """Both ways between a connection, of which ``first`` was read, and a port."""
    far = await asyncio.open_connection("127.0.0.1", port)
    far[1].write(first)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    await asyncio.gather(copy(near[0], far[1]), copy(far[0], near[1]))


async def test_a_token_server_on_loopback_is_treated_as_its_registry(
    authority: Authority,
) -> None:
    registry, image = SimulatedRegistry(auth="bearer", anonymous_pull=True), sample()
    publish(registry, NAME, image, "1")
    async with registry.serve(authority.server("other.example")) as host, client() as it:
        assert await it.resolve(ref(host)) == image.descriptor
    assert registry.seen("GET", "/token")


async def test_a_plain_registry_that_is_not_listed_is_not_spoken_to() -> None:
    registry = SimulatedRegistry()
    async with registry.serve() as address:
        host = f"r.example:{address.rpartition(':')[2]}"
        async with client(resolver=Loopback()) as it:
            with pytest.raises(TlsError) as caught:
                await it.resolve(ref(host))
    assert f"--insecure-registry {host}" in str(caught.value.fix)
    assert registry.requests == []


def test_certificate_folders(tmp_path: Path) -> None:
    environ = {"HOME": "/home/a"}
    assert default_directories(environ, superuser=True) == (
        Path("/etc/containers/certs.d"),
        Path("/etc/docker/certs.d"),
    )
    personal = default_directories({**environ, "XDG_CONFIG_HOME": "/c"}, superuser=False)
    assert personal[:2] == (Path("/c/containers/certs.d"), Path("/c/docker/certs.d"))


def test_errors_and_events_import_without_the_http_stack() -> None:
    import subprocess
    import sys

    code = (
        "import sys, images.client, images.client.errors, images.client.progress,"
        "images.credentials, images.archive;"
        "print([m for m in ('aiohttp','asyncio','tarfile','tarsafe','subprocess','ssl')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
