"""The suites by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.oracle.expand import check_expand
from tests.oracle.ignore import check_ignore
from tests.oracle.plan import check_plan
from tests.oracle.plan_parse import check_plan_parse
from tests.oracle.tree import check_tree
from tests.oracle.verdict import Verdict

SUITES: Mapping[str, Callable[[dict[str, Any]], Verdict]] = {
    "expand": check_expand,
    "ignore": check_ignore,
    "plan": check_plan,
    "plan-parse": check_plan_parse,
    "tree": check_tree,
}
