"""Build arguments that nothing asks for: told at the end of every build, cached ones too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.plans import STUB, StubResolver, plan_text
from tests.builder.workbench import Workbench


def told(text: str, *names: str, resolver: StubResolver | None = None, **options: str) -> list[str]:
    planned = plan_text(text, resolver, build_args=dict.fromkeys(names, "1"), **options)
    return [warning.message for warning in planned.warnings]


def test_misspelled_names_get_the_nearest_declared_one() -> None:
    text = "ARG BASE=a\nFROM $BASE AS one\nARG VERSION\nFROM one\n"
    assert told(text, "VERSON", "BSE", "TARGETARHC", "SOMETHING") == [
        "build argument VERSON is not used by any ARG (did you mean VERSION?)",
        "build argument BSE is not used by any ARG (did you mean BASE?)",
        "build argument TARGETARHC is not used by any ARG (did you mean TARGETARCH?)",
        "build argument SOMETHING is not used by any ARG",
    ]


def test_what_steers_the_builder_is_no_argument_of_the_file() -> None:
    names = ("BUILDKIT_INLINE_CACHE", "SOURCE_DATE_EPOCH", "https_proxy", "NO_PROXY", "TARGETARCH")
    assert told("FROM a\n", *names) == []


def test_stages_that_are_not_built_declare_too() -> None:
    text = "FROM a AS one\nARG X\nFROM a AS two\nARG Y\nONBUILD ARG Z\n"
    assert told(text, "X", "Y", "Z", target="one") == []
    assert told(text, "XX", target="one") == [
        "build argument XX is not used by any ARG (did you mean X?)"
    ]


def test_triggers_of_the_base_declare_too() -> None:
    base = {"a:latest": {**STUB, "config": {"OnBuild": ["ARG X"]}}}
    assert told("FROM a\n", "X", resolver=StubResolver(base)) == []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path)
    bench.add_base("base", {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
    yield bench
    bench.close()


def test_a_cached_build_tells_it_again(bench: Workbench) -> None:
    message = "build argument VERSON is not used by any ARG (did you mean VERSION?)"
    text = "FROM base\nARG VERSION\nRUN x\n"
    for cached in (False, True, True):
        bench.progress.warnings.clear()
        result = bench.build(text, build_args={"VERSON": "1"})
        assert result.cached == cached
        assert result.warnings == (message,)
        assert bench.progress.warnings == [message]
