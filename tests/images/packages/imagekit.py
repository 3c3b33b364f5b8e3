"""Images whose layers install packages, one step after another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from images.config import HistoryEntry, ImageConfig
from images.layers import entry as kinds
from images.layers.entry import Entry
from images.manifest import Manifest
from images.platform import Platform
from images.store import Image, ImageStore
from tests.images.storekit import put_layer

RELEASE = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n'


def file(path: str, data: bytes = b"", mode: int = 0o644) -> Entry:
    return Entry(path, kinds.FILE, mode=mode, size=len(data), source=data)


def folder(path: str) -> Entry:
    return Entry(path, kinds.DIRECTORY, mode=0o755)


def link(path: str, target: str) -> Entry:
    return Entry(path, kinds.SYMLINK, linkname=target)


def status(**packages: str) -> bytes:
    """A dpkg status file of packages with their versions."""
    head = "Status: install ok installed\nArchitecture: amd64"
    stanzas = (f"Package: {name}\n{head}\nVersion: {packages[name]}\n\n" for name in packages)
    return "".join(stanzas).encode()


def package_json(name: str, version: str = "1.0.0") -> bytes:
    return json.dumps({"name": name, "version": version, "license": "MIT"}).encode()


def image_of(
    store: ImageStore,
    steps: Mapping[str, Sequence[Entry]],
    *,
    compression: str = "gzip",
) -> Image:
    """An image with a layer for every step that brings something."""
    layers, history = [], []
    for text, entries in steps.items():
        if entries:
            layers.append(put_layer(store, *entries, compression=compression))
        history.append(HistoryEntry(created_by=text, empty_layer=not entries))
    config = ImageConfig.build(
        Platform.host(), [layer.diff_id for layer in layers], history=history
    )
    store.blobs.put(config.raw)
    manifest = Manifest.build(config.descriptor(), [layer.descriptor for layer in layers])
    store.blobs.put(manifest.raw)
    store.add_image(manifest.descriptor)
    return Image(manifest, config, manifest.descriptor)
