"""What was revoked at one replica is refused by all: accounts, tokens, sessions in browsers.

Passwords and secrets are looked at each time; what was given for them, each second. The tests wait
longer than that, for machines that are busy.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.registry.postgres_kit import PostgresServer
from tests.registry.replicas.cluster import Cluster, cluster
from tests.registry.s3.kit import Server
from tests.registry.service_kit import call
from tests.waiting import eventually

pytestmark = pytest.mark.peer

SERVICE = "lading"

RULES = """
[access]
[[access.rules]]
repositories = ["**"]
actions = ["pull", "push"]
users = ["*"]
"""


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, bucket: Server
) -> Iterator[Cluster]:
    """Two replicas, with users that none of them has on its disk."""
    folder = tmp_path_factory.mktemp("two")
    with cluster(folder, postgres_server, bucket, settings=RULES) as running:
        yield running


def new_name(name: str) -> str:
    """A name that nobody has, also where a test is tried again."""
    return f"{name}-{secrets.token_hex(4)}"


def add_user(two: Cluster, name: str, password: str) -> str:
    """A new user; returns the whole name."""
    name = new_name(name)
    done = two.command("user", "add", name, "--password-stdin", stdin=f"{password}\n")
    assert done.returncode == 0, done.stderr
    return name


def command(two: Cluster, *words: str) -> str:
    done = two.command(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status(port: int, headers: dict[str, str], path: str = "/v2/") -> int:
    return call(port, "GET", path, headers=headers)[0]


def token_of(port: int, credentials: dict[str, str], **more: str) -> dict[str, str]:
    query = urlencode({"scope": "repository:a:pull", **more})
    code, _, body = call(port, "GET", f"/auth/token?{query}", headers=credentials)
    assert code == 200, body
    found: dict[str, str] = json.loads(body)
    return found


def refreshed(port: int, token: str) -> int:
    form = {"grant_type": "refresh_token", "refresh_token": token, "service": SERVICE}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form |= {"client_id": "test", "scope": "repository:a:pull"}
    return call(port, "POST", "/auth/token", urlencode(form), headers)[0]


def test_a_removed_user_is_out_everywhere(two: Cluster) -> None:
    ada = add_user(two, "ada", "ada's password")
    here, there = two.ports
    login = basic(ada, "ada's password")
    for port in two.ports:
        assert status(port, login) == 200
    given = token_of(here, login)["token"]
    for port in two.ports:
        assert status(port, bearer(given), "/v2/a/tags/list") == 404, "one key signs for all"
    command(two, "user", "remove", ada)
    for port in (there, here):
        eventually(lambda port=port: status(port, login) == 401)
        eventually(lambda port=port: status(port, bearer(given), "/v2/a/tags/list") == 401)


def test_a_new_password_ends_what_the_old_one_gave(two: Cluster) -> None:
    bob = add_user(two, "bob", "bob's password")
    here, there = two.ports
    login = basic(bob, "bob's password")
    refresh = token_of(here, login, offline_token="true")["refresh_token"]
    assert refreshed(there, refresh) == 200
    done = two.command("user", "passwd", bob, "--password-stdin", stdin="another one\n")
    assert done.returncode == 0
    for port in two.ports:
        eventually(lambda port=port: status(port, login) == 401)
        assert status(port, basic(bob, "another one")) == 200
        assert refreshed(port, refresh) in (400, 401)


def test_a_logout_ends_refresh_tokens_everywhere(two: Cluster) -> None:
    eve = add_user(two, "eve", "eve's password")
    here, there = two.ports
    login = basic(eve, "eve's password")
    refresh = token_of(here, login, offline_token="true")["refresh_token"]
    assert refreshed(there, refresh) == 200
    assert command(two, "user", "logout", eve) == "1"
    for port in two.ports:
        assert refreshed(port, refresh) in (400, 401), "each use asks the database"


def test_a_revoked_robot_is_out_everywhere(two: Cluster) -> None:
    name = new_name("ci")
    secret = command(two, "robot", "create", name, "--allow", "**:pull")
    login = basic(name, secret)
    for port in two.ports:
        eventually(lambda port=port: status(port, login) == 200)
    command(two, "robot", "revoke", name)
    for port in two.ports:
        eventually(lambda port=port: status(port, login) == 401)


def test_who_is_denied_is_out_everywhere(two: Cluster) -> None:
    mallory = add_user(two, "mallory", "their password")
    login = basic(mallory, "their password")
    given = token_of(two.ports[0], login)["token"]
    command(two, "access", "deny", f"user:{mallory}")
    for port in two.ports:
        eventually(lambda port=port: status(port, bearer(given), "/v2/a/tags/list") == 401)
    command(two, "access", "permit", f"user:{mallory}")
    for port in two.ports:
        eventually(lambda port=port: status(port, bearer(given), "/v2/a/tags/list") == 404)


def test_a_session_in_a_browser_is_good_everywhere_and_ends_everywhere(two: Cluster) -> None:
    grace = add_user(two, "grace", "grace's password")
    here, there = two.ports
    code, headers, page = call(here, "GET", "/web/login")
    assert code == 200, page
    nonce = cookie(headers["Set-Cookie"])
    found = re.search(rb'name="token" value="([^"]+)"', page)
    assert found is not None
    form = {"token": found[1].decode(), "user": grace, "password": "grace's password"}
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": nonce}
    code, headers, page = call(there, "POST", "/web/login", urlencode(form), sent)
    assert code == 303, page
    session = {"Cookie": f"{nonce}; {cookie(headers['Set-Cookie'])}"}

    def named(port: int) -> bool:
        return grace.encode() in call(port, "GET", "/", headers=session)[2]

    assert named(here)
    assert named(there)
    command(two, "access", "rotate-key")
    for port in two.ports:
        assert named(port), "the old key still verifies"
    command(two, "user", "remove", grace)
    for port in two.ports:
        eventually(lambda port=port: not named(port))


def cookie(header: str) -> str:
    """NAME=VALUE of what a server set."""
    return header.partition(";")[0]
