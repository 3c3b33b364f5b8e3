"""Statements beside the files of ``type=local`` and ``type=tar``, with BuildKit's names."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from engine.builds.attesting.options import Attesting, Provenance
from engine.builds.delivery.outputs import OutputError, parse_output
from images.platform import Platform
from tests.engine.builds.delivery.conftest import Bench

BOTH = Attesting(Provenance("max"), sbom=True)
SCRATCH = "FROM scratch\nCOPY a /new/a\n"
PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm64"))


def _stated(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    return found


def test_they_are_about_every_file(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bench(str(out), attesting=BOTH)
    provenance, sbom = _stated(out / "provenance.json"), _stated(out / "sbom.spdx.json")
    assert provenance["predicateType"] == "https://slsa.dev/provenance/v1"
    assert sbom["predicate"]["spdxVersion"] == "SPDX-2.3"
    told = {one["name"]: one["digest"]["sha256"] for one in provenance["subject"]}
    files = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".json"
    }
    assert told == files
    assert told["twin"] == told["etc/base"], "hard links are files too"
    assert sbom["subject"] == provenance["subject"]
    assert (out / "provenance.json").stat().st_mode & 0o777 == 0o600


def test_a_folder_for_each_platform(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bench(str(out), dockerfile=SCRATCH, platforms=PLATFORMS, attesting=BOTH)
    for folder in ("linux_amd64", "linux_arm64"):
        assert _stated(out / folder / "provenance.json")["subject"][0]["name"] == "new/a"
        assert (out / folder / "sbom.spdx.json").exists()


def test_platforms_side_by_side_in_names(bench: Bench, tmp_path: Path) -> None:
    archive = tmp_path / "out.tar"
    text = "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH/a\n"
    output = f"type=tar,dest={archive},platform-split=false,attestation-prefix=x-"
    bench(output, dockerfile=text, platforms=PLATFORMS, attesting=Attesting(Provenance()))
    with tarfile.open(archive) as found:
        assert [name for name in found.getnames() if name.endswith("json")] == [
            "x-provenance.linux_amd64.json",
            "x-provenance.linux_arm64.json",
        ]


def test_inline_statements_stay_with_images(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bench(str(out), attesting=Attesting(Provenance(inline_only=True), sbom=True))
    assert not (out / "provenance.json").exists()
    assert (out / "sbom.spdx.json").exists()


def test_files_of_one_build_and_an_image_of_it(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bench(str(out), "type=image", tags=("x",), attesting=Attesting(Provenance()))
    assert _stated(out / "provenance.json")["subject"]


def test_equal_builds_give_equal_archives(bench: Bench, tmp_path: Path) -> None:
    wanted = Attesting(Provenance(reproducible=True))
    for name in "12":
        bench(f"type=tar,dest={tmp_path / name}", attesting=wanted)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_name_that_the_result_has_itself(bench: Bench, tmp_path: Path) -> None:
    text = "FROM scratch\nCOPY a /provenance.json\n"
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="has a file provenance") as caught:
        bench(str(out), dockerfile=text, attesting=Attesting(Provenance()))
    assert "attestation-prefix" in (caught.value.fix or "")
    assert not out.exists()
    bench(
        f"type=local,dest={out},attestation-prefix=my-",
        dockerfile=text,
        attesting=Attesting(Provenance()),
    )
    assert {path.name for path in out.iterdir()} == {"provenance.json", "my-provenance.json"}


@pytest.mark.parametrize(
    "text",
    ["type=local,dest=x,attestation-prefix=../y", "type=image,attestation-prefix=x"],
)
def test_prefixes_that_cannot_be(text: str) -> None:
    with pytest.raises(OutputError):
        parse_output(text)
