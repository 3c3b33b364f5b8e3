"""Fixtures of the first station: a yard without network, and servers on the loopback."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from builder.progress.events import VertexStarted
from builder.progress.tracker import Tracker
from builder.request import BuildRequest, BuildResult
from engine.access import Access
from engine.builds.building import Yard
from engine.builds.order import BuildOrder
from engine.builds.pipeline import fulfil
from engine.builds.sources.named import parse_contexts
from engine.builds.sources.wanted import find_sources
from images.layers.merged import MergedTree
from images.store import ImageStore
from tests.builder.fakes import RecordingProgress
from tests.builder.sources.git_site import GitSite, Repository


class Builds:
    """Builds what the command line would be given; the latest display is kept."""

    def __init__(self, root: Path) -> None:
        self.store = ImageStore.open(root / "store")
        self.yard = Yard(self.store, Access(self.store.directory), str(root / "run"))
        self.progress = RecordingProgress()

    def build(
        self,
        context: str | None,
        file: str | None = None,
        *named: str,
        stdin: bytes = b"",
        **options: Any,
    ) -> BuildResult:
        contexts = parse_contexts(named)
        sources = find_sources(context, file, contexts.values(), io.BytesIO(stdin))
        far = sources is not None and sources.context is not None
        special = sources is not None and sources.dockerfile is not None
        request = BuildRequest(
            None if far else context, None if special else file, contexts=contexts, **options
        )
        self.progress = RecordingProgress()
        order = BuildOrder(request, sources=sources)
        return fulfil(order, self.yard, Tracker(self.progress)).images[0]

    def files(self, result: BuildResult) -> dict[str, str]:
        """What the image holds, by path."""
        tree = MergedTree(self.store.lowerdirs(self.store.image(result.descriptor)))
        paths = [node.path for node in tree.walk("") if node.is_file]
        return {path: tree.read_text(path) or "" for path in paths}

    @property
    def shown(self) -> list[str]:
        return [event.name for event in self.progress.events if isinstance(event, VertexStarted)]


@pytest.fixture
def builds(tmp_path: Path) -> Iterator[Builds]:
    made = Builds(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def git_site(tmp_path: Path) -> Iterator[GitSite]:
    site = GitSite(tmp_path / "served")
    yield site
    site.close()


@pytest.fixture
def repository(git_site: GitSite) -> Repository:
    """``repo.git`` of the site, with nothing in it."""
    return Repository(git_site.root / "repo.git")


def tar(files: Mapping[str, str], *extra: tarfile.TarInfo) -> bytes:
    """A plain archive of files, with members of other kinds behind them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in extra:
            archive.addfile(member)
    return buffer.getvalue()
