"""Whatever the network and the archive do, content arrives whole or not at all."""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from images.archive import load, save
from images.client.challenge import Challenge, parse_challenges
from images.client.retry import RetryPolicy
from images.digest import Digest
from images.errors import ImagesError
from images.reference import Reference
from tests.images.clientkit import SmallStore, client, keep, publish, sample
from tests.simulators.registry import SimulatedRegistry

NAME = "team/app"
REF = Reference.parse("team/app:1")
LAYER = bytes(range(256)) * 1000
FEW = settings(max_examples=25)

tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
parameters = st.dictionaries(tokens, values, max_size=4)


def quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(st.lists(st.tuples(tokens, parameters), max_size=4))
def test_challenges_survive_being_written_and_read(made: list[tuple[str, dict[str, str]]]) -> None:
    header = ", ".join(
        f"{scheme} " + ", ".join(f"{key}={quoted(value)}" for key, value in found.items())
        for scheme, found in made
    )
    assert parse_challenges([header]) == [Challenge(scheme, found) for scheme, found in made]


@given(st.text(max_size=200))
def test_any_header_is_read_without_an_error(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme == challenge.scheme.lower()


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_negative_nor_beyond_the_ceiling(attempt: int, jitter: float) -> None:
    policy = RetryPolicy()
    assert 0 < policy.delay(attempt, jitter) <= policy.ceiling


@FEW
@given(
    st.lists(st.integers(0, len(LAYER)), max_size=4), st.booleans(), st.sampled_from([2, 100_000])
)
def test_a_layer_arrives_whole_however_often_the_connection_breaks(
    cuts: list[int], ranges: bool, first: int
) -> None:
    async def scenario(root: Path) -> None:
        registry, store = SimulatedRegistry(ranges=ranges), SmallStore.at(root)
        publish(registry, NAME, sample(LAYER), "1")
        for cut in [first, *cuts][:4]:
            registry.fail(path=f"/blobs/{Digest.of(LAYER)}", truncate_at=cut)
        async with registry.serve() as host, client() as it:
            await it.pull(Reference.parse(f"{host}/{NAME}:1"), store)
        assert store.blobs.read(Digest.of(LAYER)) == LAYER
        store.everything()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


@FEW
@given(st.data())
def test_an_archive_with_any_byte_changed_loads_the_same_or_not_at_all(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, out = SmallStore.at(Path(folder) / "a"), io.BytesIO()
        image = sample(b"x" * 700, b"y" * 900)
        keep(store, image)
        save([(image.descriptor, [REF])], store, out.write)
        archive = bytearray(out.getvalue())
        at = data.draw(st.integers(0, len(archive) - 1))
        archive[at] ^= data.draw(st.integers(1, 255))
        fresh = SmallStore.at(Path(folder) / "b")
        try:
            loaded = load(io.BytesIO(bytes(archive)), fresh)
        except ImagesError:
            assert fresh.images == []
            assert fresh.tagged == {}
        else:
            for found in loaded:
                assert all(
                    fresh.blobs.read(layer.digest) in image.layers
                    for layer in image.manifest.layers
                )
                assert found.image_id == Digest.of(image.config)
        fresh.everything()
