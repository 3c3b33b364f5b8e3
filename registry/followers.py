"""Who follows the changes of the index: countersigning, the transparency log behind it, webhooks.

One process of all that serve a folder brings them up to date every few seconds; a reader of the log
does it for the log at once. Events that all of them took are dropped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from registry.backing import Backing, local_backing
from registry.config import RegistryConfig
from registry.database import NO_REPOSITORY
from registry.index import SqlIndex
from registry.outbox import read_events
from registry.protocols import Storage

if TYPE_CHECKING:
    from registry.countersign.countersigner import Countersigner
    from registry.countersign.keyring import Keyring
    from registry.events.front import EventFront
    from registry.transparency.log import TransparencyLog
    from registry.vault import Vault


@dataclass(frozen=True, slots=True)
class Followers:
    """The followers that the configuration asks for. Methods block."""

    index: SqlIndex
    countersigner: Countersigner | None = None
    log: TransparencyLog | None = None
    events: EventFront | None = None

    @classmethod
    def open(
        cls,
        config: RegistryConfig,
        index: SqlIndex,
        storage: Storage,
        events: EventFront | None = None,
        backing: Backing | None = None,
    ) -> Followers:
        """The followers of one registry; their keys are made on first use.

        Raises:
            RegistryStartError: a key does not open.
        """
        if not (config.transparency.enabled or config.countersign.enabled):
            return cls(index, events=events)
        # Keys, X.509 and trees are loaded by registries that use them.
        from registry.countersign.countersigner import Countersigner
        from registry.transparency.log import TransparencyLog
        from registry.transparency.store import LogStore
        from registry.vault import FOLDER, VARIABLE, Vault

        backing = backing or local_backing(config)
        vault = Vault.open(backing.files / FOLDER, os.environ.get(VARIABLE))
        countersigner = log = None
        if config.countersign.enabled:
            keyring = keyring_of(config, vault, backing)
            keyring.current()
            countersigner = Countersigner(config.countersign, index, storage, keyring)
        if config.transparency.enabled:
            origin = config.transparency.origin
            store = LogStore(config.root, backing.stores)
            log = TransparencyLog.open(store, index.reader, vault, origin=origin)
        return cls(index, countersigner, log, events)

    def catch_up(self) -> str:
        """Take what happened since; returns what there is to log about it."""
        said: list[str] = []
        positions: list[int] = []
        # The log comes second, so that it takes the countersignatures of this round as well.
        if self.countersigner is not None:
            signed = self.countersigner.catch_up()
            said += [f"{signed} manifests countersigned"] if signed else []
            positions.append(self.countersigner.position)
        if self.log is not None:
            appended = self.log.catch_up()
            said += [f"{appended} entries logged"] if appended else []
            positions.append(self.log.position)
        # Its courier takes events by itself.
        if self.events is not None and self.events.follower is not None:
            positions.append(self.events.follower.position)
        taken = min(positions, default=0)
        if any(event.id <= taken for event in read_events(self.index.reader(), after=0, limit=1)):
            self.index.write(NO_REPOSITORY, partial(self.index.drop_events, through=taken))
        return ", ".join(said)

    def wanted(self, config: RegistryConfig) -> bool:
        """Whether changes have to be written down once ``config`` holds."""
        return self.countersigner is not None or self.log is not None or bool(config.webhook)

    def close(self) -> None:
        """Release the files."""
        if self.log is not None:
            self.log.close()


def followed(config: RegistryConfig) -> bool:
    """Whether anybody follows, so that changes have to be written down."""
    return config.transparency.enabled or config.countersign.enabled or bool(config.webhook)


def keyring_of(config: RegistryConfig, vault: Vault, backing: Backing) -> Keyring:
    """The countersigning keys of one registry."""
    from registry.countersign.keyring import Keyring

    return Keyring(backing.files / "countersign", vault, subject=config.countersign.subject)
