"""The authorizer: passwords remembered and forgotten, files read again, refusals alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import bcrypt
import pytest

from registry.access.control import AccessControl
from registry.access.identity import Kind
from registry.access.passwords import remove_user, set_password
from registry.access.robots import create_robot, parse_permission
from registry.access.settings import RateSettings
from registry.access.snapshot import Places, take_snapshot
from registry.access.throttle import Patience
from registry.config import AccessSettings
from registry.errors import ApiError
from registry.protocols import Access
from registry.workers import Workers
from tests.registry.access_kit import FakeCaller, basic, rule, token_for, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import digest_of

PULL = Access("pull", "a")
Control = Callable[..., Awaitable[AccessControl]]


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return users_file(tmp_path / "htpasswd", "ada", "bob")


@pytest.fixture
async def control(tmp_path: Path, clock: Clock) -> AsyncIterator[Control]:
    """Make authorizers whose clock is ``clock``."""
    workers = Workers()

    async def make(settings: AccessSettings) -> AccessControl:
        places = Places(tmp_path / "root", settings)
        snapshot = await asyncio.to_thread(take_snapshot, places, now=clock())
        return AccessControl(snapshot, workers, Patience(), clock=clock, monotonic=clock)

    yield make
    await asyncio.to_thread(workers.close)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that bcrypt was asked about."""
    asked: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, stored: bytes) -> bool:
        asked.append(password)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return asked


async def refusal(control: AccessControl, caller: FakeCaller, access: Access = PULL) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await control.authorize(caller, access)
    return caught.value


async def test_a_verified_password_is_remembered_for_a_while(
    control: Control, users: Path, checks: list[bytes], clock: Clock
) -> None:
    one = await control(AccessSettings(users))
    ada = FakeCaller(basic("ada")["Authorization"])
    for _ in range(5):
        assert (await one.authorize(ada, PULL)).identity.name == "ada"
    assert len(checks) == 1
    clock.now += 301
    await one.authorize(ada, PULL)
    assert len(checks) == 2
    await refusal(one, FakeCaller(basic("who")["Authorization"]))
    assert len(checks) == 3, "an unknown user costs the same"


async def test_many_with_one_password_at_once_are_checked_once(
    control: Control, users: Path, checks: list[bytes]
) -> None:
    one = await control(AccessSettings(users))
    ada = FakeCaller(basic("ada")["Authorization"])
    await asyncio.gather(*(one.authorize(ada, PULL) for _ in range(50)))
    assert len(checks) == 1


async def test_a_changed_password_ends_the_old_one_at_once(control: Control, users: Path) -> None:
    one = await control(AccessSettings(users))
    old, new = (FakeCaller(basic("ada", word)["Authorization"]) for word in ("adaada", "another"))
    await one.authorize(old, PULL)
    await asyncio.to_thread(set_password, users, "ada", "another", new=False)
    assert (await refusal(one, old)).code == "UNAUTHORIZED"
    assert (await one.authorize(new, PULL)).identity.name == "ada"
    bob = FakeCaller(basic("bob")["Authorization"])
    await one.authorize(bob, PULL)
    await asyncio.to_thread(remove_user, users, "bob")
    assert (await refusal(one, bob)).code == "UNAUTHORIZED"
    await asyncio.to_thread(remove_user, users, "ada")
    assert (await refusal(one, new)).code == "UNAUTHORIZED", "the last user can go, too"


@pytest.mark.parametrize("text", [b"", b"ada\n", b"ada:$apr1$x$y\n"])
async def test_a_bad_new_file_keeps_the_old_users(
    control: Control,
    users: Path,
    text: bytes,
    caplog: pytest.LogCaptureFixture,
    faults_expected: None,
) -> None:
    one = await control(AccessSettings(users))
    ada = FakeCaller(basic("ada")["Authorization"])
    await asyncio.to_thread(users.write_bytes, text)
    assert (await one.authorize(ada, PULL)).identity.name == "ada"
    assert str(users) in caplog.text
    await asyncio.to_thread(users.unlink)
    assert (await one.authorize(ada, PULL)).identity.name == "ada"


