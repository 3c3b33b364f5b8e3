"""A folder of one machine whose index went to PostgreSQL: its accounts come along, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.access.keys import load_ring
from registry.access.passwords import load_htpasswd, set_password
from registry.access.settings import TokenSettings
from registry.errors import RegistryStartError
from registry.replicas.taking import take_over
from tests.registry.replicas.servers import Replicas

pytestmark = pytest.mark.peer


def folder(root: Path, user: str) -> Path:
    set_password(root / "access" / "htpasswd", user, "a password", new=True)
    load_ring(root / "access" / "keys", TokenSettings(), now=1000.0)
    return root


def test_users_and_keys_come_along(tmp_path: Path, replicas: Replicas) -> None:
    """Without them the registry would be open to everybody, and every login over."""
    root = folder(tmp_path / "old", "ada")
    take_over(root, replicas.files().root)
    shared = replicas.files().root / "access"
    assert list(load_htpasswd(shared / "htpasswd")) == ["ada"]
    kept = load_ring(root / "access" / "keys", TokenSettings(), now=1001.0)
    assert load_ring(shared / "keys", TokenSettings(), now=1001.0).signer.kid == kept.signer.kid


def test_what_replicas_share_is_not_written_over(tmp_path: Path, replicas: Replicas) -> None:
    take_over(folder(tmp_path / "first", "ada"), replicas.files().root)
    take_over(folder(tmp_path / "second", "mallory"), replicas.files().root)
    assert list(load_htpasswd(replicas.files().root / "access" / "htpasswd")) == ["ada"]


def test_a_new_folder_brings_nothing(tmp_path: Path, replicas: Replicas) -> None:
    take_over(tmp_path, replicas.files().root)
    assert not (replicas.files().root / "access").is_dir()


@pytest.mark.parametrize("name", ["notary/notary.db", "log.db", "countersign", "events.db"])
def test_what_clients_know_does_not_begin_anew(
    tmp_path: Path, replicas: Replicas, name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(RegistryStartError, match="which replicas do not share") as caught:
        take_over(tmp_path, replicas.files().root)
    assert caught.value.where == str(tmp_path / name)
    assert caught.value.fix is not None
