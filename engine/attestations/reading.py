"""Statements of an image with what they say, from the store or from a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.attestations.finding import (
    Findings,
    find_remote,
    find_stored,
    read_remote,
    read_stored,
)
from records import replace

if TYPE_CHECKING:
    from engine.access import Access
    from engine.attestations.manifests import Attached
    from engine.attestations.statement import Statement
    from images.client import RegistryClient
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore


def list_stored(store: ImageStore, name: str, *, platform: Platform | None = None) -> Findings:
    """What is attached to a stored image; raises as ``ImageStore.lookup`` and ``find_stored``."""
    return _for(find_stored(store, store.lookup(name).descriptor), platform)


def list_remote(
    access: Access, reference: Reference, *, platform: Platform | None = None
) -> Findings:
    """What is attached to an image in its registry; raises as ``find_remote``."""
    from engine.registries import call

    return _for(call(access, lambda client: find_remote(client, reference)), platform)


def stored_statements(
    store: ImageStore, name: str, *, platform: Platform | None = None
) -> list[tuple[Attached, Statement]]:
    """The statements about a stored image; raises as ``list_stored`` and ``read_stored``."""
    found = list_stored(store, name, platform=platform).attached
    return [(item, read_stored(store, item)) for item in found]


def remote_statements(
    access: Access, reference: Reference, *, platform: Platform | None = None
) -> list[tuple[Attached, Statement]]:
    """The statements about an image in its registry; raises as ``find_remote``, ``read_remote``."""
    from engine.registries import call

    async def read(client: RegistryClient) -> list[tuple[Attached, Statement]]:
        found = _for(await find_remote(client, reference), platform).attached
        return [(item, await read_remote(client, reference, item)) for item in found]

    return call(access, read)


def _for(findings: Findings, platform: Platform | None) -> Findings:
    """Those about one platform; an image that stands alone is of no other."""
    if platform is None:
        return findings
    kept = (
        item
        for item in findings.attached
        if item.platform is None or item.platform.matches(platform)
    )
    return replace(findings, attached=tuple(kept))
