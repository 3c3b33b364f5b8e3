"""Config changes given as single instructions: ``import --change``, ``commit --change``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from builder.errors import BuildInputError
from builder.plan.options import PlanOptions
from builder.plan.planner import plan
from builder.plan.scope import DEFAULT_PATH
from dockerfile_grammar import nodes
from dockerfile_grammar.parser import parse
from images.platform import Platform

if TYPE_CHECKING:
    from images.reference import Reference

ALLOWED: Final = (
    nodes.Cmd,
    nodes.Entrypoint,
    nodes.Env,
    nodes.Expose,
    nodes.Healthcheck,
    nodes.Label,
    nodes.Onbuild,
    nodes.Stopsignal,
    nodes.User,
    nodes.Volume,
    nodes.Workdir,
)
"""What changes the config alone (docker-import(1))."""


class _NoBases:
    """Nothing but scratch can be meant here."""

    def resolve(self, reference: Reference, platform: Platform) -> NoReturn:
        raise BuildInputError("a change cannot name an image", where=str(reference))

    def pin(self, reference: Reference, platform: Platform) -> None:
        return None


def config_of(changes: Sequence[str]) -> dict[str, Any]:
    """The image config (Docker's inner object) that these instructions make.

    Raises:
        BuildInputError: an instruction is malformed, or changes more than the config.
    """
    text = "\n".join(("FROM scratch", *changes)) + "\n"
    tree = parse(text, filename="--change")
    for instruction in tree.stages[0].instructions:
        if len(tree.stages) > 1 or not isinstance(instruction, ALLOWED):
            names = ", ".join(sorted(kind.__name__.upper() for kind in ALLOWED))
            raise BuildInputError(
                f"{instruction.keyword} is not a valid change", where="--change", fix=f"use {names}"
            )
    host = Platform.host()
    options = PlanOptions(platform=host, build_platform=host, filename="--change")
    config = dict(plan(tree, text.splitlines(), options, _NoBases()).image.config)
    default = f"PATH={DEFAULT_PATH}"
    environment = [entry for entry in config.pop("Env", ()) if entry != default]
    return config | ({"Env": environment} if environment else {})
