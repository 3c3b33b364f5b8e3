"""Named contexts on real files: what they stand in for, and what they make anew."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from builder import api
from builder.contexts import (
    ImageContext,
    LocalContext,
    RemoteContext,
    TargetContext,
    context_name,
    stored_image,
)
from builder.errors import BuildInputError, PlanError
from builder.request import BuildResult, Material
from builder.runner import BindMount, OverlayMount, RunStep
from images.config import ImageConfig
from images.layers.entry import Entry
from images.layers.merged import MergedTree
from images.layers.pack import pack_layer
from images.manifest import Manifest
from images.platform import Platform
from images.reference import Reference
from tests.builder.test_api import Site


class Named(Site):
    """A site with directories beside its context."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def directory(self, name: str, files: Mapping[str, str]) -> LocalContext:
        """A directory whose files are old enough to be compared later."""
        for path, text in files.items():
            file = self.root / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            os.utime(file, (0, 0))
        return LocalContext(str(self.root / name))

    def dockerfile(self, text: str, **options: Any) -> BuildResult:
        return self.build(dockerfile=text.encode(), **options)

    def text(self, result: BuildResult, path: str) -> str | None:
        return self.tree(result).read_text(path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Named]:
    made = Named(tmp_path)
    yield made
    made.store.close()


def add_image(site: Site, name: str, files: Mapping[str, str], **config: Any) -> Manifest:
    """Store an image; an empty name leaves it without one."""
    contents = {path: text.encode() for path, text in files.items()}
    entries = [Entry(path, "f", size=len(data), source=data) for path, data in contents.items()]
    layer = pack_layer(entries, site.store.blobs)
    document = ImageConfig.build(Platform.host(), [layer.diff_id], config=config)
    manifest = Manifest.build(document.descriptor(), [layer.descriptor])
    site.store.blobs.put(document.raw)
    site.store.blobs.put(manifest.raw)
    if name:
        site.store.tag(Reference.parse(name), manifest.descriptor)
    return manifest


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("alpine", "alpine"),
        ("docker.io/library/alpine:latest", "alpine"),
        ("Build", "build"),
        ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ("alpine::linux/arm64", "alpine::linux/arm64"),
    ],
)
def test_names_are_those_of_images(text: str, name: str) -> None:
    assert context_name(text) == name


def test_files_come_from_a_directory_beside_the_context(site: Named) -> None:
    contexts = {"assets": site.directory("other", {"a/b": "1", "c": "2"})}
    result = site.dockerfile("FROM scratch\nCOPY --from=assets /a /x/\n", contexts=contexts)
    assert site.text(result, "x/b") == "1"
    assert result.materials == (Material("local", str(site.root / "other"), name="assets"),)


def test_its_own_ignore_file_hides_and_is_named(site: Named) -> None:
    files = {".dockerignore": "*.log\n", "kept": "1", "x.log": "2"}
    contexts = {"assets": site.directory("other", files)}
    result = site.dockerfile("FROM scratch\nCOPY --from=assets . /\n", contexts=contexts)
    assert site.tree(result).lookup("x.log") is None
    with pytest.raises(BuildInputError, match=r"excluded by \.dockerignore line 1") as caught:
        site.dockerfile("FROM scratch\nCOPY --from=assets x.log /\n", contexts=contexts)
    assert caught.value.where == "Dockerfile:2"
    assert "named context assets" in caught.value.what
    with pytest.raises(BuildInputError, match="not found in the named context assets") as caught:
        site.dockerfile("FROM scratch\nCOPY --from=assets kep /\n", contexts=contexts)
    assert caught.value.fix == "did you mean kept?"


def test_what_was_brought_in_is_not_filtered(site: Named) -> None:
    made = site.directory("other", {".dockerignore": "*.log\n", "x.log": "2"})
    contexts = {"assets": LocalContext(made.path, origin="https://example.com/a.git")}
    result = site.dockerfile("FROM scratch\nCOPY --from=assets . /\n", contexts=contexts)
    assert site.text(result, "x.log") == "2"
    assert result.materials == ()


