"""A second machine builds from what the first one left in a registry: ours, and Debian's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Lading
from tests.e2e.remote_cache_kit import build, machine, make_context, stored_bytes
from tests.images.test_client_peers import distribution

pytestmark = pytest.mark.root


@pytest.fixture(params=["ours", pytest.param("distribution", marks=pytest.mark.peer)])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a registry."""
    if request.param == "ours":
        yield request.getfixturevalue("registry").address
        return
    with distribution(tmp_path / "distribution") as address:
        yield address


@pytest.fixture
def base(lading: Lading, host: str) -> str:
    """A base image in that registry."""
    name = f"{host}/base/busybox"
    lading("tag", "busybox", name)
    lading("push", name)
    return name


def test_a_second_machine_repeats_nothing(
    lading: Lading, host: str, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"type=registry,ref={host}/app:cache"
    first = build(lading, context, "-t", "app", "--cache-to", f"{cache},mode=max")
    assert first.executed == ["RUN", "COPY", "COPY", "RUN"]
    with machine(tmp_path / "second") as second:
        again = build(second, context, "-t", "app", "--cache-from", cache)
        assert again.executed == []
        assert again.image == first.image
        assert second("run", "--rm", "app", "cat", "/result").stdout == "one"
        # What was brought in is this machine's own now.
        assert build(second, context, "-t", "again").image == first.image
        assert second("system", "check", "--rehash").returncode == 0
    (context / "app").write_text("two")
    with machine(tmp_path / "third") as third:
        changed = build(third, context, "-t", "app", "--cache-from", cache)
        assert changed.executed == ["COPY", "RUN"]
        assert third("run", "--rm", "app", "cat", "/result").stdout == "two"


def test_a_push_of_what_is_known_moves_no_layer(
    lading: Lading, host: str, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"type=registry,ref={host}/app:cache"
    first = build(lading, context, "--cache-to", f"{cache},mode=max")
    with machine(tmp_path / "second") as second:
        for name in ("app", "elsewhere"):
            pushed = build(
                second, context, "-t", f"{host}/{name}:1", "--push", "--cache-from", cache
            )
            assert (pushed.executed, pushed.pulled) == ([], 0), pushed.log
            assert pushed.image == first.image
        assert build(second, context, "-o", "type=cacheonly", "--cache-from", cache).pulled == 0
        assert stored_bytes(second) < 10_000
    with machine(tmp_path / "third") as third:
        third("pull", f"{host}/elsewhere:1")
        assert third("run", "--rm", f"{host}/elsewhere:1", "cat", "/result").stdout == "one"


def test_mode_min_has_the_images_layers_alone(
    lading: Lading, host: str, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"{host}/app:cache"
    build(lading, context, "--cache-to", cache)
    with machine(tmp_path / "second") as second:
        assert build(second, context, "--cache-from", cache).executed == []
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("COPY --from", "ENV X=1\nCOPY --from"))
    with machine(tmp_path / "third") as third:
        # The copies are found by what they copy, so the stage of tools has to be done.
        assert build(third, context, "--cache-from", cache).executed[0] == "RUN"


@pytest.mark.parametrize("flag", ["--cache-to=type=inline", "--build-arg=BUILDKIT_INLINE_CACHE=1"])
def test_an_image_carries_its_cache(
    lading: Lading, host: str, base: str, tmp_path: Path, flag: str
) -> None:
    context = make_context(tmp_path / "context", base)
    name = f"{host}/app:1"
    first = build(lading, context, "-t", name, "--push", flag)
    with machine(tmp_path / "second") as second:
        found = build(second, context, flag, "-t", "app", "--cache-from", name)
        assert (found.executed, found.image) == ([], first.image)
    (context / "app").write_text("two")
    with machine(tmp_path / "third") as third:
        source = f"type=inline,ref={name}"
        assert build(third, context, flag, "--cache-from", source).executed == ["COPY", "RUN"]
