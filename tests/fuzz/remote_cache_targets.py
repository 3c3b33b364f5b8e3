"""The parsers of build caches that somebody else wrote."""

from __future__ import annotations

import json
from random import Random

from builder.errors import BuildError
from builder.remote.index import CachedMount, CacheIndex, decode, encode
from builder.remote.inline import FIELD, read_config
from images.config import ImageConfig, chain_ids
from images.errors import ImagesError
from images.manifest import Manifest
from images.platform import Platform
from tests.builder.remote.kit import key, layer, record
from tests.fuzz.harness import Target

PLATFORM = Platform("linux", "amd64")


def indexes() -> list[bytes]:
    """A small index and a large one."""
    base, one, two = layer("base"), layer("one"), layer("two")
    small = CacheIndex(
        (record("a", base, one), record("b", base, one, two)),
        (CachedMount("/cache", layer("mount"), 3),),
        frozenset({base.descriptor.digest}),
    )
    many = CacheIndex(tuple(record(str(number)) for number in range(20)))
    return [encode(small), encode(many)]


def generate(random: Random) -> bytes:
    """An index whose numbers are of any size."""
    rows = json.loads(indexes()[0])
    for _ in range(random.randrange(1, 4)):
        table = random.choice(["layers", "chains", "records", "mounts"])
        row = random.choice(rows[table])
        place = random.choice(sorted(row) if isinstance(row, dict) else range(len(row)))
        row[place] = random.choice([None, True, -1, 0, 1, 2**63, "", "x", [], {}, [[]]])
    return json.dumps(rows).encode()


def inline_configs() -> list[bytes]:
    """An image config that carries its cache."""
    layers = [layer("one"), layer("two")]
    diff_ids = [it.diff_id for it in layers]
    rows = [{"chain": str(chain), "keys": [key("a").hex()]} for chain in chain_ids(diff_ids)]
    return [ImageConfig.build(PLATFORM, diff_ids, extra={FIELD: {"records": rows}}).raw]


def read_inline(data: bytes) -> object:
    """What an image of two layers says of itself."""
    config = ImageConfig.parse(data)
    layers = [layer("one").descriptor, layer("two").descriptor]
    return read_config(config, Manifest.build(config.descriptor(), layers))


TARGETS = (
    Target(
        "cache-index",
        decode,
        (BuildError,),
        indexes,
        generate,
        tokens=(b'"layers":', b'"chains":[[-1,0]]', b'"base":true', b'"keys":["'),
    ),
    Target("cache-inline", read_inline, (ImagesError,), inline_configs),
)