def test_a_context_stands_in_for_a_stage(site: Named) -> None:
    text = "FROM absent-image AS build\nRUN make\nFROM scratch\nCOPY --from={} /out /\n"
    contexts = {"build": site.directory("built", {"out": "ready"})}
    for name in ("build", "0"):
        result = site.dockerfile(text.format(name), contexts=contexts)
        assert site.text(result, "out") == "ready"
        assert site.runner.texts == []


def test_a_stage_starts_from_a_directory(site: Named) -> None:
    contexts = {"rootfs": site.directory("root", {"etc/os": "mine"})}
    text = "FROM RootFS AS one\nENV A=b\nFROM one\nCOPY a /a\n"
    site.put("a", "1")
    result = site.dockerfile(text, contexts=contexts)
    assert (site.text(result, "etc/os"), site.text(result, "a")) == ("mine", "1")
    config = site.store.image(result.descriptor).config
    assert config.history[0].created_by == "COPY . /"
    assert len(config.diff_ids) == 2


def test_an_image_stands_in_for_another(site: Named) -> None:
    add_image(site, "mirror/alpine:3", {"etc/os": "mirror"}, Env=["A=b"])
    contexts = {"alpine": ImageContext(Reference.parse("mirror/alpine:3"))}
    result = site.dockerfile(
        "FROM docker.io/library/alpine:latest\nRUN x\n", contexts=contexts, network="none"
    )
    assert site.text(result, "etc/os") == "mirror"
    assert "A=b" in (site.store.image(result.descriptor).config.config["Env"] or ())
    (material,) = result.materials
    assert (material.kind, material.uri, material.name) == ("image", "mirror/alpine:3", "alpine")


def test_a_stored_image_needs_no_name(site: Named) -> None:
    manifest = add_image(site, "", {"bin/tool": "tool"}, Cmd=["tool"])
    contexts = {"tools": stored_image("tools", manifest.descriptor)}
    text = (
        "FROM tools AS t\nFROM scratch\n"
        "COPY --from=tools /bin/tool /a\nCOPY --from=t /bin/tool /b\n"
    )
    first = site.dockerfile(text, contexts=contexts)
    assert (site.text(first, "a"), site.text(first, "b")) == ("tool", "tool")
    again = site.dockerfile(text, contexts=contexts)
    assert again.steps[0].reason == api.WHOLE_BUILD
    assert again.materials == first.materials


def test_one_platform_goes_before_all(site: Named) -> None:
    host = Platform.host()
    contexts = {
        "data": site.directory("all", {"f": "all"}),
        f"data::{host}": site.directory("host", {"f": "host"}),
        "data::linux/s390x": site.directory("far", {"f": "far"}),
    }
    text = "FROM scratch\nCOPY --from=data f /f\n"
    assert site.text(site.dockerfile(text, contexts=contexts), "f") == "host"
    del contexts[f"data::{host}"]
    assert site.text(site.dockerfile(text, contexts=contexts), "f") == "all"


def test_a_name_that_nothing_asks_for_is_told(site: Named) -> None:
    contexts = {"asets": site.directory("other", {"f": "1"})}
    result = site.dockerfile("FROM scratch\nENV A=b\n", contexts=contexts)
    assert result.warnings == ("named context asets is not used by any FROM, --from or from=",)
    partly = "FROM scratch AS a\nFROM scratch AS b\nCOPY --from=asets f /\n"
    assert site.dockerfile(partly, contexts=contexts, target="a").warnings == ()


def test_scratch_is_always_empty(site: Named) -> None:
    contexts = {"scratch": site.directory("other", {"f": "1"})}
    result = site.dockerfile("FROM scratch\nENV A=b\n", contexts=contexts)
    assert site.store.image(result.descriptor).config.diff_ids == ()


