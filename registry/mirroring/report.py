"""How a mirror fares: a small file for each, for commands, metrics and the schedule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from registry.smallfiles import SmallFile, locked, replace

FOLDER: Final = "mirrors"
_PROBLEMS: Final = 20


@dataclass(slots=True)
class Report:
    """A mirror's latest run, and its sums over all runs; moments in seconds since the epoch.

    ``refused`` counts what a policy did not let in, ``problems`` says what went wrong.
    """

    started: float = 0.0
    ended: float = 0.0
    succeeded: float = 0.0
    runs: int = 0
    failures: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    deleted: int = 0
    refused: int = 0
    error: str = ""
    problems: list[str] = field(default_factory=list)

    def begin(self, now: float) -> None:
        """A run begins."""
        self.started = now
        self.error, self.problems = "", []

    def problem(self, text: str) -> None:
        """Something was not copied."""
        self.error = self.error or text
        if len(self.problems) < _PROBLEMS:
            self.problems.append(text)

    def end(self, now: float) -> None:
        """The run came to its end."""
        self.ended = now
        self.runs += 1
        if self.error:
            self.failures += 1
        else:
            self.succeeded = now

    def as_json(self) -> Mapping[str, Any]:
        """Its fields."""
        return asdict(self)


def read(root: SmallFile, name: str) -> Report:
    """The report of a mirror, an empty one before its first run; blocks."""
    known = {it.name for it in fields(Report)}
    try:
        found = json.loads((root / FOLDER / f"{name}.json").read_bytes())
        return Report(**{key: value for key, value in found.items() if key in known})
    except (FileNotFoundError, ValueError, AttributeError):
        return Report()


def write(root: SmallFile, name: str, report: Report) -> None:
    """Keep it; blocks."""
    path = root / FOLDER / f"{name}.json"
    with locked(path):
        replace(path, json.dumps(report.as_json(), indent=1).encode())


def read_all(root: SmallFile) -> dict[str, Report]:
    """The reports of all mirrors that ever ran, by name; blocks."""
    folder = root / FOLDER
    found = folder.iterdir() if folder.is_dir() else ()
    names = sorted(it.stem for it in found if it.suffix == ".json" and it.name[0] != ".")
    return {name: read(root, name) for name in names}
