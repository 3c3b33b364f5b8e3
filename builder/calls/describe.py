"""``--call=subrequests.describe``: which questions there are, in BuildKit's shape."""

from __future__ import annotations

from typing import Any, Final

from builder.calls.shape import columns

VERSION: Final = "1.0.0"
QUESTIONS: Final = (
    ("lint", "Lint a Dockerfile", ()),
    ("outline", "List all parameters current build target supports", ("target",)),
    ("targets", "List all targets current build supports", ()),
    ("subrequests.describe", "List available subrequest types", ()),
)
_OPTIONS: Final = {"target": "Target build stage"}


def describe() -> list[dict[str, Any]]:
    """The questions with what each takes and gives."""
    return [
        {
            "name": f"frontend.{name}",
            "version": VERSION,
            "type": "rpc",
            "description": text,
            "opts": [{"name": option, "description": _OPTIONS[option]} for option in options],
            "inputs": None,
            "metadata": [{"name": f"result.{form}", "description": ""} for form in ("json", "txt")],
            "refs": None,
        }
        for name, text, options in QUESTIONS
    ]


def describe_text() -> str:
    """The table that BuildKit prints."""
    rows = [("NAME", "VERSION", "DESCRIPTION")]
    rows += [(name, VERSION, text) for name, text, _ in QUESTIONS]
    return columns(rows, gap=1)
