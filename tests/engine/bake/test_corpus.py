"""Whole definitions beside what ``docker buildx bake --print`` says of them, byte for byte.

The first comment of a definition names what is asked for. The answers are buildx 0.36.1's.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.bake.files import load_files, read_files
from engine.bake.overrides import parse_overrides
from engine.bake.render import selection_json
from engine.bake.resolve import cleaned, select
from tests.engine.bake.support import surroundings

CORPUS = Path(__file__).with_name("corpus")
NAMES = sorted(
    path.name for path in CORPUS.iterdir() if not path.name.endswith((".answer.json", ".env"))
)
ENVIRONMENT = {"HOST_ONE": "h1"}


@pytest.mark.parametrize("name", NAMES)
def test_print_is_byte_for_byte_what_buildx_prints(name: str) -> None:
    text = (CORPUS / name).read_text()
    found = re.search(r'bake: ([^"\n]*)', text)
    assert found is not None
    words = found.group(1).split()
    sets = [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    pairs = [word.removeprefix("--var=") for word in words if word.startswith("--var=")]
    asked = [word for word in words if not word.startswith("--")]
    around = surroundings(ENVIRONMENT, dict(pair.split("=", 1) for pair in pairs))
    config = load_files(read_files([name], CORPUS), around, CORPUS)
    overrides = parse_overrides(sets, [target.name for target in config.targets], ENVIRONMENT)
    shown = selection_json(cleaned(select(config, asked, overrides)))
    assert shown == (CORPUS / name).with_suffix(".answer.json").read_text()
