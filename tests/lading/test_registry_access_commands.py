"""``lading registry user|robot|access``: accounts as an administrator keeps them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest

from registry.access.robots import load_robots
from tests.lading.conftest import Result

Lading = Callable[..., Result]


@pytest.fixture
def with_password(lading: Lading, monkeypatch: pytest.MonkeyPatch) -> Lading:
    """Like ``lading``; the first word goes to stdin."""

    def run(password: str, *words: str | Path) -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
        return lading("registry", "user", *words, "--password-stdin")

    return run


def test_a_user_comes_changes_and_goes(
    lading: Lading, with_password: Lading, tmp_path: Path
) -> None:
    file = tmp_path / "root" / "registry" / "access" / "htpasswd"
    assert with_password("one", "add", "ada") == (0, "ada\n", "")
    assert with_password("two", "passwd", "ada")[0] == 0
    assert with_password("three", "add", "bob")[0] == 0
    assert lading("registry", "user", "list")[1] == "ada\nbob\n"
    stored = dict(line.split(b":") for line in file.read_bytes().splitlines()[1:])
    assert bcrypt.checkpw(b"two", stored[b"ada"])
    assert file.stat().st_mode & 0o777 == 0o600
    assert lading("registry", "user", "remove", "ada")[0] == 0
    assert lading("registry", "user", "logout", "bob") == (0, "0\n", "")
    assert lading("registry", "user", "list")[1] == "bob\n"


@pytest.mark.parametrize(
    ("password", "words", "message"),
    [
        ("", ("add", "new"), "1 to 72 bytes"),
        ("x" * 73, ("add", "new"), "1 to 72 bytes"),
        ("x", ("add", "a:b"), "no colon"),
        ("x", ("add", "#a"), "begin with #"),
        ("Harbor12345", ("add", "admin"), "first that are guessed"),
        ("x", ("add", "ada"), "there already"),
        ("x", ("passwd", "bob"), "no such user"),
    ],
)
def test_what_cannot_be_a_user(
    with_password: Lading, password: str, words: tuple[str, ...], message: str
) -> None:
    assert with_password("secret", "add", "ada")[0] == 0
    status, _, err = with_password(password, *words)
    assert status == 1
    assert message in err


def test_a_named_users_file_is_made_with_its_first(with_password: Lading, tmp_path: Path) -> None:
    file = tmp_path / "users"
    assert with_password("secret", "add", "ada", "--htpasswd", file)[0] == 0
    assert file.read_text().splitlines()[-1].startswith("ada:$2")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_keep_stays_theirs(with_password: Lading, tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_bytes(b"# ours\nada:" + bcrypt.hashpw(b"x", bcrypt.gensalt(4)) + b"\n")
    file.chmod(0o640)
    assert with_password("secret", "add", "bob", "--htpasswd", file)[0] == 0
    assert file.read_bytes().startswith(b"# ours\nada:$2b$04$")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_robots_secret_is_shown_once(lading: Lading, tmp_path: Path) -> None:
    robot = ("registry", "robot")
    allow = ("--allow", "team/**:pull,push", "--allow", "base:pull")
    status, secret, _ = lading(*robot, "create", "ci", *allow, "--expires", "30d")
    assert status == 0
    stored = load_robots(tmp_path / "root" / "registry" / "access" / "robots.json")["ci"]
    assert stored.proves(secret.strip().encode())
    assert stored.expires == stored.created + 30 * 86400
    _, listed, _ = lading(*robot, "list", "--format", "json")
    assert secret.strip() not in listed
    assert json.loads(listed)[0]["permissions"] == ["team/**:pull,push", "base:pull"]
    assert "team/**:pull,push base:pull" in lading(*robot, "list")[1]
    assert lading(*robot, "create", "ci", *allow)[0] == 1
    assert lading(*robot, "revoke", "ci")[0] == 0
    assert lading(*robot, "list", "--format", "json")[1] == "[]\n"


@pytest.mark.parametrize(
    "words",
    [
        ("CI", "--allow", "a:pull"),
        ("ci", "--allow", "a"),
        ("ci", "--allow", "a:fly"),
        ("ci", "--allow", "a//b:pull"),
        ("ci", "--allow", "a:pull", "--expires", "soon"),
    ],
)
def test_what_cannot_be_a_robot(lading: Lading, words: tuple[str, ...]) -> None:
    status, out, err = lading("registry", "robot", "create", *words)
    assert (status, out) == (1, "")
    assert err


def test_explain_names_the_rule(lading: Lading, with_password: Lading, tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    config.write_text(
        """
        [[access.groups]]
        name = "team"
        users = ["ada"]
        [[access.rules]]
        name = "the team works in team"
        repositories = ["team/**"]
        actions = ["pull", "push"]
        groups = ["team"]
        [[access.rules]]
        name = "secrets stay"
        repositories = ["team/secret"]
        actions = ["*"]
        users = ["*"]
        effect = "deny"
        """
    )
    explain = ("registry", "access", "explain", "-c", config)
    assert with_password("secret", "add", "ada")[0] == 0
    assert lading(*explain, "ada", "push", "team/x") == (0, "allowed: the team works in team\n", "")
    assert lading(*explain, "ada", "pull", "team/secret")[:2] == (1, "denied: secrets stay\n")
    assert lading(*explain, "ada", "delete", "team/x")[:2] == (1, "denied: no rule allows it\n")
    assert lading(*explain, "anonymous", "pull", "team/x")[0] == 1
    assert "no user bob" in lading(*explain, "bob", "pull", "team/x")[1]
    assert "no robot ci" in lading(*explain, "robot:ci", "pull", "team/x")[1]
    assert lading(*explain, "ada", "pull", "Team")[0] == 1


def test_explain_and_deny_outside_people(lading: Lading, tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    config.write_text(
        """
        [[access.issuer]]
        name = "github"
        issuer = "https://token.actions.githubusercontent.com"
        audience = "registry.example.org"
        subjects = ["repo:our-org/*"]
        [[access.rules]]
        name = "builds push"
        repositories = ["apps/**"]
        actions = ["pull", "push"]
        outside = ["github/repo:our-org/app:*"]
        groups = ["github/release"]
        """
    )
    explain = ("registry", "access", "explain", "-c", config)
    build, other = "outside:github/repo:our-org/app:x", "outside:github/repo:our-org/lib:x"
    assert lading(*explain, build, "push", "apps/a") == (0, "allowed: builds push\n", "")
    assert lading(*explain, other, "push", "apps/a")[:2] == (1, "denied: no rule allows it\n")
    grouped = lading(*explain, other, "push", "apps/a", "--group", "github/release")
    assert grouped[:2] == (0, "allowed: builds push\n")
    for wrong in ("outside:gitlab/x", "outside:x", "outside:/x"):
        assert lading(*explain, wrong, "pull", "apps/a")[0] != 0
    deny = ("registry", "access", "deny", "-c", config, build)
    assert lading(*deny) == (0, f"{build}\n", "")
    assert lading(*explain, build, "push", "apps/a")[1] == f"denied: the deny list names {build}\n"
    denied = tmp_path / "root" / "registry" / "access" / "denied"
    assert build in denied.read_text().splitlines()
    assert lading("registry", "access", "permit", "-c", config, build)[0] == 0
    assert lading("registry", "access", "permit", "-c", config, build)[0] == 1
    assert lading(*explain, build, "push", "apps/a")[0] == 0
    assert lading("registry", "access", "deny", "-c", config, "ada")[0] == 1


def test_a_registry_without_users_is_open(lading: Lading) -> None:
    status, out, _ = lading("registry", "access", "explain", "anonymous", "push", "a")
    assert (status, out) == (0, "allowed: the registry has no users, so everybody may\n")


def test_a_new_signing_key(lading: Lading, tmp_path: Path) -> None:
    first = lading("registry", "access", "rotate-key")
    second = lading("registry", "access", "rotate-key")
    assert first[0] == second[0] == 0
    assert first[1] != second[1]
    keys = tmp_path / "root" / "registry" / "access" / "keys"
    assert len(list(keys.glob("*.pem"))) == 2
