"""The parsed tree on disk: hits without the parser, no lark at all, damage ignored and mended."""

from __future__ import annotations

import hashlib
import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from dockerfile_grammar import cache
from dockerfile_grammar.cache import key, parse_cached
from dockerfile_grammar.codec import CodecError, decode, encode
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import parse
from tests.dockerfile_grammar.golden import cases

SOURCE = b"FROM b AS x\nRUN --mount=type=ssh a\nCOPY <<E /x\ny\nE\n"

PROBE = """
import sys
from pathlib import Path
from dockerfile_grammar.cache import parse_cached
tree = parse_cached(Path(sys.argv[1]).read_bytes(), cache_dir=Path(sys.argv[2]))
heavy = {"lark", "dataclasses", "inspect", "json", "asyncio", "dockerfile_grammar.parser"}
print(len(tree.stages), sorted(heavy & sys.modules.keys()))
"""


def probe(source: Path, cache_dir: Path) -> str:
    command = [sys.executable, "-c", PROBE, str(source), str(cache_dir)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def test_a_hit_imports_nothing_heavy(tmp_path: Path) -> None:
    source = tmp_path / "Dockerfile"
    source.write_bytes(SOURCE)
    assert probe(source, tmp_path / "cache") == "1 ['dockerfile_grammar.parser', 'json']\n"
    assert probe(source, tmp_path / "cache") == "1 []\n"


def test_hit_equals_miss(tmp_path: Path) -> None:
    first = parse_cached(SOURCE, cache_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [key(SOURCE)]
    assert parse_cached(SOURCE, cache_dir=tmp_path) == first == parse(SOURCE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"x" + data[1:],
        lambda data: data + b"\0",
    ],
)
def test_damaged_entries_are_mended(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    parse_cached(SOURCE, cache_dir=tmp_path)
    entry = tmp_path / key(SOURCE)
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    assert parse_cached(SOURCE, cache_dir=tmp_path) == parse(SOURCE)
    assert entry.read_bytes() == good


@pytest.mark.parametrize(
    "payload", [None, (), (99,), (0,), (-1, 1), 7, (0, 1, 2, 3), (4, 1, 2, 3), (-5, 1, 1)]
)
def test_checked_bytes_of_another_shape_are_refused(payload: object) -> None:
    data = marshal.dumps(payload, 4)
    with pytest.raises(CodecError):
        decode(b"lading-dockerfile\0" + hashlib.sha256(data).digest() + data)


def test_every_golden_tree_survives_the_codec() -> None:
    count = 0
    for case in cases():
        if not case.name.startswith("error-"):
            tree = parse((case / "Dockerfile").read_bytes())
            assert decode(encode(tree)) == tree
            count += 1
    assert count


def test_faulty_files_are_not_cached(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DockerfileError, match="x:1"):
            parse_cached(b"RNU\n", cache_dir=tmp_path, filename="x")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert parse_cached(SOURCE, cache_dir=tmp_path / "file") == parse(SOURCE)


def test_no_stage_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError("no rename today")

    monkeypatch.setattr(Path, "replace", refuse)
    assert parse_cached(SOURCE, cache_dir=tmp_path) == parse(SOURCE)
    assert list(tmp_path.iterdir()) == []


def test_key_depends_on_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(SOURCE)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert key(SOURCE) != before