async def test_a_registry_closes_when_its_first_user_is_added(
    control: Control, tmp_path: Path, clock: Clock
) -> None:
    one = await control(AccessSettings())
    assert (await one.authorize(FakeCaller(), PULL)).identity.kind is Kind.EVERYBODY
    managed = tmp_path / "root" / "access" / "htpasswd"
    await asyncio.to_thread(set_password, managed, "ada", "adaada", new=True)
    clock.now += 2
    assert (await refusal(one, FakeCaller())).code == "UNAUTHORIZED"
    ada = FakeCaller(basic("ada")["Authorization"])
    assert (await one.authorize(ada, PULL)).identity.name == "ada"
    await asyncio.to_thread(managed.unlink)
    clock.now += 2
    assert (await refusal(one, FakeCaller())).code == "UNAUTHORIZED", "it never opens again"


async def test_a_robot_is_over_when_its_time_has_come(
    control: Control, tmp_path: Path, clock: Clock
) -> None:
    robots = tmp_path / "root" / "access" / "robots.json"
    permissions = [parse_permission("team/**:pull,push"), parse_permission("b:pull")]
    create = partial(create_robot, robots, "ci", permissions, now=clock(), expires=clock() + 100)
    secret = await asyncio.to_thread(create)
    one = await control(AccessSettings())
    ci = FakeCaller(basic("ci", secret)["Authorization"])
    granted = await one.authorize(ci, Access("push", "team/x"))
    assert str(granted.identity) == "robot:ci"
    for access in (Access("push", "b"), Access("delete", "team/x"), Access("pull", "team")):
        assert (await refusal(one, ci, access)).code == "DENIED"
    wrong = FakeCaller(basic("ci", secret[:-1])["Authorization"])
    assert (await refusal(one, wrong, Access("push", "team/x"))).code == "UNAUTHORIZED"
    clock.now += 101
    assert (await refusal(one, ci, Access("push", "team/x"))).code == "UNAUTHORIZED"


async def test_guessing_makes_wait_there_and_nowhere_else(
    control: Control, users: Path, checks: list[bytes], clock: Clock
) -> None:
    one = await control(AccessSettings(users))
    here = [FakeCaller(basic("ada", f"guess{n}")["Authorization"]) for n in range(40)]
    codes = [(await refusal(one, caller)).code for caller in here]
    assert codes[:5] == ["UNAUTHORIZED"] * 5
    assert set(codes[5:]) == {"TOOMANYREQUESTS"}
    assert len(checks) == 5, "what has to wait costs nothing"
    right = basic("ada")["Authorization"]
    waiting = await refusal(one, FakeCaller(right))
    assert waiting.headers["Retry-After"] == "1"
    elsewhere = FakeCaller(right, address="192.0.2.2")
    assert (await one.authorize(elsewhere, PULL)).identity.name == "ada", "nobody is locked out"
    clock.now += 1
    assert (await one.authorize(FakeCaller(right), PULL)).identity.name == "ada"


