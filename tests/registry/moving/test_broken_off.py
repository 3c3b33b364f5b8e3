"""Moves that are killed, taken back or refused: the old store goes on, nothing is served twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry.config import RegistryConfig
from registry.database import NO_REPOSITORY
from registry.errors import MigrationError, StoreMovedError, StoreMovingError
from registry.index import SqliteIndex
from registry.moving import migration as module
from registry.moving.front import Options, move, plan, take_back
from registry.moving.migration import Migration, Side
from registry.moving.state import ARRIVING, BOOT, GRACE, MOVE, Move, Phase
from tests.registry.moving.kit import lading
from tests.registry.store_kit import Store


def store_at(root: Path, images: int = 40) -> None:
    store = Store(root)
    for number in range(images):
        store.push_image(f"team/app{number % 7}", f"t{number}", layers=[os.urandom(2000)])
    store.close()


def config(root: Path) -> RegistryConfig:
    return RegistryConfig(root=root)


def rows(root: Path) -> list[tuple[Any, ...]]:
    """Every tag with its manifest, and what is counted."""
    index = SqliteIndex(root)
    sql = (
        "SELECT r.name, r.bytes, r.tags, t.name, t.digest FROM tags t"
        " JOIN repositories r ON r.id = t.repository ORDER BY 1, 4"
    )
    try:
        return index.reader().execute(sql).fetchall()
    finally:
        index.close()


def write(root: Path) -> None:
    """Write something to the index of a store, as any process may."""
    index = SqliteIndex(root)
    try:
        index.write(NO_REPOSITORY, partial(index.set_fact, "written", time.time()))
    finally:
        index.close()


def phase(root: Path) -> Phase | None:
    index = SqliteIndex(root)
    try:
        found = Move.of_fact(index.fact(MOVE))
        return None if found is None else found.phase
    finally:
        index.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    root = tmp_path / "old"
    store_at(root)
    return root


POINTS = ("copy_content", "copy_rows", "rest", "compare", "close", "closed", "open")


def die_at(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Be killed at a point of the next move."""

    def dying(method: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if after:
                method(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        return call

    where: dict[str, tuple[type, str, bool]] = {
        "copy_content": (Migration, "_copy_content", True),
        "copy_rows": (Migration, "_copy_rows", True),
        "rest": (module._Rest, "_rest", True),
        "compare": (Migration, "_prepare_new", False),
        "close": (module._Rest, "close_for_good", False),
        "closed": (module._Rest, "close_for_good", True),
        "open": (Migration, "_open_new", True),
    }
    owner, name, after = where[point]
    monkeypatch.setattr(owner, name, dying(getattr(owner, name), after=after))


def killed(old: Path, new: Path, point: str) -> None:
    """Move in a process that is killed at a point."""
    child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as patch:
                die_at(patch, point)
                move(config(old), config(new), Options(jobs=2))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_anywhere_and_the_next_run(old: Path, tmp_path: Path, point: str) -> None:
    new, before = tmp_path / "new", rows(old)
    killed(old, new, point)
    if point != "open":
        # Nobody serves what is not whole.
        status, said = lading("check", "--storage", new)
        assert status != 0
        assert "is not complete" in said
    if point in ("copy_content", "copy_rows"):
        write(old)
    elif point in ("rest", "compare", "close"):
        with pytest.raises(StoreMovingError, match="being moved"):
            write(old)
    else:
        with pytest.raises(StoreMovedError, match="was moved to"):
            write(old)
    if point == "open":
        with pytest.raises(MigrationError, match="was moved to"):
            move(config(old), config(new), Options())
    else:
        report = move(config(old), config(new), Options())
        assert report.blobs <= 0 or point == "copy_content" or report.blobs < 90
    assert phase(old) is Phase.MOVED
    assert rows(new) == before
    assert lading("check", "--storage", new)[0] == 0


def test_a_store_whose_mover_is_gone_opens_by_itself(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(old, tmp_path / "new", "rest")
    with pytest.raises(StoreMovingError):
        write(old)
    later = time.time() + module._REST_SECONDS + GRACE + 1
    monkeypatch.setattr("registry.database.time.time", lambda: later)
    write(old)
    assert phase(old) is None
    index = SqliteIndex(old)
    # What clients were told meanwhile was not written down.
    assert index.fact(BOOT)["moment"] == int(later)
    index.close()


@pytest.mark.parametrize("point", ["copy_rows", "rest", "closed"])
def test_a_move_is_taken_back(old: Path, tmp_path: Path, point: str) -> None:
    new = tmp_path / "new"
    killed(old, new, point)
    (tmp_path / "new.toml").write_text(f'root = "{new}"\n')
    line = ["migrate", "--storage", old, "--abort"]
    if point == "closed":
        status, said = lading(*line)
        assert status != 0
        assert "name the new configuration with --to" in said
        line += ["--to", tmp_path / "new.toml"]
    status, said = lading(*line)
    assert status == 0, said
    write(old)
    assert phase(old) is None
    with pytest.raises(MigrationError, match="not being moved"):
        take_back(config(old), None)
    # What it left is nobody's, and is not filled by another move.
    with pytest.raises(MigrationError, match="another move, from"):
        move(config(old), config(new), Options())
    move(config(old), config(tmp_path / "other"), Options())


def test_a_move_that_is_over_is_not_taken_back(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    move(config(old), config(new), Options())
    with pytest.raises(MigrationError, match="open and may have been written to"):
        take_back(config(old), config(new))
    with pytest.raises(StoreMovedError):
        write(old)
    write(new)


def test_a_rest_that_takes_too_long_is_given_up(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRIES", 2)
    with pytest.raises(MigrationError, match="the rest takes longer than 0 s"):
        move(config(old), config(tmp_path / "new"), Options(rest=0.0))
    write(old)
    move(config(old), config(tmp_path / "new"), Options())


def test_a_store_that_did_not_rest_is_not_closed(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process that moves it was stopped for a while."""
    prepare = Migration._prepare_new

    def and_somebody_writes(self: Migration) -> None:
        prepare(self)
        later = time.time() + 100
        monkeypatch.setattr("registry.database.time.time", lambda: later)
        write(old)

    monkeypatch.setattr(Migration, "_prepare_new", and_somebody_writes)
    with pytest.raises(MigrationError, match="did not rest"):
        move(config(old), config(tmp_path / "new"), Options())
    monkeypatch.undo()
    write(old)
    move(config(old), config(tmp_path / "new"), Options())
    assert any(row[0] == "team/app0" for row in rows(tmp_path / "new"))


def test_two_at_once(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Migration._begin

    def and_another(self: Migration) -> Move:
        with pytest.raises(MigrationError, match="another move"):
            move(config(old), config(tmp_path / "third"), Options())
        return begin(self)

    monkeypatch.setattr(Migration, "_begin", and_another)
    move(config(old), config(tmp_path / "new"), Options())


def test_places_that_cannot_be(old: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    store_at(full, images=1)
    with pytest.raises(MigrationError, match="something already"):
        move(config(old), config(full), Options())
    with pytest.raises(MigrationError, match="name the same one"):
        move(config(old), config(old), Options())
    with pytest.raises(MigrationError, match="inside the other"):
        move(config(old), config(old / "deeper"), Options())
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "letter").write_text("dear")
    with pytest.raises(MigrationError, match="no store"):
        move(config(old), config(strange), Options())
    third = tmp_path / "third"
    store_at(third, images=1)
    killed(third, tmp_path / "new", "copy_content")
    with pytest.raises(MigrationError, match="another move, from"):
        move(config(old), config(tmp_path / "new"), Options())
    with pytest.raises(MigrationError, match=r"is moved to .*new.* already"):
        move(config(third), config(tmp_path / "fourth"), Options())
    write(old)


def test_damage_stays_where_it_is(old: Path, tmp_path: Path) -> None:
    blob = next((old / "blobs/sha256").iterdir())
    blob.chmod(0o600)
    blob.write_bytes(b"x" * blob.stat().st_size)
    with pytest.raises(MigrationError, match="1 blobs are missing or damaged"):
        move(config(old), config(tmp_path / "new"), Options())
    write(old)
    report = move(config(old), config(tmp_path / "new"), Options(leave_damaged=True))
    assert [it.split(": ")[0] for it in report.missing] == [f"sha256:{blob.name}"]


def test_a_plan_writes_nothing(old: Path, tmp_path: Path) -> None:
    found = plan(config(old), config(tmp_path / "new"))
    assert (found.repositories, found.blobs, found.content_stays) == (7, 81, False)
    assert not (tmp_path / "new").exists()
    assert phase(old) is None
    (tmp_path / "new.toml").write_text(f'root = "{tmp_path / "new"}"\n')
    line = ("migrate", "--storage", old, "--to", tmp_path / "new.toml", "--dry-run")
    status, said = lading(*line)
    assert (status, "7 repositories" in said) == (0, True), said
    status, said = lading(*line, "--format", "json")
    assert json.loads(said)["blobs"] == 81
    assert lading("migrate", "--storage", old)[0] == 125


def test_what_belongs_to_one_index_does_not_travel(old: Path, tmp_path: Path) -> None:
    (old / "keys").mkdir()
    (old / "keys/key.pem").write_text("secret")
    (old / "keys/key.pem").chmod(0o600)
    index = SqliteIndex(old)
    index.write(NO_REPOSITORY, partial(index.set_fact, "kept", {"a": 1}))
    index.close()
    new = tmp_path / "new"
    move(config(old), config(new), Options())
    assert (new / "keys/key.pem").read_text() == "secret"
    assert (new / "keys/key.pem").stat().st_mode & 0o777 == 0o600
    index = SqliteIndex(new)
    try:
        assert index.fact("kept") == {"a": 1}
        assert index.fact(ARRIVING) is None
        assert index.fact(MOVE) is None
        assert index.fact(BOOT)["id"] == "moved"
    finally:
        index.close()
    assert lading("rebuild-index", "--storage", new)[0] == 0
    assert [row[3:] for row in rows(new)] == [row[3:] for row in rows(old)]


@pytest.mark.soak
def test_kills_at_random_moments(old: Path, tmp_path: Path) -> None:
    """kill -9 of the real command, again and again, until one run comes to its end."""
    from tests.registry.moving.kit import command

    new, before = tmp_path / "new", rows(old)
    (tmp_path / "new.toml").write_text(f'root = "{new}"\n')
    line = command(
        "migrate", "--storage", old, "--to", tmp_path / "new.toml", "--bandwidth", "100KB"
    )
    for number in range(40):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            status: int | None = process.wait(0.6 + 0.05 * number)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        if status == 0 or phase(old) is Phase.MOVED:
            break
    if status != 0:
        with_rest = lading("migrate", "--storage", old, "--to", tmp_path / "new.toml")
        assert with_rest[0] == 0 or "was moved to" in with_rest[1]
    assert rows(new) == before
    assert lading("check", "--storage", new)[0] == 0


def test_a_side_names_itself(old: Path) -> None:
    from registry.moving.migration import opened

    with opened(config(old)) as side:
        assert isinstance(side, Side)
        assert side.name == f"{old}/index.db with blobs in {old}/blobs"
