"""Container directories: one per container, claimed while it runs, reclaimed when its owner is
gone.

::

    containers/<id>/container.json   the record; written last, so a directory without it is a
    leftover containers/<id>/upper, work      overlay directories, on the file system of the
    snapshots containers/.names/<name>         symbolic link to the id; its creation is what makes a
    name unique containers/.active/<id>          held by flock(2) for as long as somebody runs the
    container

Whoever comes next takes care of what a killed owner left: a claim that nobody holds belongs to a
dead owner, and its container is removed when it was to be removed at exit, else marked as exited
with 137.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from engine.containers.errors import ContainerConflictError, ContainerUnknownError
from images.trees import remove_tree
from records import Record, field_names, replace, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KILLED_STATUS = 137
STUBS = "stubs"
"""The store's directory of mount points that containers share; see ``runtime.request.Rootfs``."""
_RECORD = "container.json"
_REMOVE_ATTEMPTS = 50
_REMOVE_PAUSE = 0.002
"""Seconds."""


class ContainerRecord(Record):
    """What is known of a container. ``created`` is seconds since 1970; ``status`` is Docker's
    word.
    """

    id: str
    name: str
    image: str
    image_id: str
    created: float
    args: tuple[str, ...] = ()
    auto_remove: bool = False
    status: str = "created"
    exit_code: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    """Anonymous volumes, which go with the container."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ContainerRecord:
        """Read a record; fields of other versions are skipped."""
        known = {name: document[name] for name in field_names(cls) if name in document}
        known["args"] = tuple(known.get("args", ()))
        known["volumes"] = tuple(known.get("volumes", ()))
        known["labels"] = tuple(known.get("labels", {}).items())
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """The record as it is stored."""
        document = dict(zip(field_names(type(self)), values_of(self), strict=True))
        return {**document, "labels": dict(self.labels)}


class ContainerClaim:
    """A container that this process runs; ends with ``finish`` or with the process."""

    def __init__(
        self, directories: ContainerDirectories, record: ContainerRecord, lock: int
    ) -> None:
        self._directories = directories
        self._lock = lock
        self.record = record
        self.path = f"{directories.path}/{record.id}"

    @property
    def upper(self) -> str:
        """The overlay's upper directory."""
        return f"{self.path}/upper"

    @property
    def work(self) -> str:
        """The overlay's work directory."""
        return f"{self.path}/work"

    def update(self, **changes: Any) -> None:
        """Write the record with these fields changed."""
        self.record = replace(self.record, **changes)
        self._directories.write(self.record)

    def finish(self, exit_code: int) -> None:
        """The container has ended: remove it, or keep it as exited; then let go of it."""
        try:
            if self.record.auto_remove:
                self._directories.erase(self.record)
            else:
                self.update(status="exited", exit_code=exit_code)
        finally:
            self._directories.release(self.record.id, self._lock)