async def test_a_right_password_may_come_as_often_as_it_likes(
    control: Control, users: Path, checks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.access.logins._REMEMBER_SECONDS", -1.0)
    one = await control(AccessSettings(users))
    ada = FakeCaller(basic("ada")["Authorization"])
    for _ in range(100):
        await asyncio.gather(*(one.authorize(ada, PULL) for _ in range(3)))
    assert len(checks) >= 100


async def test_an_old_password_again_and_again_is_no_guessing(
    control: Control, users: Path, checks: list[bytes], clock: Clock
) -> None:
    one = await control(AccessSettings(users))
    stale = FakeCaller(basic("ada", "old")["Authorization"])
    assert {(await refusal(one, stale)).code for _ in range(40)} == {"UNAUTHORIZED"}
    assert len(checks) == 1
    assert await one.permits(FakeCaller(basic("ada")["Authorization"]), PULL)
    await asyncio.to_thread(set_password, users, "ada", "old", new=False)
    assert await one.permits(stale, PULL), "until it is the right one"


async def test_many_guesses_at_once_are_no_way_around(
    control: Control, users: Path, checks: list[bytes]
) -> None:
    one = await control(AccessSettings(users))
    callers = [FakeCaller(basic("ada", f"guess{n}")["Authorization"]) for n in range(40)]
    await asyncio.gather(*(refusal(one, caller) for caller in callers))
    assert len(checks) == 5


async def test_rates(control: Control, users: Path, clock: Clock) -> None:
    rate = RateSettings(user=2.0, anonymous=1.0, burst=2.0)
    one = await control(AccessSettings(users, anonymous_pull=True, rate=rate))
    ada = FakeCaller(basic("ada")["Authorization"])
    for caller, burst in ((ada, 4), (FakeCaller(), 2)):
        for _ in range(burst):
            await one.authorize(caller, PULL)
        error = await refusal(one, caller)
        assert (error.code, error.status) == ("TOOMANYREQUESTS", 429)
        assert error.headers["Retry-After"] == "1"
    await one.authorize(FakeCaller(address="192.0.2.9"), PULL)
    assert await one.permits(ada, PULL), "what is only looked up counts nowhere"
    clock.now += 1
    await one.authorize(FakeCaller(), PULL)


async def test_a_rate_of_an_address_holds_for_whoever_is_there(
    control: Control, users: Path
) -> None:
    one = await control(AccessSettings(users, rate=RateSettings(address=1.0, burst=2.0)))
    ada = FakeCaller(basic("ada")["Authorization"])
    await one.authorize(ada, PULL)
    assert (await refusal(one, FakeCaller())).code == "UNAUTHORIZED"
    assert (await refusal(one, ada)).code == "TOOMANYREQUESTS"
    await one.authorize(FakeCaller(ada.authorization, address="192.0.2.9"), PULL)


async def test_what_is_denied_counts_as_well(control: Control, users: Path) -> None:
    rules = (rule("b", "pull", users=("*",)),)
    rate = RateSettings(user=1.0, burst=2.0)
    one = await control(AccessSettings(users, rules=rules, rate=rate))
    ada = FakeCaller(basic("ada")["Authorization"])
    codes = [(await refusal(one, ada)).code for _ in range(3)]
    assert codes == ["DENIED", "DENIED", "TOOMANYREQUESTS"]


async def test_a_refusal_tells_nothing_about_what_is_there(
    start: StartRegistry, users: Path
) -> None:
    rules = (rule("{user}/**", "*", users=("*",)), rule("open", "pull", users=("*",)))
    client = await start(access=AccessSettings(users, rules=rules))
    client.headers.update(basic("ada"))
    await client.push_image("ada/app", "1")
    client.headers.clear()
    digest = digest_of(b"{}")
    bob = [basic("bob"), await token_for(client, "bob", "repository:ada/app:pull"), {}]
    for headers in bob:
        for tail in (
            "manifests/1",
            "manifests/2",
            f"blobs/{digest}",
            "tags/list",
            f"referrers/{digest}",
        ):
            answers = [
                await client.send("GET", f"/v2/ada/{name}/{tail}", headers=headers)
                for name in ("app", "nothing")
            ]
            there, not_there = (
                (a.status, a.body.replace(b"ada/app", b"ada/nothing")) for a in answers
            )
            assert there == not_there
            assert answers[0].status in (401, 403)


async def test_mount_needs_the_right_to_read_the_source(start: StartRegistry, users: Path) -> None:
    """Abuse 16: without it the answer is an upload session, and nothing is mounted."""
    rules = (rule("{user}/**", "*", users=("*",)),)
    client = await start(access=AccessSettings(users, rules=rules))
    client.headers.update(basic("ada"))
    digest = await client.push_blob("ada/app", b"secret")
    client.headers.clear()
    scopes = ("repository:bob/app:pull,push", "repository:ada/app:pull")
    for headers in (basic("bob"), await token_for(client, "bob", *scopes)):
        for query in (f"mount={digest}&from=ada/app", f"mount={digest}"):
            answer = await client.send(
                "POST", f"/v2/bob/app/blobs/uploads/?{query}", headers=headers
            )
            assert answer.status == 202
            there = await client.send("GET", f"/v2/bob/app/blobs/{digest}", headers=headers)
            assert there.status == 404
    scopes = ("repository:ada/other:pull,push", "repository:ada/app:pull")
    owner = await token_for(client, "ada", *scopes)
    query = f"mount={digest}&from=ada/app"
    mounted = await client.send("POST", f"/v2/ada/other/blobs/uploads/?{query}", headers=owner)
    assert mounted.status == 201


async def test_no_answer_is_for_other_origins(start: StartRegistry, users: Path) -> None:
    client = await start(access=AccessSettings(users))
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    for method in ("GET", "OPTIONS"):
        for path in ("/v2/", "/auth/token"):
            answer = await client.send(method, path, headers={**headers, **basic("ada")})
            assert not [name for name in answer.headers if name.lower().startswith("access-")]
