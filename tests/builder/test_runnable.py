"""Commands of other platforms: refused before anything runs, unless something emulates them."""

from __future__ import annotations

import pytest

from builder.errors import BuildEnvironmentError
from images.platform import Platform
from tests.builder.fakes import write
from tests.builder.workbench import Workbench

FOREIGN = Platform.parse("linux/s390x")
TEXT = """\
FROM --platform=$BUILDPLATFORM base AS tools
RUN native
FROM base
COPY --from=tools out /out
RUN foreign
"""
COMMANDS = {"native": lambda step: write(step, "out", "made")}


def test_nothing_is_executed_when_a_later_step_cannot_be(bench: Workbench) -> None:
    bench.add_base("base", {"x": "1"})
    with pytest.raises(BuildEnvironmentError) as caught:
        bench.build(TEXT, COMMANDS, platform=FOREIGN)
    assert caught.value.what == f"no emulator for {FOREIGN}"
    assert caught.value.fix == "install one"
    assert caught.value.where == "Dockerfile:5"
    assert bench.runner.texts == []


def test_an_emulated_command_knows_its_platform(bench: Workbench) -> None:
    bench.add_base("base", {"x": "1"})
    bench.emulated = {FOREIGN}
    bench.build(TEXT, COMMANDS, platform=FOREIGN)
    assert [(step.args[-1], step.platform) for step in bench.runner.steps] == [
        ("native", None),
        ("foreign", FOREIGN),
    ]


def test_what_is_on_record_needs_no_emulator(bench: Workbench) -> None:
    bench.add_base("base", {"x": "1"})
    bench.emulated = {FOREIGN}
    bench.build(TEXT, COMMANDS, platform=FOREIGN)
    bench.emulated = set()
    assert bench.build(TEXT + "ENV A=1\n", COMMANDS, platform=FOREIGN).cached
    with pytest.raises(BuildEnvironmentError):
        bench.build(TEXT, COMMANDS, platform=FOREIGN, no_cache=True)


def test_a_stage_that_is_not_needed_needs_no_emulator(bench: Workbench) -> None:
    text = "FROM scratch AS other\nRUN foreign\nFROM scratch\nCOPY <<A /a\nx\nA\n"
    assert bench.build(text, platform=FOREIGN).image_id
