"""What a store has beside its index, after a move: the log, events that wait, users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.config import RegistryConfig
from registry.errors import MigrationError
from registry.moving.rooms import check_keys
from registry.s3.settings import StorageSettings, StorageType
from registry.sql.settings import IndexSettings, IndexType
from tests.registry.events.receiving import receiver
from tests.registry.events.test_service import push, webhook
from tests.registry.moving.kit import lading
from tests.registry.moving.test_move import index, place
from tests.registry.postgres_kit import PostgresServer, postgres
from tests.registry.s3.conftest import s3_server
from tests.registry.s3.kit import Server
from tests.registry.service_kit import call, service
from tests.waiting import eventually

__all__ = ["s3_server"]

LOG = "/v2/_lading/log"


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.mark.peer
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["files", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_what_rooms_keep_goes_along(
    s3_server: Server, postgres_server: PostgresServer, tmp_path: Path, way: str
) -> None:
    """Keys, the log and events that wait: there, and back again."""
    environment = {**s3_server.environment, "LADING_NOTARY_PASSPHRASE": "correct horse"}
    folders = [tmp_path / name for name in ("one", "two", "three")]
    tags = {f"team/app:t{number}" for number in range(3)}
    for folder in folders:
        folder.mkdir()
    bucket = s3_server.settings(f"{tmp_path.name}/") if way == "postgresql" else ""
    third = bucket.replace(tmp_path.name, f"{tmp_path.name}-third")
    between = bucket + (index(postgres_server) if way == "postgresql" else "")
    with receiver() as inbox:
        inbox.reply = lambda _: (503, {})
        rooms = "[transparency]\nenabled = true\n" + webhook(inbox, events='["tag"]')
        places = list(zip(folders, ("", between, third), strict=True))
        heads: list[bytes] = []
        key = b""
        for number, (folder, storage) in enumerate(places):
            with service(folder, storage + rooms, environment=environment) as found:
                heads.append(call(found.port, "GET", f"{LOG}/checkpoint")[2])
                push(found, "team/app", f"t{number}")
                eventually(lambda: inbox.requests, 60)
                heads.append(call(found.port, "GET", f"{LOG}/checkpoint")[2])
                keys = call(found.port, "GET", f"{LOG}/key")[2]
                key = key or keys
                assert keys == key
                if number == len(places) - 1:
                    inbox.reply = lambda _: (204, {})
                    # The pause before an attempt is as long as all that came before it.
                    eventually(lambda: set(inbox.subjects()) == tags, 250)
                    eventually(lambda: found.metric("events_pending") == 0)
                    continue
                after, after_storage = places[number + 1]
                line = (
                    "migrate",
                    "-c",
                    place(folder, storage),
                    "--to",
                    place(after, after_storage),
                )
                status, said = lading(*line, environment=environment)
                assert status == 0, said
    sizes = [int(head.splitlines()[1]) for head in heads[1:]]
    assert sizes == [1, 1, 2, 2, 3]
    assert heads[1] == heads[2]
    assert heads[3] == heads[4]


def test_keys_that_no_replica_could_open_stay(tmp_path: Path) -> None:
    root = tmp_path / "old"
    (root / "notary").mkdir(parents=True)
    (root / "notary/master.key").write_bytes(b"k" * 32)
    bucket = StorageSettings(StorageType.S3, bucket="images")
    new = RegistryConfig(
        root=tmp_path / "new", storage=bucket, index=IndexSettings(IndexType.POSTGRESQL)
    )
    with pytest.raises(MigrationError, match="sealed with a file"):
        check_keys(RegistryConfig(root=root), new)
    check_keys(RegistryConfig(root=root), RegistryConfig(root=tmp_path / "other"))
