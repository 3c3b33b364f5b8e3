"""The small yard of the stations' tests, for builds that state something."""

from __future__ import annotations

from tests.engine.builds.delivery.conftest import bench, yard

__all__ = ["bench", "yard"]
