"""`python -m tests.bench --list` names the benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

HELPERS = {"__init__", "__main__", "harness", "peers", "registry_load", "registry_servers"}
HELPERS |= {"registry_limits", "registry_stores", "replicas_servers"}

if sys.argv[1:] != ["--list"]:
    sys.exit(
        "usage: python -m tests.bench --list, or python -m tests.bench.NAME [--quick] [--json FILE]"
    )
for path in sorted(Path(__file__).parent.glob("*.py")):
    if path.stem not in HELPERS:
        print(path.stem)
