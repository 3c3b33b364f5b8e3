"""``--call``: questions about a Dockerfile that are answered in place of a build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lading.errors import UsageError
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.lint.report import LintReport
    from builder.request import BuildRequest
    from engine.builds.building import Yard

NAMES: Final = ("check", "outline", "targets", "subrequests.describe")
ALIASES: Final = {"lint": "check"}
TRUTH: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class Call(Record):
    """One question: its name, whether the answer is for programs, whether its status counts."""

    name: str
    json: bool = False
    ignore_status: bool = False

    @staticmethod
    def parse(text: str, where: str = "--call") -> Call | None:
        """``NAME[,format=text|json][,ignorestatus=BOOL]``; None for ``build``.

        Raises:
            UsageError: it is none of those.
        """
        fields = [field.strip() for field in text.split(",")]
        names = [field for field in fields if "=" not in field]
        options = dict(field.partition("=")[::2] for field in fields if "=" in field)
        name = ALIASES.get(names[0], names[0]) if len(names) == 1 else ""
        form = options.pop("format", "text")
        status = options.pop("ignorestatus", "false").lower()
        if name == "build" and not options:
            return None
        if name not in NAMES or form not in ("text", "json") or options or status not in TRUTH:
            raise UsageError(
                f"cannot call {text!r}",
                where=where,
                fix=f"use build, {', '.join(NAMES)}, with ,format=json or ,ignorestatus=true",
            )
        return Call(name, form == "json", TRUTH[status])


class Answer(Record):
    """What is printed, for people and for programs, and the status of the command."""

    text: str
    value: Any
    status: int = 0


def answer(call: Call, request: BuildRequest, yard: Yard) -> Answer:
    """Ask; nothing is built.

    Raises:
        DockerfileError, BuildInputError, ImagesError: the question cannot be answered.
    """
    found = _QUESTIONS[call.name](request, yard)
    return Answer(found.text, found.value) if call.ignore_status else found


def _check(request: BuildRequest, yard: Yard) -> Answer:
    from builder.lint.report import report_json, report_text
    from engine.builds import building

    report: LintReport = building.check(request, yard)
    return Answer(report_text(report), report_json(report), 0 if report.clean else 1)


def _outline(request: BuildRequest, yard: Yard) -> Answer:
    from builder.calls.outline import outline_text
    from engine.builds import building

    found = building.outline(request, yard)
    return Answer(outline_text(found), found)


def _targets(request: BuildRequest, yard: Yard) -> Answer:
    from builder.calls.targets import list_targets, targets_text

    found = list_targets(request)
    return Answer(targets_text(found), found)


def _describe(request: BuildRequest, yard: Yard) -> Answer:
    from builder.calls.describe import describe, describe_text

    return Answer(describe_text(), describe())


_QUESTIONS: Final[dict[str, Callable[[BuildRequest, Yard], Answer]]] = {
    "check": _check,
    "outline": _outline,
    "targets": _targets,
    "subrequests.describe": _describe,
}
