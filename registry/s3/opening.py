"""What a registry is given when its blobs are in a bucket."""

from __future__ import annotations

from registry.config import RegistryConfig
from registry.protocols import Storage
from registry.s3.connecting import connect
from registry.s3.sending import RemoteContent
from registry.s3.storage import ObjectStorage
from registry.workers import Workers


def open_objects(config: RegistryConfig) -> ObjectStorage:
    """The storage of the settings.

    Raises:
        RegistryStartError: the bucket cannot be used.
    """
    return ObjectStorage(connect(config.storage), part_size=config.storage.part_size)


def sender_of(config: RegistryConfig, storage: Storage, workers: Workers) -> RemoteContent:
    """How blobs of such a storage reach clients."""
    assert isinstance(storage, ObjectStorage)
    settings = config.storage
    expiry = settings.redirect_expiry if settings.redirect else None
    return RemoteContent(storage, workers, config.limits.idle_timeout, expiry)
