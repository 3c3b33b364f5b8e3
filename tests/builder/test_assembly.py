"""Configs and manifests: dates, history and bytes that do not depend on when they were written."""

from __future__ import annotations

import json

from builder.assembly import assemble
from builder.plan.model import HistoryDraft, ImageDraft
from builder.solver.records import StoredLayer
from images.config import HistoryEntry
from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_LAYER_GZIP
from images.platform import Platform

NOW = "2026-01-01T00:00:00Z"
BASE_DATE = "2020-01-01T00:00:00Z"


def _layer(name: str, created: str = "") -> StoredLayer:
    digest = Digest.of(name.encode())
    return StoredLayer(digest, Descriptor(OCI_LAYER_GZIP, digest, 1), created)


def _draft(*history: HistoryDraft) -> ImageDraft:
    return ImageDraft(Platform("linux", "amd64"), {"Cmd": ["x"]}, history, "me")


BASE = HistoryDraft("base", inherited=HistoryEntry(created=BASE_DATE, created_by="base"))


def test_every_entry_is_dated_by_its_layer() -> None:
    draft = _draft(BASE, HistoryDraft("ENV"), HistoryDraft("RUN", 3), HistoryDraft("CMD"))
    layers = [_layer("base"), _layer("run", "2025-05-05T05:05:05Z")]
    image = assemble(draft, layers, now=NOW)
    assert [entry.created for entry in image.config.history] == [
        BASE_DATE,
        BASE_DATE,
        "2025-05-05T05:05:05Z",
        "2025-05-05T05:05:05Z",
    ]
    assert image.config.created == "2025-05-05T05:05:05Z"
    assert [entry.empty_layer for entry in image.config.history] == [False, True, False, True]
    assert assemble(draft, layers, now="2027-01-01T00:00:00Z") == image


def test_metadata_before_the_first_layer_takes_its_date() -> None:
    draft = _draft(HistoryDraft("ENV"), HistoryDraft("COPY", 1))
    image = assemble(draft, [_layer("copy", "2025-05-05T05:05:05Z")], now=NOW)
    assert {entry.created for entry in image.config.history} == {"2025-05-05T05:05:05Z"}


def test_now_dates_what_nothing_else_does() -> None:
    image = assemble(_draft(HistoryDraft("ENV")), [], now=NOW)
    assert image.config.created == NOW
    assert assemble(_draft(), [], now=NOW).config.created == NOW


def test_the_documents() -> None:
    layers = [_layer("one", NOW)]
    image = assemble(_draft(HistoryDraft("RUN", 1)), layers, now=NOW, annotations={"k": "v"})
    config = json.loads(image.config.raw)
    assert config["architecture"] == "amd64"
    assert config["author"] == "me"
    assert config["config"] == {"Cmd": ["x"]}
    assert config["rootfs"]["diff_ids"] == [str(layers[0].diff_id)]
    assert config["history"][0]["comment"] == "buildkit.dockerfile.v0"
    assert image.manifest.layers == (layers[0].descriptor,)
    assert image.manifest.annotations == {"k": "v"}
    assert image.descriptor.digest == Digest.of(image.manifest.raw)
    assert image.image_id == Digest.of(image.config.raw)


def test_a_base_without_history_does_not_confuse_the_dates() -> None:
    layers = [_layer("a"), _layer("b"), _layer("run", "2025-05-05T05:05:05Z")]
    image = assemble(_draft(HistoryDraft("RUN", 1)), layers, now=NOW)
    assert image.config.history[0].created == "2025-05-05T05:05:05Z"
