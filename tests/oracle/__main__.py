"""``python -m tests.oracle SUITE FILE``: print failing rows with their differences, then ``passed N
of M``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.oracle.suites import SUITES


def main(argv: list[str]) -> int:
    """Run one suite over one file of rows; 0 when every row passes or is a listed deviation."""
    if len(argv) != 2 or argv[0] not in SUITES:
        print(f"usage: python -m tests.oracle {'|'.join(SUITES)} FILE", file=sys.stderr)
        return 2
    compare = SUITES[argv[0]]
    total = passed = 0
    deviations: dict[str, int] = {}
    for number, line in enumerate(Path(argv[1]).read_text().splitlines(), start=1):
        total += 1
        verdict = compare(json.loads(line))
        if verdict.deviation is not None:
            deviations[verdict.deviation] = deviations.get(verdict.deviation, 0) + 1
        if verdict.passed:
            passed += 1
            continue
        print(f"row {number}: {verdict.title}")
        for difference in verdict.differences:
            print(f"  {difference}")
    for rule, count in sorted(deviations.items()):
        print(f"deviation, {count} rows: {rule}")
    print(f"passed {passed} of {total}")
    return 0 if passed == total else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
