"""An image's config says by which steps its layers were made, and is read again."""

from __future__ import annotations

from contextlib import suppress

import pytest

from builder.errors import BuildInputError
from builder.remote.inline import FIELD, config_fields, read_config, wanted
from builder.request import BuildRequest
from builder.solver.elsewhere import SolvedStep
from builder.solver.records import StoredLayer
from images.config import HistoryEntry, ImageConfig
from images.errors import ImagesError
from images.manifest import Manifest
from images.platform import Platform
from tests.builder.remote.kit import key, layer

PLATFORM = Platform("linux", "amd64")
LAYERS = (layer("one"), layer("two", created="2025-01-01T00:00:00Z"))


def steps(*layers: StoredLayer, final: bool = True) -> list[SolvedStep]:
    """One step for each layer."""
    return [
        SolvedStep((key(f"step {number}"), key(f"content {number}")), layers[:number], "RUN", final)
        for number in range(1, len(layers) + 1)
    ]


def image(
    *layers: StoredLayer, extra: object = None, history: bool = True
) -> tuple[ImageConfig, Manifest]:
    """A config with the field and its manifest."""
    entries = [HistoryEntry(created="2000-01-01T00:00:00Z", empty_layer=True)]
    entries += [HistoryEntry(created=it.created) for it in layers]
    config = ImageConfig.build(
        PLATFORM,
        [it.diff_id for it in layers],
        history=entries if history else (),
        created="2030-01-01T00:00:00Z",
        extra=config_fields(steps(*layers)) if extra is None else {FIELD: extra},
    )
    return config, Manifest.build(config.descriptor(), [it.descriptor for it in layers])


def test_the_records_are_those_of_the_images_layers() -> None:
    found = read_config(*image(*LAYERS))
    assert found == {
        key("step 1"): LAYERS[:1],
        key("content 1"): LAYERS[:1],
        key("step 2"): LAYERS,
        key("content 2"): LAYERS,
    }


def test_without_history_the_images_date_stands_for_all() -> None:
    found = read_config(*image(*LAYERS, history=False))
    assert {it.created for it in found[key("step 2")]} == {"2030-01-01T00:00:00Z"}


def test_layers_in_another_compression_are_found_where_they_are_now() -> None:
    config, _ = image(*LAYERS)
    other = [layer(f"{name} as zstd").descriptor for name in ("one", "two")]
    found = read_config(config, Manifest.build(config.descriptor(), other))
    assert [it.descriptor for it in found[key("step 2")]] == other


def test_merged_layers_have_no_records() -> None:
    merged = layer("both")
    config = ImageConfig.build(PLATFORM, [merged.diff_id], extra=config_fields(steps(*LAYERS)))
    assert read_config(config, Manifest.build(config.descriptor(), [merged.descriptor])) == {}


def test_steps_of_other_stages_are_left_out() -> None:
    assert config_fields(steps(*LAYERS, final=False)) == {}


def test_most_images_carry_nothing() -> None:
    config = ImageConfig.build(PLATFORM, [LAYERS[0].diff_id])
    manifest = Manifest.build(config.descriptor(), [LAYERS[0].descriptor])
    assert read_config(config, manifest) == {}


@pytest.mark.parametrize(
    "field",
    ["x", {"records": 1}, {"records": ["x"]}, {"records": [{"chain": 1, "keys": None}]}],
)
def test_what_is_malformed_is_nothing_or_refused(field: object) -> None:
    found = {}
    with suppress(ImagesError):
        found = read_config(*image(*LAYERS, extra=field))
    assert found == {}


def test_keys_that_are_none_are_refused() -> None:
    (row,) = list(config_fields(steps(LAYERS[0])).values())
    for bad in ("xx" * 32, "00", 7):
        row["records"][0]["keys"] = [bad]
        with pytest.raises(BuildInputError, match="no key"):
            read_config(*image(LAYERS[0], extra=row))


@pytest.mark.parametrize(
    ("argument", "asked"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_buildkits_argument_asks_for_it(argument: str, asked: bool) -> None:
    request = BuildRequest(None, build_args={"BUILDKIT_INLINE_CACHE": argument})
    assert wanted(request) == asked
    assert wanted(BuildRequest(None, inline_cache=True))
