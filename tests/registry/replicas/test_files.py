"""Small files in the database: what the rooms know of paths holds there, between processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.access.denials import deny, load_denials, permit
from registry.access.keys import load_ring, rotate
from registry.access.passwords import load_htpasswd, remove_user, set_password
from registry.access.robots import create_robot, load_robots, parse_permission, revoke_robot
from registry.access.settings import TokenSettings
from registry.countersign.keyring import Keyring
from registry.errors import RegistryConfigError, RegistryStartError
from registry.mirroring import report
from registry.replicas.files import StoredFile
from registry.smallfiles import SmallFile, create, locked, replace, settled, signature
from registry.vault import Vault
from tests.registry.replicas.servers import Replicas

pytestmark = pytest.mark.peer

Folder = Callable[[], SmallFile]


@pytest.fixture(params=["files", "database"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """Gives the folder as another process sees it."""
    if request.param == "files":
        yield lambda: tmp_path
        return
    replicas: Replicas = request.getfixturevalue("replicas")
    yield lambda: replicas.files().root


def test_a_file_is_there_whole_or_not(folder: Folder) -> None:
    mine, other = folder() / "a" / "one", folder() / "a" / "one"
    assert not mine.exists()
    with pytest.raises(FileNotFoundError):
        mine.read_bytes()
    with pytest.raises(FileNotFoundError):
        mine.unlink()
    mine.unlink(missing_ok=True)
    with locked(mine):
        replace(mine, b"\0first")
        replace(mine, b"\0second")
    assert other.exists()
    assert other.read_bytes() == b"\0second"
    assert (other.name, other.stem, (folder() / "x.pem").suffix) == ("one", "one", ".pem")
    other.unlink()
    assert not mine.exists()


def test_of_two_that_create_one_wins(folder: Folder) -> None:
    mine, other = folder() / "one", folder() / "one"
    assert create(mine, b"mine") == b"mine"
    assert create(other, b"other") == b"mine"
    assert mine.read_bytes() == b"mine"


def test_a_folder_lists_what_is_right_below(folder: Folder) -> None:
    root = folder()
    assert not (root / "a").is_dir()
    for name in ("a/2", "a/1", "a/b/3", "ab", "a0", "a-"):
        *parts, _ = name.split("/")
        place = root
        for part in parts:
            place = place / part
        with locked(place / name.rpartition("/")[2]):
            replace(place / name.rpartition("/")[2], b"")
    found = {it.name for it in (root / "a").iterdir() if it.suffix != ".lock"}
    assert found - {"b"} == {"1", "2"}
    assert {it.name for it in (folder() / "a" / "b").iterdir() if it.suffix != ".lock"} == {"3"}
    assert (root / "a").is_dir()


def test_every_change_changes_the_signature(folder: Folder) -> None:
    mine, other = folder() / "a" / "one", folder() / "a" / "one"
    seen = [signature(mine)]

    def look() -> None:
        assert signature(other) not in seen
        seen.append(signature(other))

    with locked(mine):
        replace(mine, b"1")
    look()
    if isinstance(mine, StoredFile):
        folder_before = signature(folder() / "a")
        mine.unlink()
        look()
        with locked(mine):
            replace(mine, b"1")
        look()
        assert signature(folder() / "a") != folder_before
        assert settled(signature(mine), 10**9), "the number cannot come again"
        beside = signature(folder() / "a")
        beside_it = folder() / "b"
        with locked(beside_it):
            replace(beside_it, b"")
        assert signature(folder() / "a") == beside


def test_a_change_that_fails_did_not_happen(replicas: Replicas) -> None:
    one = replicas.files().root / "one"
    with pytest.raises(ZeroDivisionError), locked(one):  # noqa: PT012 -- what fails is the block
        replace(one, b"1")
        assert one.exists()
        raise ZeroDivisionError
    assert not one.exists()


def test_editors_take_turns(folder: Folder) -> None:
    """Each adds to what is there; nobody's line is lost."""
    places = [folder() / "denied" for _ in range(3)]

    def add(number: int) -> None:
        for each in range(5):
            deny(places[number], f"user:u{number}-{each}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_denials(folder() / "denied")) == 15


def test_accounts(folder: Folder) -> None:
    users, robots, denied = (folder() / "access" / name for name in ("htpasswd", "robots", "no"))
    set_password(users, "ada", "one two", new=True)
    set_password(users, "bob", "one two", new=True)
    remove_user(users, "bob")
    assert list(load_htpasswd(folder() / "access" / "htpasswd")) == ["ada"]
    secret = create_robot(robots, "ci", [parse_permission("a/**:pull")], now=1.0)
    assert load_robots(folder() / "access" / "robots")["ci"].proves(secret.encode())
    revoke_robot(robots, "ci")
    with pytest.raises(RegistryConfigError, match="no such robot"):
        revoke_robot(folder() / "access" / "robots", "ci")
    assert deny(denied, "user:ada")
    assert permit(folder() / "access" / "no", "user:ada")
    assert load_denials(denied) == frozenset()


def test_keys_of_tokens_are_the_same_for_all(folder: Folder) -> None:
    settings = TokenSettings()
    first = load_ring(folder() / "keys", settings, now=1000.0)
    assert load_ring(folder() / "keys", settings, now=1001.0).signer.kid == first.signer.kid
    kid = rotate(folder() / "keys", settings, now=1002.0)
    both = load_ring(folder() / "keys", settings, now=1003.0)
    assert both.signer.kid == kid
    assert set(both.keys) == {first.signer.kid, kid}
    later = TokenSettings(key_lifetime=7200.0)
    late = load_ring(folder() / "keys", later, now=10_000.0)
    assert kid in late.keys
    assert late.signer.kid != kid
    assert first.signer.kid not in late.keys, "the last token it signed is over"


def test_countersigning_keys_are_the_same_for_all(folder: Folder) -> None:
    def keyring() -> Keyring:
        vault = Vault.open(folder() / "notary", "a long passphrase")
        return Keyring(folder() / "countersign", vault, subject="C=US,ST=WA,O=lading,CN=registry")

    first = keyring().current()
    assert keyring().current().key.public.key_id == first.key.public.key_id
    later = keyring().rotate()
    assert keyring().current().key.public.key_id == later.key.public.key_id
    assert keyring().public_keys().count(b"BEGIN PUBLIC KEY") == 2


def test_mirrors_reports(folder: Folder) -> None:
    kept = report.Report(runs=3, error="none")
    report.write(folder(), "hub", kept)
    assert report.read(folder(), "hub") == kept
    assert report.read_all(folder()) == {"hub": kept}
    assert report.read(folder(), "other") == report.Report()


def test_replicas_need_a_passphrase(replicas: Replicas) -> None:
    with pytest.raises(RegistryStartError, match="passphrase") as caught:
        Vault.open(replicas.files().root / "notary", None)
    assert caught.value.fix is not None
    assert "every replica" in caught.value.fix
    Vault.open(replicas.files().root / "notary", "one").seal_bytes(b"x", "y")
    with pytest.raises(RegistryStartError, match="not the key or passphrase"):
        Vault.open(replicas.files().root / "notary", "another")
