"""Who sent a request: addresses behind proxies, hosts, and throttling by them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp.test_utils import make_mocked_request

from registry.access.caller import Callers, RequestCaller
from registry.access.settings import AccessSettings
from registry.access.shared import SharedPairs
from registry.access.throttle import GuessDelay, TokenBucket, network_of
from registry.errors import RegistryConfigError


def caller(
    settings: AccessSettings, headers: Mapping[str, str], *, peer: str = "10.0.0.1"
) -> RequestCaller:
    request = make_mocked_request("GET", "/v2/", headers=headers)
    callers = Callers(settings, scheme="http", authority="127.0.0.1:5000")
    return callers.of(request.clone(remote=peer))


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ((), "10.0.0.1", "192.0.2.7", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "192.0.2.7", "192.0.2.7"),
        (("10.0.0.0/8",), "192.0.2.1", "192.0.2.7", "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        (("10.0.0.0/8",), "10.0.0.1", "192.0.2.7, 10.1.1.1", "192.0.2.7"),
        (("10.0.0.0/8",), "10.0.0.1", "10.2.2.2, 10.1.1.1", "10.2.2.2"),
        (("10.0.0.0/8",), "10.0.0.1", "garbage", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "192.0.2.7, garbage, 10.1.1.1", "10.1.1.1"),
        (("10.0.0.0/8",), "10.0.0.1", "", "10.0.0.1"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        (("10.0.0.1",), "10.0.0.1", "1.1.1.1," * 5000 + "192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_address_is_the_last_one_that_can_be_believed(
    proxies: tuple[str, ...], peer: str, forwarded: str, address: str
) -> None:
    settings = AccessSettings(trusted_proxies=proxies)
    assert caller(settings, {"X-Forwarded-For": forwarded}, peer=peer).address == address


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("registry.example.com", "http://registry.example.com"),
        ("localhost:5000", "http://localhost:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ('x"y', "http://127.0.0.1:5000"),
        ("a/b", "http://127.0.0.1:5000"),
        ("a:b", "http://127.0.0.1:5000"),
        ("user@evil", "http://127.0.0.1:5000"),
        ("", "http://127.0.0.1:5000"),
        ("h" * 300, "http://127.0.0.1:5000"),
    ],
)
def test_a_challenge_repeats_no_nonsense(host: str, origin: str) -> None:
    found = caller(AccessSettings(), {"Host": host})
    assert found.origin == origin
    assert found.hosts == (origin.removeprefix("http://"),)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("registry.example.org", "registry.example.org"),
        ("REGISTRY.svc:5000", "REGISTRY.svc:5000"),
        ("evil.example", "registry.example.org"),
        ("registry.svc", "registry.example.org"),
        ('x"y', "registry.example.org"),
        ("", "registry.example.org"),
    ],
)
def test_a_challenge_names_no_host_but_those_that_are_served(host: str, named: str) -> None:
    settings = AccessSettings(served_hosts=("registry.example.org", "Registry.svc:5000"))
    assert caller(settings, {"Host": host}).origin == f"http://{named}"
    with pytest.raises(RegistryConfigError) as refused:
        AccessSettings(served_hosts=("https://registry.example.org",))
    assert refused.value.where == "served_hosts"


def test_a_proxy_says_how_it_is_reached() -> None:
    headers = {"Host": "r.example", "X-Forwarded-Proto": "https"}
    assert caller(AccessSettings(), headers).origin == "http://r.example"
    trusting = AccessSettings(trusted_proxies=("10.0.0.1",))
    assert caller(trusting, headers).origin == "https://r.example"
    odd = {**headers, "X-Forwarded-Proto": 'https"'}
    assert caller(trusting, odd).origin == "http://r.example"
    named = AccessSettings(public_url="https://r.example", host_names=("r.example", "r:443"))
    assert caller(named, {"Host": "10.0.0.9"}).origin == "https://r.example"
    assert caller(named, {"Host": "10.0.0.9"}).hosts == ("r.example", "r:443")


def test_one_client_is_an_address_or_a_network() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("x:y") == "x:y"


def test_delays_grow_end_and_are_forgotten() -> None:
    now = 0.0
    delay = GuessDelay(SharedPairs(8192), clock=lambda: now)
    waits = []
    for _ in range(14):
        waits.append(delay.wait("ada", "192.0.2.1"))
        delay.begun("ada", "192.0.2.1")
    assert waits == [0.0] * 5 + [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert delay.wait("bob", "192.0.2.1") == 0
    assert delay.wait("ada", "192.0.2.2") == 0
    now = 31.0
    assert delay.wait("ada", "192.0.2.1") == 0
    now = 1000.0
    delay.begun("ada", "192.0.2.1")
    assert delay.wait("ada", "192.0.2.1") == 0, "after a while one begins anew"


def test_trying_many_accounts_makes_wait_as_well() -> None:
    delay = GuessDelay(SharedPairs(8192), clock=lambda: 0.0)
    for number in range(50):
        assert delay.wait(f"user{number}", "192.0.2.1") == 0
        delay.begun(f"user{number}", "192.0.2.1")
    assert delay.wait("another", "192.0.2.1") > 0


def test_who_gets_in_makes_nobody_wait() -> None:
    """However many log in from one address, and however often a few of them mistype."""
    now = 0.0
    delay = GuessDelay(SharedPairs(8192), clock=lambda: now)
    for number in range(1000):
        now += 40.0
        assert delay.wait(f"user{number}", "192.0.2.1") == 0
        for attempt in range(2 if number % 3 == 0 else 1):
            delay.begun(f"user{number}", "192.0.2.1")
            if attempt or number % 3:
                delay.succeeded(f"user{number}", "192.0.2.1")


def test_memory_is_bounded() -> None:
    delay = GuessDelay(SharedPairs(80), clock=lambda: 0.0)
    bucket = TokenBucket(SharedPairs(80), 1.0, 1.0, clock=lambda: 0.0)
    for number in range(1000):
        delay.begun("ada", f"192.0.{number // 256}.{number % 256}")
        bucket.take(str(number))
    assert len(delay._failures) == len(bucket._levels) == 80
