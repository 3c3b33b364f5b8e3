"""Fixtures of the builder's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.workbench import Workbench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """A workbench whose store is closed again."""
    workbench = Workbench(tmp_path)
    yield workbench
    workbench.close()
