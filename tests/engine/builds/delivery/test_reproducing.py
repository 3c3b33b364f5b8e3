"""A build done twice, apart: equal images pass, and what differs is told by file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.contexts import stored_image
from engine.builds import reproducing
from engine.builds.building import Yard
from engine.builds.reproducing import FOLDER, IN_USE, NotReproducibleError, bring_over
from engine.remote.nodes import LOCAL, Builder, Node
from engine.remote.placing import Elsewhere
from images.locks import hold
from images.manifest import Manifest
from images.reference import Reference
from images.store import ImageStore
from records import replace
from tests.engine.builds.delivery.conftest import Bench


def names(bench: Bench) -> set[str]:
    return {reference.familiar for reference, _ in bench.store.names()}


def stores_apart(bench: Bench) -> list[Path]:
    return list((bench.store.root / "builder" / FOLDER).glob("store-*"))


def test_the_same_twice_is_delivered(bench: Bench) -> None:
    outcome = bench(verify=True, tags=("app:1",))
    assert names(bench) == {"base:latest", "app:1"}
    copies = [name for name in bench.progress.names if "COPY" in name]
    assert len(copies) == 6, "three, and three again"
    assert not stores_apart(bench)
    assert bench.store.resolve(Reference.parse("app:1")) == outcome.root


def test_what_a_killed_build_left_goes_with_the_next(bench: Bench) -> None:
    folder = bench.store.root / "builder" / FOLDER
    killed, running = folder / "store-killed", folder / "store-running"
    for root in (killed, running):
        ImageStore.open(root).close()
        (root / IN_USE).touch()
    held = hold(running / IN_USE)
    bench(verify=True)
    os.close(held)
    assert stores_apart(bench) == [running]


def test_a_builder_compares_what_its_own_node_builds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.yard = replace(bench.yard, elsewhere=Elsewhere(Builder("here", (Node(LOCAL),))))
    bench(verify=True, tags=("app:1",))
    assert len([name for name in bench.progress.names if "COPY" in name]) == 6
    change_between(bench, monkeypatch, lambda: (bench.context / "a").write_text("other"))
    with pytest.raises(NotReproducibleError):
        bench(verify=True, tags=("app:2",), request={"no_cache": True})
    assert bench.store.resolve(Reference.parse("app:2")) is None


def test_the_second_build_uses_no_cache(bench: Bench) -> None:
    bench(tags=("app:1",))
    bench(verify=True, tags=("app:1",))
    assert len([name for name in bench.progress.names if "COPY" in name]) == 3


def change_between(bench: Bench, monkeypatch: pytest.MonkeyPatch, work: object) -> None:
    """Do something to the sources when the first build has ended."""
    monkeypatch.setattr(reproducing, "_let_a_second_pass", lambda _clock: work())  # type: ignore[operator]


def test_what_differs_is_told_and_nothing_delivered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        (bench.context / "a").write_text("a" * 5_000 + "b" * 5_000)
        (bench.context / "b").chmod(0o600)
        os.utime(bench.context / "b", (1000, 1000))

    change_between(bench, monkeypatch, work)
    with pytest.raises(NotReproducibleError) as caught:
        bench(verify=True, tags=("app:1",))
    text = str(caught.value)
    assert "layer 2 of 4: COPY a /new/a # buildkit" in text
    assert "    /new/a: content differs from byte 5000 on" in text
    assert "    /etc/b: mode 0644, then 0600" in text
    assert "/etc/b: mtime" in text
    assert "SOURCE_DATE_EPOCH" in (caught.value.fix or "")
    assert [layer.number for layer in caught.value.layers] == [2, 3, 4]
    assert names(bench) == {"base:latest"}
    assert not stores_apart(bench)


def test_long_lists_are_cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    many = bench.context / "many"
    many.mkdir()
    for number in range(30):
        (many / f"{number:02}").write_text("x")

    def work() -> None:
        for path in many.iterdir():
            path.write_text("y")
            os.utime(path, (1000, 1000))

    for path in many.iterdir():
        os.utime(path, (1000, 1000))
    change_between(bench, monkeypatch, work)
    with pytest.raises(NotReproducibleError) as caught:
        bench(verify=True, dockerfile="FROM base\nCOPY many /many\n")
    (layer,) = caught.value.layers
    assert len(layer.files) == 30
    assert str(caught.value).endswith("    and 10 more")


def test_dates_in_the_config_are_told(bench: Bench) -> None:
    with pytest.raises(NotReproducibleError) as caught:
        bench(verify=True, request={"build_args": {}})
    assert any(line.startswith("created: ") for line in caught.value.config)
    assert not any("diff_ids" in line for line in caught.value.config)


def test_images_of_named_contexts_are_there_again(bench: Bench) -> None:
    stored = bench.store.resolve(Reference.parse("base"))
    assert stored is not None
    bench(
        verify=True,
        dockerfile="FROM tools\nCOPY --from=tools /etc/b /b\n",
        request={"contexts": {"tools": stored_image("tools", stored)}},
    )


def test_an_image_is_brought_over_by_links(yard: Yard, tmp_path: Path) -> None:
    other = ImageStore.open(tmp_path / "other")
    root = yard.store.resolve(Reference.parse("base"))
    assert root is not None
    bring_over(root, yard.store, other)
    bring_over(root, yard.store, other)
    manifest = Manifest.parse(other.blobs.read(root.digest))
    for part in (manifest.config, *manifest.layers):
        there = other.blobs.path(part.digest)
        assert there.samefile(yard.store.blobs.path(part.digest))
    assert [path for path in other.root.iterdir() if path.name.startswith("link-")] == []
    other.close()
