"""People of a real directory log in, lose groups and leave."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.access.control import AccessControl
from registry.access.denials import deny
from registry.access.ldap.directory import Directory, DirectoryError
from registry.access.ldap.settings import LdapSettings
from registry.access.settings import AccessSettings
from registry.access.snapshot import Places, take_snapshot
from registry.access.throttle import Patience
from registry.errors import ApiError, RegistryConfigError
from registry.workers import Workers
from tests.registry.access_kit import FakeCaller, ask_token, basic, bearer, rule, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Answer, Client
from tests.registry.slapd_kit import ROOT, SLAPD, Slapd, slapd

pytest.importorskip("bonsai", reason="the extra ldap is not installed")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(SLAPD is None, reason="slapd is not installed: scripts/setup packages"),
]

BY_NAME = {
    "base": None,
    "user_dn": f"uid={{user}},ou=people,{ROOT}",
    "bind_dn": None,
    "bind_password_file": None,
}


@pytest.fixture(scope="module")
def server() -> Iterator[Slapd]:
    with tempfile.TemporaryDirectory(prefix="slapd") as folder, slapd(Path(folder)) as running:
        yield running


@pytest.fixture
def own() -> Iterator[Slapd]:
    """A directory that the test may change."""
    with tempfile.TemporaryDirectory(prefix="slapd") as folder, slapd(Path(folder)) as running:
        yield running


@pytest.fixture(autouse=True)
def changes_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.access.control._LOOK_SECONDS", 0.0)


def access(settings: LdapSettings, **more: Any) -> AccessSettings:
    rules = (
        rule("{user}/**", "pull,push", outside=("corp/*",)),
        rule("dev", "pull", groups=("corp/dev",)),
        rule("local", "pull", users=("*",)),
    )
    return AccessSettings(rules=rules, ldap=(settings,), **more)


async def pull(client: Client, name: str, headers: dict[str, str]) -> int:
    return (await client.send("GET", f"/v2/{name}/tags/list", headers=headers)).status


def reason(answer: Answer) -> str:
    return str(answer.json["errors"][0]["message"])


@pytest.mark.parametrize("changes", [{}, BY_NAME], ids=["search", "by name"])
async def test_login_with_groups(
    start: StartRegistry, server: Slapd, changes: dict[str, Any]
) -> None:
    client = await start(access=access(server.settings(**changes)))
    scopes = [f"repository:{name}:pull" for name in ("ada/app", "bob/app", "dev", "local")]
    for user, granted in (("ada", [404, 401, 404, 401]), ("bob", [401, 404, 401, 401])):
        answer = await ask_token(client, *scopes, headers=basic(user), offline_token="true")
        assert "refresh_token" not in answer.json
        headers = bearer(answer.json["token"])
        names = ("ada/app", "bob/app", "dev", "local")
        assert [await pull(client, name, headers) for name in names] == granted
    assert await pull(client, "dev", basic("ada")) == 404
    assert await pull(client, "dev", basic("bob")) == 403


@pytest.mark.parametrize("changes", [{}, BY_NAME], ids=["search", "by name"])
def test_who_gets_in(server: Slapd, changes: dict[str, Any]) -> None:
    directory = Directory(server.settings(**changes))
    ada = directory.authenticate("ada", "adaada")
    assert ada is not None
    assert (ada.name, ada.groups) == ("ada", ("dev", "ops"))
    upper = directory.authenticate("ADA", "adaada")
    assert upper is not None
    assert upper.name == "ada", "a directory knows no case, so the name is as it writes it"
    for user, password in (("ada", "x"), ("ada", ""), ("nobody", "x"), ("eve", "eveeve")):
        assert directory.authenticate(user, password) is None, user


@pytest.mark.parametrize(
    "name",
    ["*", "a*", "ada)(uid=*", "*)(uid=*))(|(uid=*", "ada\\2a", "\\", "ada,ou=people", "ada+cn=ada",
     "ada\0", "", " ada", "ada)(|(objectClass=*)", "\u0430da", "x" * 300, '"ada"', "#61"],
)  # fmt: skip
@pytest.mark.parametrize("changes", [{}, BY_NAME], ids=["search", "by name"])
def test_names_are_no_filters_and_no_dns(server: Slapd, changes: dict[str, Any], name: str) -> None:
    """RFC 4515 and RFC 4514: whatever a name holds, it is the name of nobody."""
    directory = Directory(server.settings(**changes))
    assert directory.authenticate(name, "adaada") is None


def test_member_of_and_nested_groups(own: Slapd) -> None:
    own.modify(
        f"dn: cn=all,ou=groups,{ROOT}\nchangetype: add\nobjectClass: groupOfNames\ncn: all\n"
        f"member: cn=dev,ou=groups,{ROOT}\n"
    )
    for changes in ({}, {"group_base": None}):
        ada = Directory(own.settings(**changes)).find("ada")
        assert ada is not None
        assert ada.groups == ("dev", "ops"), "groups within groups are not followed"


@pytest.mark.parametrize("kind", ["ldaps", "start_tls"])
def test_tls_needs_a_certificate_that_is_trusted(server: Slapd, kind: str) -> None:
    tls: dict[str, Any] = {"url": f"ldaps://127.0.0.1:{server.tls_port}"}
    if kind == "start_tls":
        tls = {"url": f"ldap://127.0.0.1:{server.port}", "start_tls": True}
    trusted = Directory(server.settings(**tls, ca=server.ca))
    assert trusted.authenticate("bob", "bobbob") is not None
    with pytest.raises(DirectoryError, match="does not answer"):
        Directory(server.settings(**tls)).authenticate("bob", "bobbob")


async def test_who_leaves_is_out_within_seconds(start: StartRegistry, own: Slapd) -> None:
    """For tokens that were given before, too: first a group, then the account."""
    settings = await asyncio.to_thread(own.settings, cache=0.2)
    client = await start(access=access(settings))
    scopes = ("repository:dev:pull", "repository:ada/a:pull")
    answer = await ask_token(client, *scopes, headers=basic("ada"))
    token = bearer(answer.json["token"])
    names = ("dev", "ada/a")
    assert [await pull(client, name, token) for name in names] == [404, 404]
    group = f"dn: cn=dev,ou=groups,{ROOT}\nchangetype: modify\nadd: member\nmember: cn=x\n-\n"
    group += f"delete: member\nmember: uid=ada,ou=people,{ROOT}\n"
    await asyncio.to_thread(own.modify, group)
    await asyncio.sleep(0.3)
    assert [await pull(client, name, token) for name in names] == [401, 404]
    person = f"dn: uid=ada,ou=people,{ROOT}\nchangetype: modify\nreplace: employeeType\n"
    await asyncio.to_thread(own.modify, person + "employeeType: disabled\n")
    await asyncio.sleep(0.3)
    for headers in (token, basic("ada")):
        assert [await pull(client, name, headers) for name in names] == [401, 401]


async def test_a_session_in_a_browser_follows_the_directory(own: Slapd, tmp_path: Path) -> None:
    settings = await asyncio.to_thread(own.settings, cache=0.2)
    places = Places(tmp_path / "root", access(settings))
    snapshot = await asyncio.to_thread(take_snapshot, places, now=time.time())
    workers = Workers()
    control = AccessControl(snapshot, workers, Patience())
    login = await control.login(FakeCaller(), "ada", b"adaada")
    session = control.grants.open_session(login, lifetime=600)
    identity = await control.grants.session(session)
    assert identity is not None
    assert (str(identity), identity.groups) == ("outside:corp/ada", ("corp/dev", "corp/ops"))
    assert control.vouches_on(identity)
    token = await control.grants.issue_personal(identity, label="x", lifetime=600)
    by_token = await control.login(FakeCaller(), "anything", token.encode())
    assert (by_token.identity, by_token.lasting) == (identity, False)
    gone = f"dn: uid=ada,ou=people,{ROOT}\nchangetype: delete\n"
    await asyncio.to_thread(own.modify, gone)
    await asyncio.sleep(0.3)
    assert await control.grants.session(session) is None
    with pytest.raises(ApiError, match="nobody of that name"):
        await control.login(FakeCaller(), "anything", token.encode())
    await asyncio.to_thread(control.close)
    await asyncio.to_thread(workers.close)


async def test_a_silent_directory_is_the_reason(start: StartRegistry, own: Slapd) -> None:
    """Nobody waits longer than the timeout, and no one is told of a wrong password."""
    settings = await asyncio.to_thread(own.settings, timeout=3.0, cache=0.2)
    client = await start(access=access(settings))
    answer = await ask_token(client, "repository:dev:pull", headers=basic("ada"))
    token = bearer(answer.json["token"])
    os.kill(own.process.pid, signal.SIGSTOP)
    silent = await ask_token(client, headers=basic("bob"))
    assert silent.status == 503
    assert "the directory corp" in reason(silent)
    await asyncio.sleep(0.3)
    assert await pull(client, "dev", token) == 401
    os.kill(own.process.pid, signal.SIGCONT)
    assert await pull(client, "dev", token) == 404


async def test_wrong_passwords_make_wait(start: StartRegistry, server: Slapd) -> None:
    client = await start(access=access(await asyncio.to_thread(server.settings)))
    statuses = [
        (await ask_token(client, headers=basic("ada", f"no{number}"))).status for number in range(8)
    ]
    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429


async def test_users_of_our_own_come_first_and_the_deny_list_counts(
    start: StartRegistry, server: Slapd, tmp_path: Path
) -> None:
    users = users_file(tmp_path / "htpasswd", "bob")
    settings = await asyncio.to_thread(server.settings)
    client = await start(access=access(settings, htpasswd=users))
    assert await pull(client, "local", basic("bob")) == 404
    assert await pull(client, "ada/a", basic("ada")) == 404
    await asyncio.to_thread(deny, tmp_path / "registry" / "access" / "denied", "outside:corp/ada")
    answer = await ask_token(client, headers=basic("ada"))
    assert answer.status == 401
    assert "the deny list names outside:corp/ada" in reason(answer)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"url": "ldap://ldap.example.org"}, "url"),
        ({"url": "http://127.0.0.1"}, "url"),
        ({"name": "Corp/x"}, "name"),
        ({"bind_dn": None}, "bind_dn"),
        ({"user_dn": "uid=ada"}, "user_dn"),
        ({"filter": "(uid=ada)"}, "filter"),
        ({"filter": "uid={user}"}, "filter"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_settings_that_are_refused(server: Slapd, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        server.settings(**changes)
    assert where in {problem.where for problem in caught.value.problems or (caught.value,)}
