"""What a build's way to registries remembers of them, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.access import Access
from engine.builds.remote_cache import line as module
from engine.builds.remote_cache.line import FRESH, Line
from images.digest import Digest

DIGEST = Digest.of(b"x")


def test_what_a_repository_had_is_believed_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, now = Line(Access(str(tmp_path))), [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert not line.has("host", "app", DIGEST)
    line.note("host", DIGEST, "app")
    assert line.has("host", "app", DIGEST)
    assert not line.has("host", "other", DIGEST)
    assert not line.has("elsewhere", "app", DIGEST)
    now[0] += FRESH
    assert not line.has("host", "app", DIGEST)
    line.note("host", DIGEST, "app")
    assert line.has("host", "app", DIGEST)
