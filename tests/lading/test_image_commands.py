"""Commands on images, from import to prune, on a real store."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lading.conftest import Result

Lading = Callable[..., Result]


@pytest.fixture
def image_id(lading: Lading, rootfs: Path) -> str:
    status, out, err = lading(
        "import", "-c", 'CMD ["/bin/tool"]', "-c", "LABEL a=1", rootfs, "base"
    )
    assert status == 0, err
    return out.strip()


def test_import_is_listed_with_dockers_columns(lading: Lading, image_id: str) -> None:
    _, out, _ = lading("images")
    header, line = out.splitlines()
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert line.split()[:3] == ["base", "latest", image_id.removeprefix("sha256:")[:12]]


def test_the_same_import_gives_the_same_image(lading: Lading, rootfs: Path, image_id: str) -> None:
    assert (
        lading("import", "-c", 'CMD ["/bin/tool"]', "-c", "LABEL a=1", rootfs)[1].strip()
        == image_id
    )


def test_changes_land_in_the_config(lading: Lading, image_id: str) -> None:
    _, out, _ = lading("inspect", "-f", "{{json .Config.Cmd}} {{.Config.Labels.a}}", "base")
    assert out == '["/bin/tool"] 1\n'


def test_inspect_has_the_fields_tools_read(lading: Lading, image_id: str) -> None:
    found = json.loads(lading("inspect", image_id[:19])[1])[0]
    assert found["Id"] == image_id
    assert found["RepoTags"] == ["base:latest"]
    assert found["RootFS"]["Type"] == "layers"
    assert len(found["RootFS"]["Layers"]) == 1
    assert found["Created"] == "2023-11-14T22:13:20.000000Z"


def test_inspect_answers_for_settings_the_image_lacks(lading: Lading, image_id: str) -> None:
    template = "{{.Config.User}}|{{json .Config.Volumes}}|{{json .Config.Healthcheck}}"
    assert lading("inspect", "-f", template, image_id) == (0, "|null|null\n", "")


def test_inspect_says_which_name_is_unknown_and_shows_the_rest(
    lading: Lading, image_id: str
) -> None:
    status, out, err = lading("inspect", "-f", "{{.Id}}", "nothere", "base")
    assert (status, out) == (1, f"{image_id}\n")
    assert "nothere: no such image" in err


def test_a_bad_change_is_refused_before_anything_is_stored(lading: Lading, rootfs: Path) -> None:
    status, _, err = lading("import", "-c", "RUN true", rootfs, "base")
    assert status == 1
    assert "RUN is not a valid change" in err
    assert lading("images", "-q")[1] == ""


def test_history_shows_the_import(lading: Lading, image_id: str) -> None:
    _, out, _ = lading("history", "--no-trunc", "--format", "{{.ID}}|{{.Comment}}", "base")
    assert out.startswith(f"{image_id}|Imported from ")


def test_tag_and_rmi_in_dockers_words(lading: Lading, image_id: str) -> None:
    assert lading("tag", "base", "localhost:5000/team/base:2")[0] == 0
    assert lading("images", "-q", "--filter", "reference=localhost:5000/team/*")[1].strip()
    assert lading("rmi", "base")[1] == "Untagged: base:latest\n"
    _, out, _ = lading("rmi", "localhost:5000/team/base:2")
    assert out == f"Untagged: localhost:5000/team/base:2\nDeleted: {image_id}\n"
    assert lading("images", "-q")[1] == ""


def test_rmi_of_an_unknown_image_fails_and_goes_on(lading: Lading, image_id: str) -> None:
    status, out, err = lading("rmi", "nothere", "base")
    assert status == 1
    assert "nothere: no such image" in err
    assert "Untagged: base:latest" in out


def test_filters_narrow_the_list(lading: Lading, rootfs: Path, image_id: str) -> None:
    lading("import", rootfs)
    assert lading("images", "-q", "--no-trunc", "-f", "label=a=1")[1] == f"{image_id}\n"
    assert lading("images", "-q", "-f", "label=a=2")[1] == ""
    dangling = lading("images", "-f", "dangling=true", "--format", "{{.Repository}}:{{.Tag}}")[1]
    assert dangling == "<none>:<none>\n"
    status, _, err = lading("images", "-f", "colour=red")
    assert status == 1
    assert "dangling" in err


def test_save_and_load_round_trip(lading: Lading, image_id: str, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    assert lading("save", "-o", archive, "base")[0] == 0
    with tarfile.open(archive) as found:
        assert {"oci-layout", "index.json", "manifest.json"} <= set(found.getnames())
    lading("rmi", "base")
    lading("system", "prune", "-f", "-a")
    status, out, err = lading("load", "-i", archive)
    assert (status, out) == (0, "Loaded image: base:latest\n"), err
    assert lading("images", "-q", "--no-trunc")[1].strip() == image_id


def test_save_to_a_folder_that_is_not_there_leaves_nothing(
    lading: Lading, image_id: str, tmp_path: Path
) -> None:
    status, _, err = lading("save", "-o", tmp_path / "no" / "image.tar", "base")
    assert status == 1
    assert "No such file or directory" in err


def test_load_of_rubbish_is_refused(lading: Lading, tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_bytes(b"not an archive" * 100)
    status, _, err = lading("load", "-i", tmp_path / "rubbish")
    assert status == 1
    assert "lading: " in err
    assert lading("system", "check")[0] == 0


def test_prune_frees_what_no_name_holds(lading: Lading, rootfs: Path, tmp_path: Path) -> None:
    lading("import", rootfs)
    assert lading("images", "-q")[1] != ""
    _, out, _ = lading("system", "prune", "-f", "-a")
    assert out.startswith("Total reclaimed space: ")
    assert lading("images", "-q")[1] == ""
    assert not list((tmp_path / "root/blobs/sha256").iterdir())


def test_check_names_a_damaged_blob(lading: Lading, image_id: str, tmp_path: Path) -> None:
    blob = max((tmp_path / "root/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o600)
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert lading("system", "check")[0] == 0
    status, _, err = lading("system", "check", "--rehash")
    assert status == 1
    assert blob.name in err


def test_prune_asks_nothing_for_a_dry_run(lading: Lading, image_id: str) -> None:
    assert lading("system", "prune", "--dry-run")[0] == 0
    assert lading("images", "-q")[1] != ""