def test_a_mount_shows_a_context(site: Named) -> None:
    contexts = {"src": site.directory("other", {"a/f": "1", "g": "2"})}
    seen: list[str | None] = []

    def look(step: RunStep) -> None:
        (mount,) = step.mounts
        assert isinstance(mount, OverlayMount)
        seen.append(MergedTree(mount.lower).read_text("f"))

    add_image(site, "base", {"etc/x": ""})
    text = "FROM base\nRUN --mount=from=src,source=a,target=/s look\n"
    site.dockerfile(text, commands={"look": look}, contexts=contexts)
    site.directory("other", {"g": "changed"})
    assert site.dockerfile(text, commands={"look": look}, contexts=contexts).cached
    site.directory("other", {"a/f": "3"})
    assert not site.dockerfile(text, commands={"look": look}, contexts=contexts).cached
    assert seen == ["1", "3"]


def test_a_new_cache_is_filled_from_a_context(site: Named) -> None:
    contexts = {"seed": site.directory("other", {"a/f": "1"})}
    seen: list[str] = []

    def look(step: RunStep) -> None:
        (mount,) = step.mounts
        assert isinstance(mount, BindMount)
        seen.extend(path.name for path in mount.source.iterdir())

    add_image(site, "base", {"etc/x": ""})
    site.dockerfile(
        "FROM base\nRUN --mount=type=cache,from=seed,source=a,target=/c look\n",
        commands={"look": look},
        contexts=contexts,
    )
    assert seen == ["f"]


def test_a_changed_context_is_not_answered_from_the_record(site: Named) -> None:
    contexts = {"assets": site.directory("other", {"f": "1", "unread": "x"})}
    text = "FROM scratch\nCOPY --from=assets f /f\n"
    time.sleep(0.03)
    site.dockerfile(text, contexts=contexts)
    assert site.dockerfile(text, contexts=contexts).steps[0].reason == api.WHOLE_BUILD
    site.directory("other", {"f": "2"})
    changed = site.dockerfile(text, contexts=contexts)
    assert (changed.cached, site.text(changed, "f")) == (False, "2")
    site.directory("elsewhere", {"f": "3"})
    moved = {"assets": LocalContext(str(site.root / "elsewhere"))}
    assert site.text(site.dockerfile(text, contexts=moved), "f") == "3"


def test_the_same_content_under_another_name_is_cached(site: Named) -> None:
    text = "FROM scratch\nCOPY --from={} f /f\n"
    site.dockerfile(text.format("one"), contexts={"one": site.directory("a", {"f": "1"})})
    two = {"two": site.directory("b", {"f": "1"})}
    assert site.dockerfile(text.format("two"), contexts=two).cached


def test_a_missing_directory_is_named(site: Named) -> None:
    contexts = {"assets": LocalContext(str(site.root / "absent"))}
    with pytest.raises(BuildInputError, match=r"the named context assets .*/absent does not exist"):
        site.dockerfile("FROM scratch\n", contexts=contexts)


def test_targets_are_for_bake(site: Named) -> None:
    with pytest.raises(PlanError, match="is the target app of a bake file"):
        site.dockerfile("FROM a\n", contexts={"a": TargetContext("app")})


def test_what_was_not_brought_in_is_an_error(site: Named) -> None:
    contexts = {"a": RemoteContext("https://example.com/a.git")}
    with pytest.raises(PlanError, match="named context a has not been brought in"):
        site.dockerfile("FROM a\n", contexts=contexts)


def test_entitlements_that_are_used_are_recorded(site: Named) -> None:
    add_image(site, "base", {"etc/x": ""})
    text = "FROM base\nRUN --network=host x\n"
    allowed = ("network.host", "security.insecure")
    assert site.dockerfile(text, allow=allowed).entitlements == ("network.host",)
    again = site.dockerfile(text, allow=allowed)
    assert (again.cached, again.entitlements) == (True, ("network.host",))
