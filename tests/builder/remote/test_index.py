"""The cache index as bytes: what is written is read again, and what others write is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.remote.index import (
    ARTIFACT_TYPE,
    DEPTH,
    EMPTY,
    INDEX_TYPE,
    RECORDS,
    CachedMount,
    CacheFormatError,
    CacheIndex,
    decode,
    encode,
    is_cache,
    manifest_of,
)
from images import strictjson
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_EMPTY
from tests.builder.remote.kit import index, key, layer, record


def test_an_index_is_read_as_it_was_written() -> None:
    base, one, two = layer("base", created=""), layer("one"), layer("two")
    written = CacheIndex(
        (record("a", base, one), record("b", base, one, two), record("c", two)),
        (CachedMount("/root/.cache", layer("mount"), 5),),
        frozenset({base.descriptor.digest}),
    )
    assert decode(encode(written)) == written
    assert encode(decode(encode(written))) == encode(written)


def test_a_layer_is_written_once_however_many_steps_stand_on_it() -> None:
    layers = [layer(str(number)) for number in range(100)]
    records = [record(str(number), *layers[: number + 1]) for number in range(100)]
    document = json.loads(encode(CacheIndex(tuple(records))))
    assert len(document["layers"]) == 100
    assert document["chains"][:2] == [[-1, 0], [0, 1]]
    assert len(document["chains"]) == 100


def test_equal_layers_of_different_dates_stay_apart() -> None:
    old, new = layer("x", created="2020-01-01T00:00:00Z"), layer("x")
    written = CacheIndex((record("a", old), record("b", new)))
    assert decode(encode(written)).records[0].layers[0].created == "2020-01-01T00:00:00Z"
    assert len(written.kept()) == 1


def test_the_manifest_has_the_shape_of_an_images() -> None:
    base, own = layer("base"), layer("own")
    cache = CacheIndex((record("a", base, own),), bases=frozenset({base.descriptor.digest}))
    raw, manifest = manifest_of(cache)
    parsed = Manifest.parse(manifest.raw)
    assert parsed.artifact_type == ARTIFACT_TYPE
    assert (parsed.config.media_type, parsed.config.digest) == (INDEX_TYPE, Digest.of(raw))
    # The base's layers are kept where the base is.
    assert parsed.layers == (own.descriptor,)
    assert is_cache(parsed)


def test_a_cache_without_layers_has_the_empty_one() -> None:
    _, manifest = manifest_of(CacheIndex())
    assert [(it.media_type, it.digest) for it in manifest.layers] == [(OCI_EMPTY, Digest.of(EMPTY))]


def changed(**fields: Any) -> bytes:
    """A good index with other top-level fields."""
    return strictjson.dumps({**json.loads(encode(index("a", "b"))), **fields})


def in_row(table: str, **fields: Any) -> bytes:
    """A good index whose first row of a table has other fields."""
    document = json.loads(encode(index("a", "b")))
    document[table][0] = {**document[table][0], **fields}
    return strictjson.dumps(document)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"format":2}', "unknown cache format"),
        (changed(layers=None), "no list"),
        (changed(chains=[[0, 0]]), "is not a number below"),
        (changed(chains=[[-1, 7]]), "is not a number below"),
        (changed(chains=[[-1, True]]), "is not a number below"),
        (changed(chains=[[-1]]), "malformed"),
        (changed(chains=[[-1, 0]] + [[n, 0] for n in range(DEPTH)]), "more than 256 layers"),
        (changed(records=[{}] * (RECORDS + 1)), "no list of at most"),
        (changed(records=[[]]), "malformed"),
        (changed(layers=["x"]), "malformed"),
        (in_row("layers", mediaType="text/html"), "not the type of a layer"),
        (in_row("layers", mediaType=["x"]), "longer than"),
        (in_row("layers", digest="sha256:../../etc/passwd"), "malformed"),
        (in_row("layers", size=-1), "is not a number below"),
        (in_row("layers", size=1 << 60), "is not a number below"),
        (in_row("layers", size="1"), "is not a number below"),
        (in_row("layers", created="x" * 2000), "longer than"),
        (in_row("records", keys=["00"]), "no cache key"),
        (in_row("records", keys=["\N{ARABIC-INDIC DIGIT ONE}" * 64]), "no cache key"),
        (in_row("records", keys=[key("a").hex()] * 17), "no list of at most 16"),
        (in_row("records", used=None), "is not a number below"),
        (b'{"format":1,"format":1}', "duplicate key"),
    ],
)
def test_what_is_hostile_is_refused_with_a_sentence(raw: bytes, message: str) -> None:
    with pytest.raises(CacheFormatError, match=message):
        decode(raw)


def test_urls_of_layers_are_not_taken_over() -> None:
    raw = in_row("layers", urls=["http://169.254.169.254/"])
    assert decode(raw).records[0].layers[0].descriptor.urls == ()
