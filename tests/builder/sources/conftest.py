"""Fixtures of the tests about sources from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.sources.git_site import GitSite, Repository


@pytest.fixture
def git_site(tmp_path: Path) -> Iterator[GitSite]:
    site = GitSite(tmp_path / "served")
    yield site
    site.close()


@pytest.fixture
def repository(git_site: GitSite) -> Repository:
    """``repo.git`` of the site, with nothing in it."""
    return Repository(git_site.root / "repo.git")
