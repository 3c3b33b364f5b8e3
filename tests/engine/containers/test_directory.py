"""Container directories: claims, names, and what is left when an owner dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from engine.containers.directory import ContainerDirectories, ContainerRecord
from engine.containers.errors import ContainerConflictError, ContainerUnknownError
from engine.containers.names import random_identifier, random_name


def record(name: str, **changes) -> ContainerRecord:
    values = {
        "id": random_identifier(),
        "name": name,
        "image": "debian",
        "image_id": "sha256:" + "0" * 64,
        "created": 1.0,
        "status": "running",
    }
    return ContainerRecord(**{**values, **changes})


@pytest.fixture
def directories(tmp_path) -> ContainerDirectories:
    return ContainerDirectories(tmp_path)


def everything(directories: ContainerDirectories) -> list[str]:
    return sorted(
        str(path.relative_to(Path(directories.path)))
        for path in Path(directories.path).rglob("*")
        if path.name not in (".names", ".active")
    )


def test_a_claim_makes_what_an_overlay_needs(directories):
    claim = directories.claim(record("web"))
    assert Path(claim.upper).is_dir()
    assert Path(claim.work).is_dir()
    assert Path(claim.path).stat().st_mode & 0o007 == 0
    assert Path(directories.path).stat().st_mode & 0o007 == 0
    claim.finish(0)


def test_auto_removed_containers_leave_nothing(directories):
    claim = directories.claim(record("web", auto_remove=True))
    (Path(claim.upper) / "deep/er").mkdir(parents=True)
    (Path(claim.upper) / "deep/er/file").write_text("x")
    claim.finish(0)
    assert everything(directories) == []


def test_kept_containers_remember(directories):
    claim = directories.claim(
        record("web", args=("sh", "-c"), labels=(("a", "b"),), volumes=("v",))
    )
    claim.finish(3)
    found = directories.find("web")
    assert found == claim.record
    assert (found.status, found.exit_code, found.args) == ("exited", 3, ("sh", "-c"))
    assert (found.labels, found.volumes) == ((("a", "b"),), ("v",))


def test_names_are_unique_while_they_are_held(directories):
    first = directories.claim(record("web"))
    with pytest.raises(ContainerConflictError) as caught:
        directories.claim(record("web"))
    assert caught.value.what == (
        'Conflict. The container name "/web" is already in use by container '
        f'"{first.record.id}". You have to remove (or rename) that container to be able to '
        "reuse that name."
    )
    assert len(os.listdir(Path(directories.path) / ".active")) == 1
    first.finish(0)
    with pytest.raises(ContainerConflictError):
        directories.claim(record("web"))
    directories.remove(directories.find("web"))
    directories.claim(record("web")).finish(0)


def test_a_name_that_leads_nowhere_is_free(directories):
    directories.claim(record("other")).finish(0)
    (Path(directories.path) / ".names/web").symlink_to("gone")
    directories.claim(record("web")).finish(0)
    assert directories.find("web").name == "web"


def test_finding(directories):
    one = directories.claim(record("one", id="aa" + "0" * 62, created=1.0))
    two = directories.claim(record("aa0", id="ab" + "0" * 62, created=2.0))
    assert [found.name for found in directories.records()] == ["aa0", "one"]
    assert directories.find("aa0").id == two.record.id
    assert directories.find("aa00").name == "one"
    assert directories.find(one.record.id).name == "one"
    with pytest.raises(ContainerUnknownError, match="multiple IDs"):
        directories.find("a")
    for text in ("none", ""):
        with pytest.raises(ContainerUnknownError, match="No such container"):
            directories.find(text)
    one.finish(0)
    two.finish(0)


def test_running_containers_are_not_removed(directories):
    claim = directories.claim(record("web"))
    with pytest.raises(ContainerConflictError, match="container is running"):
        directories.remove(claim.record)
    claim.finish(0)


def test_pruning_spares_what_runs(directories):
    directories.claim(record("one")).finish(0)
    running = directories.claim(record("two"))
    assert [found.name for found in directories.prune()] == ["one"]
    assert [found.name for found in directories.records()] == ["two"]
    running.finish(0)


def test_no_directory_at_all(directories):
    assert directories.reclaim() == 0
    assert list(directories.records()) == []


def die_with_claim(directories: ContainerDirectories, made: ContainerRecord) -> None:
    """Claim in another process, which is then killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        claim = directories.claim(made)
        (Path(claim.upper) / "file").write_text("x")
        os.write(writer, b"x")
        signal.pause()
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    assert directories.reclaim() == 0
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)


def test_what_a_killed_owner_left_is_removed(directories, tmp_path):
    volume = tmp_path / "volumes/anonymous/_data"
    volume.mkdir(parents=True)
    die_with_claim(directories, record("web", auto_remove=True, volumes=("anonymous",)))
    assert directories.reclaim() == 1
    assert everything(directories) == []
    assert not volume.exists()


def test_what_a_killed_owner_wanted_to_keep_is_kept(directories):
    die_with_claim(directories, record("web"))
    assert directories.reclaim() == 1
    found = directories.find("web")
    assert (found.status, found.exit_code) == ("exited", 137)
    assert directories.reclaim() == 0


def test_an_owner_killed_before_the_record_was_written(directories):
    made = record("web")
    die_with_claim(directories, made)
    (Path(directories.path) / made.id / "container.json").unlink()
    assert directories.reclaim() == 1
    assert [name for name in everything(directories) if not name.startswith(".names")] == []
    directories.claim(record("web")).finish(0)


def test_a_removal_that_was_cut_short_is_finished(directories):
    directories.claim(record("web")).finish(0)
    (Path(directories.path) / "0123/upper").mkdir(parents=True)
    assert directories.reclaim() == 1
    assert [found.name for found in directories.records()] == ["web"]
    assert not (Path(directories.path) / "0123").exists()


def test_damaged_records_are_skipped(directories):
    directories.claim(record("web")).finish(0)
    for text in ("", "{", "[]", '{"id": 1}'):
        (Path(directories.path) / directories.find("web").id / "container.json").rename(
            Path(directories.path) / "kept.json"
        )
        folder = next(Path(directories.path).glob("[0-9a-f]*"))
        (folder / "container.json").write_text(text)
        assert list(directories.records()) == []
        (Path(directories.path) / "kept.json").rename(folder / "container.json")


def test_generated_names_and_ids():
    assert all(random_name().count("_") == 1 for _ in range(50))
    assert all(random_name(1)[-1].isdecimal() for _ in range(50))
    identifiers = {random_identifier() for _ in range(50)}
    assert len(identifiers) == 50
    assert all(len(identifier) == 64 for identifier in identifiers)