class ContainerDirectories:
    """The containers below a store's root."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.fspath(root)
        self.path = f"{self.root}/containers"
        self._names = f"{self.path}/.names"
        self._active = f"{self.path}/.active"

    def claim(self, record: ContainerRecord) -> ContainerClaim:
        """Make a container's directories and take its name.

        Raises:
            ContainerConflictError: another container has the name.
        """
        for folder in (self.path, self._active, self._names):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o710)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        lock = os.open(f"{self._active}/{record.id}", flags, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            self._take_name(record)
            folder = f"{self.path}/{record.id}"
            os.mkdir(folder, 0o710)
            os.mkdir(f"{folder}/upper", 0o755)
            os.mkdir(f"{folder}/work", 0o700)
            self.write(record)
        except BaseException:
            self.release(record.id, lock)
            raise
        return ContainerClaim(self, record, lock)

    def reclaim(self) -> int:
        """Take care of containers whose owner is gone; returns how many there were."""
        try:
            names = os.listdir(self.path)
            claims = set(os.listdir(self._active))
        except FileNotFoundError:
            return 0
        return sum(self._reclaim(identifier) for identifier in claims) + sum(
            self._sweep(name) for name in names if name not in claims and not name.startswith(".")
        )

    def records(self) -> Iterator[ContainerRecord]:
        """Every container, newest first."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        found = [self._read(name) for name in names if not name.startswith(".")]
        yield from sorted(filter(None, found), key=lambda record: record.created, reverse=True)

    def find(self, text: str) -> ContainerRecord:
        """A container by id, name or unique beginning of an id, in this order.

        Raises:
            ContainerUnknownError: none, or more than one.
        """
        records = list(self.records())
        for match in (
            [record for record in records if text in (record.id, record.name)],
            [record for record in records if record.id.startswith(text)] if text else [],
        ):
            if len(match) == 1:
                return match[0]
            if match:
                raise ContainerUnknownError(f"multiple IDs found with provided prefix: {text}")
        raise ContainerUnknownError(f"No such container: {text}")

    def remove(self, record: ContainerRecord) -> None:
        """Remove a container that does not run.

        Raises:
            ContainerConflictError: it runs.
        """
        if os.path.exists(f"{self._active}/{record.id}"):
            raise ContainerConflictError(
                f"cannot remove container {record.name}: container is running", fix="stop it first"
            )
        self.erase(record)

    def prune(self) -> list[ContainerRecord]:
        """Remove every container that does not run; returns them."""
        self.reclaim()
        stopped = [r for r in self.records() if not os.path.exists(f"{self._active}/{r.id}")]
        for record in stopped:
            self.erase(record)
        return stopped

    def erase(self, record: ContainerRecord) -> None:
        """Remove directories, anonymous volumes and name, in an order that a kill may interrupt."""
        for volume in record.volumes:
            with suppress(FileNotFoundError):
                remove_tree(f"{self.root}/volumes/{volume}")
        _remove(f"{self.path}/{record.id}")
        link = f"{self._names}/{record.name}"
        with suppress(OSError):
            if os.readlink(link) == record.id:
                os.unlink(link)

    def write(self, record: ContainerRecord) -> None:
        """Replace a container's record."""
        place = f"{self.path}/{record.id}/{_RECORD}"
        with open(f"{place}.new", "w", encoding="utf-8") as stage:
            stage.write(json.dumps(record.to_json()))
        os.rename(f"{place}.new", place)

    def release(self, identifier: str, lock: int) -> None:
        """Give a claim up: the file goes while it is still held, so nobody locks a deleted one."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._active}/{identifier}")
        os.close(lock)

    def _take_name(self, record: ContainerRecord) -> None:
        link = f"{self._names}/{record.name}"
        for _ in range(2):
            try:
                os.symlink(record.id, link)
            except FileExistsError:
                holder = os.readlink(link)
                if any(os.path.exists(f"{top}/{holder}") for top in (self.path, self._active)):
                    raise ContainerConflictError(
                        f'Conflict. The container name "/{record.name}" is already in use by '
                        f'container "{holder}". You have to remove (or rename) that container '
                        "to be able to reuse that name."
                    ) from None
                with suppress(FileNotFoundError):
                    os.unlink(link)
            else:
                return
        raise ContainerConflictError(f'The container name "/{record.name}" is being taken')

    def _reclaim(self, identifier: str) -> bool:
        try:
            lock = os.open(f"{self._active}/{identifier}", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        record = self._read(identifier)
        try:
            if record is None:
                _remove(f"{self.path}/{identifier}")
            elif record.auto_remove:
                self.erase(record)
            elif record.status != "exited":
                self.write(replace(record, status="exited", exit_code=KILLED_STATUS))
        except OSError:
            # Its shim may still be taking it down: the next command tries again.
            os.close(lock)
            return False
        self.release(identifier, lock)
        return True

    def _sweep(self, name: str) -> bool:
        """A directory without record that nobody claims: its removal was cut short."""
        folder = f"{self.path}/{name}"
        if os.path.exists(f"{folder}/{_RECORD}") or os.path.exists(f"{self._active}/{name}"):
            return False
        with suppress(OSError):
            _remove(folder)
            return True
        return False

    def _read(self, identifier: str) -> ContainerRecord | None:
        try:
            with open(f"{self.path}/{identifier}/{_RECORD}", encoding="utf-8") as file:
                return ContainerRecord.from_json(json.load(file))
        except (OSError, ValueError, TypeError):
            return None


def _remove(folder: str) -> None:
    """Remove a container's directory while its supervisor may still be removing things in it.

    Raises:
        OSError: it cannot be removed, or keeps filling.
    """
    for attempt in range(_REMOVE_ATTEMPTS):
        try:
            return remove_tree(folder)
        except FileNotFoundError:
            if not os.path.exists(folder):
                return None
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt == _REMOVE_ATTEMPTS - 1:
                raise
        time.sleep(_REMOVE_PAUSE)
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), folder)
