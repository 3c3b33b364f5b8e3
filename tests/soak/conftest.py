"""The fixtures of whole programs."""

from __future__ import annotations

from tests.e2e.conftest import busybox_tar, lading

__all__ = ["busybox_tar", "lading"]
