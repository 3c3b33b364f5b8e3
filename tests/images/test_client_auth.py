"""Who gets our credentials: the registry, its token server, and nobody else."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from images.client.challenge import Challenge, parse_challenges
from images.client.errors import (
    DeniedError,
    ProtocolError,
    RegistryConnectionError,
    RegistryUnavailableError,
    UnauthorizedError,
    UnsafeHopError,
)
from images.client.hosts import check_hop
from images.client.url import Url
from images.credentials import Credentials
from images.reference import Reference
from tests.images.clientkit import (
    Clock,
    Keyring,
    SmallStore,
    client,
    keep,
    nothing_blocks_the_loop,  # noqa: F401
    publish,
    sample,
)
from tests.simulators.registry import Recorded, SimulatedRegistry

NAME = "team/app"
ALICE = Credentials("alice", "s3cret")


def protected(auth: str) -> SimulatedRegistry:
    return SimulatedRegistry(auth=auth, users={"alice": "s3cret"})


def ref(host: str, rest: str = ":1") -> Reference:
    return Reference.parse(f"{host}/{NAME}{rest}")


@pytest.fixture
def store(tmp_path: Path) -> SmallStore:
    return SmallStore.at(tmp_path)


@asynccontextmanager
async def two(
    registry: SimulatedRegistry, other: SimulatedRegistry
) -> AsyncIterator[tuple[str, str]]:
    async with registry.serve() as host, other.serve() as elsewhere:
        yield host, elsewhere


def passwords(requests: list[Recorded]) -> list[Recorded]:
    secret = base64.b64encode(b"alice:s3cret").decode()
    return [
        r
        for r in requests
        if secret in (r.authorization or "") or b"s3cret" in r.body or "s3cret" in r.query
    ]


# -- challenges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("Basic", [Challenge("basic", {})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (
            'bearer realm = "a\\"b" , error=insufficient_scope, Basic realm="y"',
            [
                Challenge("bearer", {"realm": 'a"b', "error": "insufficient_scope"}),
                Challenge("basic", {"realm": "y"}),
            ],
        ),
        (
            "Negotiate, Basic realm=z",
            [Challenge("negotiate", {}), Challenge("basic", {"realm": "z"})],
        ),
        ("", []),
        ('="', []),
    ],
)
def test_challenges_are_parsed(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges([header]) == expected


# -- the ways in


async def test_basic(store: SmallStore) -> None:
    registry, image = protected("basic"), sample()
    publish(registry, NAME, image, "1")
    async with registry.serve() as host, client(credentials=Keyring({host: ALICE})) as it:
        assert await it.pull(ref(host), store) == image.descriptor
    # Asked once without, then always with.
    assert [r for r in registry.seen("GET", "/v2/team") if r.authorization is None] == [
        registry.seen("GET", "/v2/team")[0]
    ]


async def test_bearer_token_is_fetched_once_and_reused(store: SmallStore) -> None:
    registry, image = protected("bearer"), sample()
    publish(registry, NAME, image, "1")
    async with registry.serve() as host, client(credentials=Keyring({host: ALICE})) as it:
        assert await it.pull(ref(host), store) == image.descriptor
    (token,) = registry.seen("GET", "/token")
    assert "service=simulator" in token.query
    assert "account=alice" in token.query
    assert not [r for r in registry.seen("GET", "/v2/") if "Basic" in (r.authorization or "")]


async def test_anonymous_pull_uses_an_anonymous_token(store: SmallStore) -> None:
    registry, image = protected("bearer"), sample()
    registry.anonymous_pull = True
    publish(registry, NAME, image, "1")
    async with registry.serve() as host, client() as it:
        await it.pull(ref(host), store)
    assert registry.seen("GET", "/token")[0].authorization is None


async def test_an_identity_token_is_exchanged_by_post(store: SmallStore) -> None:
    registry = protected("bearer")
    registry.identity_tokens.add("long-lived")
    publish(registry, NAME, sample(), "1")
    keyring = Keyring()
    async with registry.serve() as host, client(credentials=keyring) as it:
        keyring.known[host] = Credentials(identity_token="long-lived")
        await it.pull(ref(host), store)
    (exchange,) = registry.seen("POST", "/token")
    assert b"grant_type=refresh_token" in exchange.body
    assert registry.seen("GET", "/token") == []


async def test_a_token_server_without_get_is_asked_by_post(store: SmallStore) -> None:
    registry = protected("bearer")
    registry.token_get = False
    publish(registry, NAME, sample(), "1")
    async with registry.serve() as host, client(credentials=Keyring({host: ALICE})) as it:
        await it.pull(ref(host), store)
    assert b"grant_type=password" in registry.seen("POST", "/token")[0].body


async def test_a_ready_registry_token_is_used_as_it_is(store: SmallStore) -> None:
    registry = protected("bearer")
    registry.tokens["given"] = frozenset({f"repository:{NAME}:pull"})
    publish(registry, NAME, sample(), "1")
    async with registry.serve() as host:
        keyring = Keyring({host: Credentials(registry_token="given")})
        async with client(credentials=keyring) as it:
            await it.pull(ref(host), store)
    assert registry.seen("GET", "/token") == []


async def test_an_expired_token_is_replaced_before_use(store: SmallStore) -> None:
    registry, clock = protected("bearer"), Clock()
    publish(registry, NAME, sample(), "1")
    async with registry.serve() as host, client(clock, Keyring({host: ALICE})) as it:
        await it.resolve(ref(host))
        clock.now += registry.token_lifetime
        await it.resolve(ref(host))
    assert len(registry.seen("GET", "/token")) == 2
    assert registry.seen("HEAD")[-1].authorization == "Bearer token-2"


async def test_a_token_revoked_early_is_replaced_after_the_refusal(store: SmallStore) -> None:
    registry = protected("bearer")
    publish(registry, NAME, sample(), "1")
    async with registry.serve() as host, client(credentials=Keyring({host: ALICE})) as it:
        await it.resolve(ref(host))
        registry.tokens.clear()
        await it.resolve(ref(host))


async def test_push_asks_for_push_rights_and_mount_for_the_neighbour(store: SmallStore) -> None:
    registry, image = protected("bearer"), sample()
    publish(registry, "team/base", image)
    async with registry.serve() as host, client(credentials=Keyring({host: ALICE})) as it:
        store.tag(Reference.parse(f"{host}/team/base:1"), keep(store, image))
        await it.push(ref(host), store, image.descriptor)
    queries = [r.query for r in registry.seen("GET", "/token")]
    assert any("scope=repository:team/app:pull,push" in q for q in queries)
    assert any("scope=repository:team/base:pull" in q for q in queries)


# -- refusals


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_no_credentials_says_log_in(auth: str, store: SmallStore) -> None:
    registry = protected(auth)
    publish(registry, NAME, sample(), "1")
    async with registry.serve() as host, client() as it:
        with pytest.raises(UnauthorizedError) as caught:
            await it.pull(ref(host), store)
        assert caught.value.fix == f"lading login {host}"
    assert caught.value.status == 401
    assert len(registry.seen("GET", "/token")) == (auth == "bearer")


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_wrong_credentials_say_so(auth: str, store: SmallStore) -> None:
    registry = protected(auth)
    keyring = Keyring()
    async with registry.serve() as host, client(credentials=keyring) as it:
        keyring.known[host] = Credentials("alice", "wrong")
        with pytest.raises(UnauthorizedError, match="refused the stored credentials"):
            await it.pull(ref(host), store)


async def test_denied_is_not_unauthorized(store: SmallStore) -> None:
    registry = SimulatedRegistry()
    body = b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}'
    registry.fail(path="/manifests/", status=403, body=body)
    async with registry.serve() as host, client() as it:
        with pytest.raises(DeniedError, match="requested access is denied"):
            await it.pull(ref(host), store)


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b"nonsense", b'{"token": ["x"]}', b'{"token":"a\\nb"}']
)
async def test_token_servers_that_talk_nonsense(answer: bytes, store: SmallStore) -> None:
    registry = protected("bearer")
    registry.fail(path="/token", status=200, body=answer)
    async with registry.serve() as host, client() as it:
        with pytest.raises(ProtocolError):
            await it.resolve(ref(host))


async def test_an_endless_token_is_not_read(store: SmallStore) -> None:
    registry = protected("bearer")
    registry.fail(path="/token", append=b"x" * (2 << 20))
    async with registry.serve() as host, client() as it:
        with pytest.raises(ProtocolError, match="limit"):
            await it.resolve(ref(host))


# -- where credentials must not go


@pytest.mark.parametrize(
    ("source", "target", "word"),
    [
        ("https://r.example/", "http://r.example/token", "out of TLS"),
        ("https://r.example/", "http://auth.example/token", "out of TLS"),
        ("https://r.example/", "https://127.0.0.1/token", "into this machine"),
        ("https://r.example/", "https://localhost/token", "into this machine"),
        ("https://r.example/", "https://[::1]/token", "into this machine"),
        ("https://r.example/", "https://[::ffff:127.0.0.1]/x", "into this machine"),
        ("https://r.example/", "https://169.254.169.254/latest/meta-data", "link-local"),
        ("http://r.example/", "http://169.254.169.254/latest", "link-local"),
        ("http://127.0.0.1:5000/", "http://169.254.169.254/latest", "link-local"),
        ("https://r.example/", "https://0.0.0.0/x", "link-local"),
        ("https://r.example/", "file:///etc/passwd", "not an HTTP address"),
        ("https://r.example/", "https:///nohost", "not an HTTP address"),
    ],
)
def test_hops_that_are_refused(source: str, target: str, word: str) -> None:
    with pytest.raises(UnsafeHopError, match=word) as caught:
        check_hop(Url.read(source), Url.read(target), what="a redirect")
    assert "?" not in caught.value.what


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("https://r.example/", "https://cdn.example/blob?signature=x"),
        ("https://r.example/", "https://auth.example/token"),
        ("http://insecure.example/", "http://cdn.example/x"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token"),
        ("http://localhost:5000/", "https://cdn.example/x"),
    ],
)
def test_hops_that_are_followed(source: str, target: str) -> None:
    check_hop(Url.read(source), Url.read(target), what="a redirect")


async def test_authorization_is_stripped_on_the_way_to_another_host(store: SmallStore) -> None:
    registry, cdn, image = protected("basic"), SimulatedRegistry(), sample()
    publish(registry, NAME, image, "1")
    publish(cdn, NAME, image)
    async with two(registry, cdn) as (host, elsewhere):
        registry.fail(path="/blobs/", redirect=f"http://{elsewhere}", times=99)
        async with client(credentials=Keyring({host: ALICE})) as it:
            await it.pull(ref(host), store)
    assert len(cdn.seen("GET", "/blobs/")) == 3
    assert all(r.authorization is None for r in cdn.requests)


async def test_a_challenge_of_the_redirect_target_is_not_answered(store: SmallStore) -> None:
    registry, thief, image = protected("basic"), protected("basic"), sample()
    publish(registry, NAME, image, "1")
    async with two(registry, thief) as (host, elsewhere):
        registry.fail(path="/blobs/", redirect=f"http://{elsewhere}", times=99)
        async with client(credentials=Keyring({host: ALICE, elsewhere: ALICE})) as it:
            with pytest.raises(UnauthorizedError):
                await it.pull(ref(host), store)
    assert passwords(thief.requests) == []


async def test_a_realm_on_another_host_over_plain_http_gets_nothing(store: SmallStore) -> None:
    """The registry is reached over plain HTTP, so anybody could have written that realm."""
    registry, thief = protected("bearer"), protected("bearer")
    publish(registry, NAME, sample(), "1")
    async with two(registry, thief) as (host, elsewhere):
        port, other_port = host.rpartition(":")[2], elsewhere.rpartition(":")[2]
        name = f"plain.example:{port}"
        registry.realm = f"http://thief.example:{other_port}/token"
        keyring = Keyring({name: ALICE})
        options = {"insecure": frozenset({"plain.example"}), "resolver": Loopback()}
        async with client(credentials=keyring, **options) as it:
            with pytest.raises(UnsafeHopError, match="another host"):
                await it.pull(Reference.parse(f"{name}/{NAME}:1"), store)
    assert thief.requests == []
    assert passwords(registry.requests) == []


async def test_a_realm_with_a_user_part_does_not_make_a_header(store: SmallStore) -> None:
    registry = protected("bearer")
    async with registry.serve() as host, client() as it:
        registry.realm = f"http://alice:s3cret@{host}/token"
        with pytest.raises(UnauthorizedError):
            await it.resolve(ref(host))
    assert registry.seen("GET", "/token")[0].authorization is None


async def test_redirects_end(store: SmallStore) -> None:
    registry = SimulatedRegistry()
    async with registry.serve() as host, client() as it:
        registry.fail(method="*", redirect=f"http://{host}", times=99)
        with pytest.raises(ProtocolError, match="redirects"):
            await it.pull(ref(host), store)


async def test_a_token_request_follows_no_redirect(store: SmallStore) -> None:
    registry, thief = protected("bearer"), protected("bearer")
    async with two(registry, thief) as (host, elsewhere):
        registry.fail(path="/token", redirect=f"http://{elsewhere}", times=9)
        async with client(credentials=Keyring({host: ALICE})) as it:
            with pytest.raises(ProtocolError):
                await it.resolve(ref(host))
    assert thief.requests == []


# -- login


async def test_login_returns_a_refresh_token_where_there_is_one() -> None:
    registry = protected("bearer")
    async with registry.serve() as host, client() as it:
        kept = await it.login(host, ALICE)
    assert kept == Credentials("alice", identity_token="refresh-me")


async def test_login_with_basic_returns_the_password() -> None:
    registry = protected("basic")
    async with registry.serve() as host, client() as it:
        assert await it.login(host, ALICE) == ALICE
        with pytest.raises(UnauthorizedError):
            await it.login(host, Credentials("alice", "wrong"))


class Loopback:
    """Resolves every name to this machine, as a DNS attacker or a test would."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": port,
                "family": 2,
                "proto": 0,
                "flags": 0,
            }
        ]

    async def close(self) -> None:
        pass


# -- token servers with bad days


async def test_a_busy_token_server_is_asked_again(store: SmallStore) -> None:
    registry, clock = protected("bearer"), Clock()
    publish(registry, NAME, sample(), "1")
    registry.fail(path="/token", status=503, headers={"Retry-After": "3"})
    registry.fail(path="/token", truncate_at=5)
    async with registry.serve() as host, client(clock, Keyring({host: ALICE})) as it:
        await it.resolve(ref(host))
    assert clock.slept == [3.0, 0.375]


async def test_a_broken_token_server_is_named(store: SmallStore) -> None:
    registry = protected("bearer")
    registry.fail(path="/token", status=500, times=99)
    async with registry.serve() as host, client() as it:
        with pytest.raises(RegistryUnavailableError) as caught:
            await it.resolve(ref(host))
        assert caught.value.where == "token server 127.0.0.1"


async def test_a_token_server_that_hangs_up(store: SmallStore) -> None:
    registry = protected("bearer")
    registry.fail(path="/token", hang_up=True, times=99)
    async with registry.serve() as host, client() as it:
        with pytest.raises(RegistryConnectionError):
            await it.resolve(ref(host))
