"""Rules about stages as a whole: their bases, users, checks, and who needs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from builder.contexts import context_name
from builder.lint import own
from builder.lint.rules import Finding, Place
from builder.lint.survey import SCRATCH, Survey
from dockerfile_grammar import nodes
from images.errors import ImagesError
from images.reference import Reference

ROOT: Final = frozenset({"root", "0"})


def findings(survey: Survey) -> Iterator[Finding]:
    """What these rules say about a file."""
    yield from _floating(survey)
    yield from _users(survey)
    yield from _health(survey)
    yield from _unused(survey)


def _floating(survey: Survey) -> Iterator[Finding]:
    for stage in survey.stages:
        text = survey.base(stage)
        if text is None or text == SCRATCH or survey.parents[stage.index] is not None:
            continue
        try:
            reference = Reference.parse(text)
            if context_name(text) in survey.contexts:
                continue
        except ImagesError:
            continue
        if reference.digest is None and reference.tag in (None, "latest"):
            start = stage.base.original.find(stage.base.image)
            place = Place(start, start + len(stage.base.image)) if start >= 0 else None
            yield own.FLOATING_BASE_IMAGE.at(stage.base, text, place=place)


def _users(survey: Survey) -> Iterator[Finding]:
    last: nodes.User | None = None
    for index in survey.lineage(len(survey.stages) - 1):
        for node in survey.stages[index].instructions:
            if isinstance(node, nodes.User):
                last = node
    if last is None:
        yield own.USER_MISSING.at(survey.stages[-1].base)
    elif last.user.partition(":")[0] in ROOT:
        yield own.LAST_USER_ROOT.at(last, last.user)


def _health(survey: Survey) -> Iterator[Finding]:
    lineage = survey.lineage(len(survey.stages) - 1)
    found = (node for index in lineage for node in survey.stages[index].instructions)
    if not any(isinstance(node, nodes.Healthcheck) for node in found):
        yield own.HEALTHCHECK_MISSING.at(survey.stages[-1].base)


def _unused(survey: Survey) -> Iterator[Finding]:
    used = _references(survey)
    if used is None:
        return
    bases = set(survey.parents)
    for stage in survey.stages[:-1]:
        if stage.index in bases or str(stage.index) in used:
            continue
        if stage.name is None:
            yield own.UNUSED_STAGE.at(stage.base)
        elif stage.name not in used:
            yield own.UNREFERENCED_STAGE.at(stage.base, stage.name)


def _references(survey: Survey) -> set[str] | None:
    """Names and numbers after ``from``, in lower case; None where one is a variable."""
    found = set[str]()
    for stage in survey.stages:
        for node in stage.instructions:
            inner = node.instruction if isinstance(node, nodes.Onbuild) else node
            match inner:
                case nodes.Copy(from_=str() as name):
                    names = [name]
                case nodes.Run():
                    names = [dict(mount.options).get("from") or "" for mount in inner.mounts]
                case _:
                    continue
            if any("$" in name for name in names):
                return None
            found.update(name.lower() for name in names)
    return found
