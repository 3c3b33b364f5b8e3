"""Build arguments that were given and that nothing asks for: told, as a name may be misspelled.

BuildKit accepts them silently. An argument that any ARG of the file declares is not told of, even
where the target does not need that stage: it is meant for another target.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from builder.plan.model import PlanWarning
from builder.plan.scope import CONTROL_ARGS, is_proxy
from dockerfile_grammar import nodes
from dockerfile_grammar.suggest import nearest


def unused_arguments(
    dockerfile: nodes.Dockerfile,
    build_args: Mapping[str, str],
    *,
    used: Container[str],
    known: Mapping[str, str | None],
) -> Iterator[PlanWarning]:
    """A warning for each argument in vain, with the declared name it is nearest to.

    ``used`` are those that a planned ARG asked for, triggers of base images included; ``known`` are
    the global and the automatic ones.
    """
    declared: set[str] | None = None
    for name in build_args:
        if name in used or name in known or name in CONTROL_ARGS or is_proxy(name):
            continue
        if declared is None:
            declared = set(_declared(dockerfile))
        if name in declared:
            continue
        near = nearest(name, sorted(declared | known.keys()))
        hint = f" (did you mean {near}?)" if near else ""
        yield PlanWarning(f"build argument {name} is not used by any ARG{hint}")


def _declared(dockerfile: nodes.Dockerfile) -> Iterator[str]:
    for stage in dockerfile.stages:
        for node in stage.instructions:
            inner = node.instruction if isinstance(node, nodes.Onbuild) else node
            if isinstance(inner, nodes.Arg):
                yield from (pair.key for pair in inner.args)
