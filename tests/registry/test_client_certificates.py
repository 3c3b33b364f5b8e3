"""Whom client certificates name, in a registry that really shakes hands."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from registry.access.certificates.clients import ClientCertificates
from registry.access.certificates.settings import CertificateField, CertificateSettings
from registry.access.denials import deny
from registry.access.jwt import TokenError
from registry.config import RegistryConfig
from registry.errors import RegistryConfigError
from registry.settings import ClientAuth, TlsSettings
from tests.registry.access_kit import basic, users_file
from tests.registry.service_kit import service
from tests.registry.tls_kit import HOUR, Authority, Pair
from tests.waiting import eventually

_SHA256 = hashes.SHA256()
ELSEWHERE = "192.0.2.77"
"""An address of no loopback network, for docker, which shows certificates to no loopback one."""

SPIFFE = "spiffe://example.org/ns/{ns}/sa/{sa}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def config(authority: Authority, auth: str = "optional", crl: Path | None = None) -> str:
    server = authority.server(ELSEWHERE)
    listed = "" if crl is None else f'client_crl = "{crl}"\n'
    return f"""
[tls]
cert = "{server.cert_file}"
key = "{server.key_file}"
client_auth = "{auth}"
client_ca = "{authority.file}"
{listed}
[access]
htpasswd = "{users_file(authority.folder / "users", "ada")}"
[access.audit]
path = "{authority.folder / "audit.log"}"
[[access.certificate]]
name = "work"
field = "uri"
pattern = "{SPIFFE}"
user = "{{ns}}-{{sa}}"
groups = ["ns-{{ns}}"]
[[access.certificate]]
name = "machines"
field = "cn"
unit_groups = true
[[access.rules]]
repositories = ["apps/**"]
actions = ["pull", "push"]
groups = ["work/ns-ci", "machines/builders"]
[[access.rules]]
repositories = ["own/**"]
actions = ["pull"]
users = ["ada"]
outside = ["machines/host1"]
[[access.rules]]
repositories = ["open/**"]
actions = ["pull"]
anonymous = true
"""


def context_of(authority: Authority, pair: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if pair is not None:
        context.load_cert_chain(pair.cert_file, pair.key_file)
    return context


def ask(
    authority: Authority,
    port: int,
    pair: Pair | None,
    path: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> tuple[int, Any]:
    """A request on a connection of its own: status and body."""
    context = context_of(authority, pair)
    connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def serving(folder: Path, text: str, **options: Any) -> Iterator[Any]:
    with service(folder, text, scheme="https", **options) as running:
        yield running


TAGS = "/v2/{}/tags/list"


def status(authority: Authority, port: int, pair: Pair | None, name: str, **headers: str) -> int:
    return ask(authority, port, pair, TAGS.format(name), headers)[0]


def test_names_and_groups_of_certificates(authority: Authority, tmp_path: Path) -> None:
    uri = x509.UniformResourceIdentifier("spiffe://example.org/ns/ci/sa/build")
    work = authority.issue("ignored", names=[uri])
    builder = authority.issue("host7", units=["builders", "others"])
    host = authority.issue("host1")
    # Not revoked by anybody, and not named by any rule: it is nobody in particular.
    elsewhere = authority.issue("", units=["builders"])
    with serving(tmp_path, config(authority)) as running:
        port = running.port
        for pair, name, expected in (
            (work, "apps/a", 404),
            (builder, "apps/a", 404),
            (host, "apps/a", 403),
            (host, "own/a", 404),
            (work, "own/a", 403),
            (None, "own/a", 401),
            (None, "open/a", 404),
            (elsewhere, "open/a", 404),
        ):
            assert status(authority, port, pair, name) == expected, (pair, name)
        assert ask(authority, port, host, "/v2/")[0] == 200, "clients need no token"
        assert ask(authority, port, None, "/v2/")[0] == 401
        # Who says who it is by a password is that, and the certificate is only the way in.
        ada = basic("ada")
        assert status(authority, port, host, "own/a", **ada) == 404
        assert status(authority, port, builder, "own/a", **ada) == 404
        assert status(authority, port, builder, "apps/a", **ada) == 403
        wrong = basic("ada", "wrong")
        assert status(authority, port, host, "own/a", **wrong) == 401
        page = ask(authority, port, host, "/web/usage")
        assert page[0] == 200
        assert b"machines/host1" in page[1]
        elsewhere_led = {"Sec-Fetch-Site": "cross-site"}
        assert status(authority, port, host, "own/a", **elsewhere_led) == 401
        put = ask(authority, port, work, "/v2/apps/a/blobs/uploads/", method="POST")
        assert put[0] == 202
        upload = ask(authority, port, host, "/v2/apps/a/blobs/uploads/", method="POST")
        assert upload[0] == 403
    log = (authority.folder / "audit.log").read_text()
    (refused,) = [event for event in map(json.loads, log.splitlines()) if event["event"] == "push"]
    assert refused["who"] == "outside:machines/host1"
    assert refused["by"] == "certificate"
    assert refused["certificate"] == host.certificate.fingerprint(_SHA256).hex()


def test_a_token_goes_with_its_certificate(authority: Authority, tmp_path: Path) -> None:
    host, other = authority.issue("host1"), authority.issue("host2")
    scope = "/auth/token?service=lading&scope=repository:own/a:pull,push"
    with serving(tmp_path, config(authority)) as running:
        port = running.port
        code, body = ask(authority, port, host, scope + "&offline_token=true")
        assert code == 200
        answer = json.loads(body)
        assert "refresh_token" not in answer
        claims = json.loads(base64.urlsafe_b64decode(answer["token"].split(".")[1] + "=="))
        assert claims["sub"] == "outside:machines/host1"
        assert claims["access"] == [{"type": "repository", "name": "own/a", "actions": ["pull"]}]
        token = {"Authorization": f"Bearer {answer['token']}"}
        assert status(authority, port, host, "own/a", **token) == 404
        for thief in (other, None):
            code, body = ask(authority, port, thief, TAGS.format("own/a"), token)
            assert code == 401
            assert b"another client certificate" in body
        # A password's token is bound to no certificate.
        code, body = ask(authority, port, host, scope, basic("ada"))
        token = {"Authorization": f"Bearer {json.loads(body)['token']}"}
        assert status(authority, port, None, "own/a", **token) == 404


def test_revocation_counts_for_open_connections(authority: Authority, tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    good, bad = authority.issue("host1"), authority.issue("host1")
    authority.revoke(crl)
    with serving(tmp_path, config(authority, crl=crl)) as running:
        kept = http.client.HTTPSConnection(
            "localhost", running.port, timeout=30, context=context_of(authority, bad)
        )

        def still(expected: int) -> bool:
            kept.request("GET", TAGS.format("own/a"))
            response = kept.getresponse()
            body = response.read()
            return response.status == expected and (expected != 403 or b"was revoked" in body)

        assert still(404)
        socket = kept.sock
        authority.revoke(crl, bad)
        eventually(lambda: still(403), 30)
        assert kept.sock is socket, "the very same connection"
        kept.close()
        for path in ("/auth/token?scope=repository:own/a:pull", "/web/usage", "/v2/"):
            assert ask(authority, running.port, bad, path)[0] == 403, path
        assert status(authority, running.port, bad, "own/a", **basic("ada")) == 403
        assert status(authority, running.port, good, "own/a") == 404
        crl.write_text("damaged")
        running.signal(signal.SIGHUP)
        eventually(lambda: "no list of revoked" in running.logged(), 30)
        assert status(authority, running.port, bad, "own/a") == 403
        authority.revoke(crl, ends=-HOUR)
        eventually(lambda: status(authority, running.port, good, "own/a") == 403, 30)


def test_authorities_come_and_go_by_sighup(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "Another Authority")
    host, guest = authority.issue("host1"), other.issue("host1")
    text = config(authority)
    both = tmp_path / "both.pem"
    both.write_bytes(authority.file.read_bytes())
    text = text.replace(f'client_ca = "{authority.file}"', f'client_ca = "{both}"')
    with serving(tmp_path, text) as running:
        kept = http.client.HTTPSConnection(
            "localhost", running.port, timeout=30, context=context_of(authority, host)
        )
        kept.request("GET", TAGS.format("own/a"))
        assert kept.getresponse().read()
        with pytest.raises((ssl.SSLError, OSError)):
            status(authority, running.port, guest, "own/a")
        both.write_bytes(other.file.read_bytes())
        running.signal(signal.SIGHUP)

        def taken() -> bool:
            try:
                return status(authority, running.port, guest, "own/a") == 404
            except (ssl.SSLError, OSError):
                return False

        eventually(taken, 60)

        def out() -> bool:
            kept.request("GET", TAGS.format("own/a"))
            response = kept.getresponse()
            return b"not among tls.client_ca" in response.read()

        eventually(out, 60)
        kept.close()


def test_required_and_optional(authority: Authority, tmp_path: Path) -> None:
    host = authority.issue("host1")
    stranger = Authority(tmp_path / "stranger", "Test Authority").issue("host1")
    late = authority.issue("host1", ends=-HOUR)
    wrong_use = authority.issue("host1", server=True)
    with serving(tmp_path, config(authority, "required")) as running:
        assert status(authority, running.port, host, "own/a") == 404
        for pair in (None, stranger, late, wrong_use):
            with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
                status(authority, running.port, pair, "own/a")
        (tmp_path / "registry.toml").write_text(
            (tmp_path / "registry.toml").read_text().replace('"required"', '"optional"')
        )
        running.signal(signal.SIGHUP)

        def open_again() -> bool:
            try:
                return status(authority, running.port, None, "open/a") == 404
            except (ssl.SSLError, OSError, http.client.HTTPException):
                return False

        eventually(open_again, 60)
        deny(tmp_path / "store" / "access" / "denied", "outside:machines/host1")
        eventually(lambda: status(authority, running.port, host, "own/a") == 403, 30)


def test_a_header_is_no_certificate(authority: Authority, tmp_path: Path) -> None:
    """A proxy that ends TLS cannot pass certificates on; nobody can pretend that one did."""
    host = authority.issue("host1")
    pem = host.cert_file.read_text().replace("\n", "%0A")
    headers = {
        "X-Forwarded-Client-Cert": f'Cert="{pem}"',
        "X-SSL-Client-Cert": pem,
        "Client-Cert": f":{base64.b64encode(b'x').decode()}:",
        "X-SSL-Client-S-DN": "CN=host1",
    }
    text = config(authority).replace("[access]", '[access]\ntrusted_proxies = ["127.0.0.0/8"]')
    with serving(tmp_path, text) as running:
        assert status(authority, running.port, None, "own/a", **headers) == 401


def judged(rules: list[CertificateSettings], authority: Authority, pair: Pair) -> str:
    certificates = ClientCertificates.load(
        rules, authorities=authority.file, crl=None, required=False
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    now = pair.certificate.not_valid_before_utc.timestamp() + 1
    try:
        shown = certificates.judge(pair.certificate.public_bytes(Encoding.DER), now=now)
    except TokenError as error:
        return str(error)
    return f"{shown.identity} {' '.join(shown.identity.groups) if shown.identity else ''}".strip()


def rule(field: str, pattern: str | None = None, **more: Any) -> CertificateSettings:
    return CertificateSettings("m", CertificateField(field), pattern, **more)


def test_rules_in_order(authority: Authority) -> None:
    email = x509.RFC822Name("ada@example.org")
    dns = x509.DNSName("build.example.org")
    uri = x509.UniformResourceIdentifier("spiffe://example.org/ns/a/sa/b")
    pair = authority.issue("ada", names=[email, dns, uri], units=["dev"])
    for rules, expected in (
        ([rule("cn")], "outside:m/ada"),
        ([rule("cn", unit_groups=True)], "outside:m/ada m/dev"),
        ([rule("email", "{who}@example.org", user="{who}")], "outside:m/ada"),
        ([rule("email", "{who}@example.com", user="{who}")], "None"),
        ([rule("dns", "{host}.example.org")], "outside:m/build.example.org"),
        ([rule("uri", SPIFFE, user="{sa}", groups=("n-{ns}",))], "outside:m/b m/n-a"),
        ([rule("dns", "x"), rule("cn")], "outside:m/ada"),
        ([], "None"),
    ):
        assert judged(rules, authority, pair) == expected


def test_names_that_could_be_two_are_nobody(authority: Authority) -> None:
    urls = [x509.UniformResourceIdentifier(f"spiffe://example.org/ns/{n}/sa/s") for n in "ab"]
    assert "more than one" in judged(
        [rule("uri", SPIFFE)], authority, authority.issue("x", names=urls)
    )
    twice = authority.issue("ada", also=["root"])
    assert "more than one" in judged([rule("cn")], authority, twice)
    assert "cannot be shown" in judged([rule("cn")], authority, authority.issue(" ada"))
    assert "cannot be shown" in judged([rule("cn")], authority, authority.issue("a\nb"))
    deep = x509.UniformResourceIdentifier("spiffe://example.org/ns/a/b/sa/s")
    pair = authority.issue("x", names=[deep])
    assert judged([rule("uri", SPIFFE)], authority, pair) == "None"


def test_intermediate_authorities_have_to_be_there(authority: Authority, tmp_path: Path) -> None:
    below = Authority(tmp_path / "below", "Below", by=authority)
    pair = below.issue("ada")
    assert "intermediate" in judged([rule("cn")], authority, pair)
    authority.file.write_bytes(authority.file.read_bytes() + below.file.read_bytes())
    assert judged([rule("cn")], authority, pair) == "outside:m/ada"


def test_settings_that_make_no_sense(authority: Authority, tmp_path: Path) -> None:
    for fields in (
        {"name": "a/b"},
        {"pattern": ""},
        {"pattern": "{a}{a}"},
        {"pattern": "{value}"},
        {"pattern": "{A B}"},
        {"user": "same"},
        {"user": "{missing}"},
        {"groups": ("{missing}",)},
    ):
        with pytest.raises(RegistryConfigError):
            CertificateSettings(**{"name": "m", "field": CertificateField.CN, **fields})
    server = authority.server()
    pair = {"cert": server.cert_file, "key": server.key_file}
    for fields in (
        {"client_auth": ClientAuth.OPTIONAL},
        {**pair, "client_auth": ClientAuth.REQUIRED},
        {"client_auth": ClientAuth.REQUIRED, "client_ca": authority.file},
        {**pair, "client_ca": authority.file},
        {**pair, "client_crl": authority.file},
    ):
        with pytest.raises(RegistryConfigError):
            TlsSettings(**fields)
    from registry.access.settings import AccessSettings

    with pytest.raises(RegistryConfigError, match="no client is asked"):
        RegistryConfig(root=tmp_path, access=AccessSettings(certificate=(rule("cn"),)))


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"", b"nothing", authority.issue("x").key_file.read_bytes()):
        file.write_bytes(content)
        with pytest.raises(RegistryConfigError):
            ClientCertificates.load([], authorities=file, crl=None, required=False)
        with pytest.raises(RegistryConfigError):
            ClientCertificates.load([], authorities=authority.file, crl=file, required=False)
    Authority(tmp_path / "else", "Test Authority").revoke(file)
    with pytest.raises(RegistryConfigError, match="not in tls"):
        ClientCertificates.load([], authorities=authority.file, crl=file, required=False)
