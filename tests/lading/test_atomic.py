"""Files for other programs: whole, or not there and the reason told."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import EnvironmentFault
from lading.render.atomic import write_whole


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in (b"one", b"two"):
        write_whole(path, text, mode=0o640)
        assert path.read_bytes() == text
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["absent/file", "folder"])
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot be written") as caught:
        write_whole(tmp_path / name, b"data")
    assert caught.value.where == str(tmp_path / name)
    assert caught.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
