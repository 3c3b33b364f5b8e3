"""Which stage is wanted, and whether the file is written in this builder's language at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from builder.errors import PlanError, Source, TargetUnknownError
from builder.plan.options import PlanOptions
from dockerfile_grammar import nodes
from dockerfile_grammar.suggest import with_suggestion

_FRONTEND: Final = re.compile(r"(?:.*/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?")
"""Images of the Dockerfile language, also from a mirror; all mean the builder itself."""
RESERVED_FRONTEND: Final = "dockerfile.v0"


def check_syntax(
    dockerfile: nodes.Dockerfile,
    source: Callable[[nodes.SourceRange], Source],
    build_args: Mapping[str, str],
) -> None:
    """Accept a ``# syntax=`` line, and an argument that goes before it, of this language.

    Raises:
        PlanError: it names another program.
    """
    asked = build_args.get("BUILDKIT_SYNTAX", "").split()
    if asked:
        if not _is_ours(asked[0]):
            raise PlanError(
                f"unsupported frontend {asked[0]}",
                where="--build-arg BUILDKIT_SYNTAX",
                fix="leave the argument out, or name docker/dockerfile:1",
            )
        return
    for directive in dockerfile.directives:
        words = directive.value.split()
        if directive.name != "syntax" or not words:
            continue
        if not _is_ours(words[0]):
            raise PlanError(
                f"unsupported frontend {words[0]}",
                source=source(nodes.SourceRange(directive.line, directive.line)),
                fix="remove the syntax line, or write # syntax=docker/dockerfile:1",
            )


def _is_ours(frontend: str) -> bool:
    return frontend == RESERVED_FRONTEND or _FRONTEND.fullmatch(frontend) is not None


def find_target(dockerfile: nodes.Dockerfile, options: PlanOptions) -> nodes.Stage:
    """The stage that ``options`` ask for, else the last one; names are compared in lower case.

    Raises:
        TargetUnknownError: no stage has that name.
        PlanError: there is no stage.
    """
    stages = dockerfile.stages
    if not stages:
        raise PlanError(
            "dockerfile contains no stages to build",
            where=options.filename,
            fix="add a FROM line",
        )
    wanted = options.target
    if not wanted:
        return stages[-1]
    for stage in reversed(stages):
        if stage.name == wanted.lower():
            return stage
    raise _unknown("target stage", wanted, stages, options.filename)


def find_stages(dockerfile: nodes.Dockerfile, options: PlanOptions) -> frozenset[int]:
    """The numbers of the stages that ``options`` want done anew, given by name or number.

    Raises:
        TargetUnknownError: there is no such stage.
    """
    stages, found = dockerfile.stages, set[int]()
    for wanted in options.no_cache_stages:
        matching = {
            stage.index for stage in stages if wanted.lower() in (stage.name, str(stage.index))
        }
        if not matching:
            raise _unknown("stage", wanted, stages, "--no-cache-filter")
        found |= matching
    return frozenset(found)


def _unknown(
    kind: str, wanted: str, stages: Sequence[nodes.Stage], where: str
) -> TargetUnknownError:
    names = [stage.name for stage in stages if stage.name]
    return TargetUnknownError(
        with_suggestion(f'{kind} "{wanted}" could not be found', wanted, names),
        where=where,
        fix=f"the stages are {', '.join(names)}" if names else "no stage has a name",
    )
