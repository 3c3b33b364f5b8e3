"""Docker's config.json and credential helpers, as Docker and Podman treat them."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from images.credentials import (
    HUB_KEY,
    Credentials,
    CredentialsError,
    CredentialStore,
    HelperRefusal,
)
from images.errors import InputError

ALICE = Credentials("alice", "s3cret:with:colons")
HELPER = """#!/bin/sh
# A helper that keeps one secret per file, and its arguments and input in a log.
cd "$STATE" || exit 1
read -r input
echo "$1 $input" >> log
case "$1" in
  get) name=$(echo "$input" | tr -c 'a-z0-9\\n' _)
       [ -f "$name" ] && cat "$name" && exit 0
       [ "$input" = broken.example ] && echo "the keychain is locked" && exit 1
       [ "$input" = nonsense.example ] && echo "{}" && exit 0
       echo "credentials not found in native keychain"; exit 1;;
  store) name=$(echo "$input" | sed 's/.*ServerURL": "\\([^"]*\\)".*/\\1/' | tr -c 'a-z0-9\\n' _)
       echo "$input" > "$name";;
  erase) rm -f "$(echo "$input" | tr -c 'a-z0-9\\n' _)";;
esac
"""


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def store(path: Path) -> CredentialStore:
    return CredentialStore(path)


def write(path: Path, config: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config))


def test_store_get_erase(store: CredentialStore, path: Path) -> None:
    assert store.get("registry.example") is None
    store.store("registry.example", ALICE)
    assert store.get("registry.example") == ALICE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["auths"] == {
        "registry.example": {"auth": auth("alice:s3cret:with:colons")}
    }
    assert store.erase("registry.example")
    assert not store.erase("registry.example")
    assert store.get("registry.example") is None


def test_secrets_stay_out_of_repr() -> None:
    secret = Credentials("alice", "s3cret", "identity", "registry")
    assert repr(secret) == "Credentials(username='alice')"


def test_the_hub_has_its_own_key(store: CredentialStore, path: Path) -> None:
    store.store("docker.io", ALICE)
    assert list(json.loads(path.read_text())["auths"]) == [HUB_KEY]
    assert store.get("docker.io") == ALICE


@pytest.mark.parametrize(
    "key", ["registry.example", "https://registry.example", "http://registry.example/v1/",
            "https://registry.example/v2/"],
)  # fmt: skip
def test_keys_of_every_age_are_found_and_replaced(
    key: str, store: CredentialStore, path: Path
) -> None:
    write(path, {"auths": {key: {"auth": auth("bob:old")}}})
    assert store.get("registry.example") == Credentials("bob", "old")
    store.store("registry.example", ALICE)
    assert list(json.loads(path.read_text())["auths"]) == ["registry.example"]


def test_unknown_keys_stay(store: CredentialStore, path: Path) -> None:
    write(path, {"proxies": {"default": {"httpProxy": "x"}}, "auths": {"other": {"auth": "YTpi"}}})
    store.store("registry.example", ALICE)
    config = json.loads(path.read_text())
    assert config["proxies"] == {"default": {"httpProxy": "x"}}
    assert config["auths"]["other"] == {"auth": "YTpi"}


def test_an_identity_token_is_kept_without_the_password(store: CredentialStore, path: Path) -> None:
    store.store("registry.example", Credentials("alice", "", identity_token="refresh"))
    entry = json.loads(path.read_text())["auths"]["registry.example"]
    assert entry == {"auth": auth("alice:"), "identitytoken": "refresh"}
    found = store.get("registry.example")
    assert found == Credentials("alice", "", identity_token="refresh")


def test_other_forms_that_are_read(store: CredentialStore, path: Path) -> None:
    write(
        path,
        {
            "auths": {
                "plain": {"username": "a", "password": "b"},
                "padded": {"auth": auth("a:b\0\0")},
                "bearer": {"registrytoken": "t"},
                "empty": {},
                "odd": 7,
            }
        },
    )
    assert store.get("plain") == store.get("padded") == Credentials("a", "b")
    assert store.get("bearer") == Credentials(registry_token="t")
    assert store.get("empty") is store.get("odd") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": []}', "[" * 3000, "x" * (2 << 20)])
def test_a_broken_file_names_itself_and_is_not_overwritten(
    text: str, store: CredentialStore, path: Path
) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(CredentialsError):
        store.get("registry.example")
    with pytest.raises(CredentialsError):
        store.store("registry.example", ALICE)
    assert path.read_text() == text
    assert os.listdir(path.parent) == ["config.json"]


def test_auth_that_is_not_base64(store: CredentialStore, path: Path) -> None:
    write(path, {"auths": {"registry.example": {"auth": "%%%"}}})
    with pytest.raises(CredentialsError, match="not base64"):
        store.get("registry.example")


def test_a_colon_in_the_user_name_cannot_be_stored(store: CredentialStore, path: Path) -> None:
    with pytest.raises(InputError):
        store.store("registry.example", Credentials("a:b", "c"))
    assert not path.exists()


def test_a_linked_file_stays_a_link(store: CredentialStore, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.json"
    target.write_text('{"psFormat": "x"}')
    path.parent.mkdir()
    path.symlink_to(target)
    store.store("registry.example", ALICE)
    assert path.is_symlink()
    assert json.loads(target.read_text())["psFormat"] == "x"
    assert store.get("registry.example") == ALICE


def test_parallel_logins_lose_nothing(store: CredentialStore) -> None:
    names = [f"r{n}.example" for n in range(16)]
    threads = [threading.Thread(target=store.store, args=(name, ALICE)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.get(name) == ALICE for name in names)


# -- $REGISTRY_AUTH_FILE


def test_the_auth_file_comes_first_and_knows_namespaces(path: Path, tmp_path: Path) -> None:
    auth_file = tmp_path / "auth.json"
    write(path, {"auths": {"registry.example": {"auth": auth("docker:1")}}})
    entries = {
        "registry.example/team": auth("team:1"),
        "registry.example/team/app": auth("app:1"),
    }
    write(auth_file, {"auths": {key: {"auth": value} for key, value in entries.items()}})
    store = CredentialStore.from_environment(
        {"DOCKER_CONFIG": str(path.parent), "REGISTRY_AUTH_FILE": str(auth_file)}
    )
    users = {
        repository: found.username if (found := store.get("registry.example", repository)) else None
        for repository in ("team/app", "team/other", "teamster", "")
    }
    assert users == {"team/app": "app", "team/other": "team", "teamster": "docker", "": "docker"}
    before = auth_file.read_text()
    store.store("registry.example", ALICE)
    assert auth_file.read_text() == before


def test_the_home_directory_is_the_default(tmp_path: Path) -> None:
    store = CredentialStore.from_environment({"HOME": str(tmp_path)})
    assert store.path == tmp_path / ".docker" / "config.json"
    assert store.auth_file is None


# -- helpers


@pytest.fixture
def helper(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(state))
    write(path, {"credsStore": "test"})
    return state


def test_a_helper_keeps_the_secret_out_of_the_file(
    helper: Path, store: CredentialStore, path: Path
) -> None:
    store.store("registry.example", Credentials("alice", "s3cret"))
    assert "s3cret" not in path.read_text()
    assert json.loads(path.read_text())["auths"] == {"registry.example": {}}
    assert store.get("registry.example") == Credentials("alice", "s3cret")
    assert store.erase("registry.example")
    assert store.get("registry.example") is None
    actions = [line.split()[0] for line in (helper / "log").read_text().splitlines()]
    assert actions == ["store", "get", "get", "erase", "get"]


def test_a_helper_marks_identity_tokens(helper: Path, store: CredentialStore) -> None:
    store.store("registry.example", Credentials("alice", identity_token="refresh"))
    assert store.get("registry.example") == Credentials(identity_token="refresh")


def test_one_registry_may_have_its_own_helper(
    helper: Path, store: CredentialStore, path: Path
) -> None:
    write(
        path,
        {
            "credHelpers": {"own.example": "test", "none.example": ""},
            "auths": {"file.example": {"auth": auth("a:b")}},
        },
    )
    store.store("own.example", ALICE)
    assert store.get("own.example") == ALICE
    assert store.get("file.example") == Credentials("a", "b")
    assert "file" not in (helper / "log").read_text()


def test_what_helpers_do_wrong(helper: Path, store: CredentialStore, path: Path) -> None:
    with pytest.raises(HelperRefusal, match="the keychain is locked"):
        store.get("broken.example")
    with pytest.raises(CredentialsError, match="not understood"):
        store.get("nonsense.example")
    for name, words in (("absent", "not installed"), ("../../bin/sh", "invalid")):
        write(path, {"credsStore": name})
        with pytest.raises(CredentialsError, match=words):
            store.get("registry.example")
