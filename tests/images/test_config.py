import json

import pytest

from images.config import HistoryEntry, ImageConfig, chain_ids
from images.digest import Digest
from images.errors import InputError, InvalidManifestError
from images.mediatype import OCI_CONFIG
from images.platform import Platform

A, B, C = (Digest.of(name) for name in (b"a", b"b", b"c"))
AMD64 = Platform("linux", "amd64")


def document(**changes) -> bytes:
    base = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=b"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [str(A), str(B)]},
        "history": [{"created_by": "RUN x"}, {"created_by": "ENV y", "empty_layer": True}],
        "created": "2024-01-01T00:00:00Z",
    }
    base.update(changes)
    return json.dumps(base).encode()


def test_parse():
    raw = document(docker_version="20.10", author="me")
    config = ImageConfig.parse(raw)
    assert config.raw == raw
    assert config.platform == AMD64
    assert config.diff_ids == (A, B)
    assert config.config == {"Env": ["A=b"], "Cmd": ["sh"]}
    assert config.history[1] == HistoryEntry(created_by="ENV y", empty_layer=True)
    assert (config.created, config.author) == ("2024-01-01T00:00:00Z", "me")
    assert config.digest == Digest.of(raw)
    assert config.to_json()["docker_version"] == "20.10"
    assert config.descriptor().size == len(raw)
    assert config.descriptor().media_type == OCI_CONFIG


@pytest.mark.parametrize("nothing", [{"config": None}, {"history": None}, {"created": None}])
def test_nulls_of_other_programs(nothing):
    ImageConfig.parse(document(**nothing))


@pytest.mark.parametrize(
    "changes",
    [
        {"rootfs": None},
        {"rootfs": {"type": "squashfs", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": [1]}},
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}},
        {"rootfs": {"type": "layers", "diff_ids": {}}},
        {"config": []},
        {"history": {}},
        {"history": ["x"]},
        {"history": [{"created_by": 1}]},
        {"created": 1},
    ],
)
def test_malformed(changes):
    with pytest.raises(InputError):
        ImageConfig.parse(document(**changes))


def test_the_config_of_an_artifact_is_not_an_images():
    with pytest.raises(InvalidManifestError, match="no rootfs"):
        ImageConfig.parse(b"{}")


def test_build_is_canonical():
    history = [HistoryEntry("2024-01-01T00:00:00Z", "COPY . .", comment="c"), HistoryEntry()]
    options = {"history": history, "created": "2024-01-01T00:00:00Z", "author": "me"}
    one = ImageConfig.build(AMD64, [A, B], config={"User": "u", "Cmd": ["x"]}, **options)
    two = ImageConfig.build(AMD64, [A, B], config={"Cmd": ["x"], "User": "u"}, **options)
    assert one.raw == two.raw
    assert (one.diff_ids, one.history) == ((A, B), tuple(history))
    assert one.author == "me"


def test_build_leaves_empty_things_out():
    document = ImageConfig.build(AMD64, []).to_json()
    assert sorted(document) == ["architecture", "config", "os", "rootfs"]


def test_extra_fields_and_variants():
    config = ImageConfig.build(Platform.parse("linux/arm/v7"), [], extra={"os.features": ["x"]})
    assert config.platform.variant == "v7"
    assert config.to_json()["os.features"] == ["x"]


def test_history_leaves_empty_fields_out():
    assert HistoryEntry(created_by="x").to_json() == {"created_by": "x"}


def test_chain_ids():
    """The example of the specification: ChainID(A|B) = Digest(ChainID(A) + " " + DiffID(B))."""
    ab = Digest.of(f"{A} {B}".encode())
    assert chain_ids([A, B, C]) == (A, ab, Digest.of(f"{ab} {C}".encode()))
    assert chain_ids([]) == ()
