"""The golden corpus: fixtures/dockerfiles/CASE/{Dockerfile,expected.json}.

``python -m tests.dockerfile_grammar.golden`` writes the expectations anew; read the diff before
committing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import parse
from records import Record, field_names

CORPUS = Path(__file__).parents[2] / "fixtures" / "dockerfiles"


def outcome(source: bytes) -> dict[str, Any]:
    """What parsing yields, as JSON: the tree, or the error with its position."""
    try:
        return {"tree": plain(parse(source))}
    except DockerfileError as error:
        return {
            "error": {
                "what": error.what,
                "where": error.where,
                "fix": error.fix,
                "code": error.code,
                "lines": [error.range.start, error.range.end],
                "caret": list(error.caret) if error.caret else None,
                "excerpt": error.excerpt().split("\n"),
            }
        }


def plain(value: Any) -> Any:
    """Records as objects with their type's name, without fields that hold their default."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if not isinstance(value, Record):
        return value
    defaults = type(value).__field_defaults__
    fields = {
        name: plain(getattr(value, name))
        for name in field_names(type(value))
        if name not in defaults or getattr(value, name) != defaults[name]
    }
    if fields.keys() == {"start", "end"}:
        return [value.start, value.end]  # type: ignore[attr-defined]
    return {"type": type(value).__name__, **fields}


def cases() -> list[Path]:
    return sorted(path for path in CORPUS.iterdir() if path.is_dir())


def main() -> None:
    for case in cases():
        found = outcome((case / "Dockerfile").read_bytes())
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        (case / "expected.json").write_text(text)


if __name__ == "__main__":
    main()
