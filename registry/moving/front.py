"""What ``lading registry migrate`` calls: a move checked, planned, made or taken back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.config import RegistryConfig
from registry.errors import MigrationError
from registry.moving.content import totals
from registry.moving.migration import (
    Migration,
    MoveReport,
    Options,
    Progress,
    Side,
    abort,
    alone,
    opened,
    same_place,
)
from registry.moving.rooms import check_keys
from registry.s3.settings import StorageType
from registry.service import open_storage
from registry.sql.settings import IndexType

_EXPECTED: Final = frozenset({"index.db", "index.lock", "journal", "generations", "writer.lock"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What a move would do; sizes in bytes."""

    index: str
    to_index: str
    content: str
    to_content: str
    content_stays: bool
    repositories: int
    blobs: int
    bytes: int


def plan(old: RegistryConfig, new: RegistryConfig) -> Plan:
    """See what a move would do, and whether the target's storage answers; nothing is written there.

    Raises:
        MigrationError: the configurations do not fit. RegistryStartError: a store cannot be used.
    """
    check_configurations(old, new)
    with opened(old) as side:
        stays = _content_of(old) == _content_of(new)
        if new.storage.type is not StorageType.FILES and not stays:
            there = open_storage(new)
            if not there.is_empty():
                _refuse_full(str(there.place))
        (repositories,) = (
            side.index.reader().execute("SELECT COUNT(*) FROM repositories").fetchone()
        )
        number, size = totals(side.index)
        return Plan(
            _index_of(old),
            _index_of(new),
            _content_of(old),
            _content_of(new),
            stays,
            repositories,
            number,
            size,
        )


def move(
    old: RegistryConfig,
    new: RegistryConfig,
    options: Options,
    *,
    told: Callable[[Progress], object] = lambda _: None,
) -> MoveReport:
    """Move a store; blocks.

    Raises:
        MigrationError: it cannot be moved like this; the old store serves as before.
        RegistryStartError, STORE_ERRORS, EnvironmentFault: a store fails; run it again.
    """
    check_configurations(old, new)
    with ExitStack() as stack:
        here = stack.enter_context(opened(old))
        stack.enter_context(alone(here))
        there = stack.enter_context(opened(new))
        return Migration(here, there, options, told=told).run()


def take_back(old: RegistryConfig, new: RegistryConfig | None) -> None:
    """Let the old store serve again; blocks.

    Raises:
        MigrationError: it is not being moved, or the new one is open.
    """
    with ExitStack() as stack:
        here = stack.enter_context(opened(old))
        stack.enter_context(alone(here))
        there = None if new is None else stack.enter_context(opened(new))
        abort(here, there)


def check_configurations(old: RegistryConfig, new: RegistryConfig) -> None:
    """Refuse what is no move.

    Raises:
        MigrationError: the two are the same store, one is inside the other, or what is at the new
        place is no store.
    """
    if _index_of(old) == _index_of(new):
        raise MigrationError(
            "the index is moved as well, and both configurations name the same one",
            where=_index_of(new),
            fix="give the new configuration another root",
        )
    one, other = old.root.resolve(), new.root.resolve()
    if one != other and (one in other.parents or other in one.parents):
        raise MigrationError("one store is inside the other", where=str(new.root))
    check_keys(old, new)
    if one != other and new.root.exists():
        names = {path.name for path in new.root.iterdir()}
        if names and not names & _EXPECTED:
            raise MigrationError(
                "there is something that is no store", where=str(new.root), fix="name another root"
            )


def _refuse_full(where: str) -> None:
    raise MigrationError(
        "there is something already", where=where, fix="name a place that is empty"
    )


def _index_of(config: RegistryConfig) -> str:
    if config.index.type is IndexType.POSTGRESQL:
        # The driver is imported by who has such an index alone.
        from registry.sql.postgres.link import Address

        return Address(config.index).where
    return str(Path(config.root, "index.db").resolve())


def _content_of(config: RegistryConfig) -> str:
    storage = config.storage
    if storage.type is StorageType.FILES:
        return str(Path(config.root, "blobs").resolve())
    return f"{storage.endpoint or 's3:/'}/{storage.bucket}/{storage.prefix}"


__all__ = ["Options", "Plan", "Progress", "Side", "move", "plan", "same_place", "take_back"]
