"""Dockerfiles made to hurt: each is planned in bounded time and memory, or refused in words.

The suite's timeout is the bound on time; what grew with the square of such a file took minutes.
"""

from __future__ import annotations

import pytest

from builder.errors import PlanError
from builder.plan.planner import PLAN_LIMIT
from builder.plan.stage import LAYER_LIMIT
from tests.builder.plans import STUB, StubResolver, plan_text

pytestmark = pytest.mark.no_cover


def lines(template: str, count: int) -> str:
    return "".join(template.replace("@", str(n)).replace("#", str(n + 1)) for n in range(count))


@pytest.mark.parametrize(
    "text",
    [
        "FROM b\nARG a=xxxxxxxx\n" + "ARG a=${a}${a}\n" * 60,
        "FROM b\nENV a=xxxxxxxx\n" + "ENV a=$a$a$a$a\n" * 40,
        "ARG a=xxxxxxxx\n" + "ARG a=${a}${a}\n" * 60 + "FROM b\n",
        "FROM b\nARG a=" + "x" * 60_000 + "\nARG b=${a//x/$a}\n",
    ],
    ids=["ARG", "ENV", "global", "replacement"],
)
def test_values_that_double_line_by_line(text: str) -> None:
    with pytest.raises(PlanError, match="bring in more than"):
        plan_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "FROM b\n" + lines("ARG a@=1\n", 8000) + "RUN x\n" * 400,
        "FROM b\n" + f'SHELL ["{"a" * 60_000}"]\n' + "RUN x\n" * 2000,
        "FROM b\n" + "EXPOSE 1-65535\n" * 2000,
        "FROM b AS s0\n" + lines("LABEL a@=1\n", 4000) + lines("FROM s@ AS s#\n", 4000),
    ],
    ids=["arguments-times-commands", "shell", "ports", "labels-times-stages"],
)
def test_plans_that_grow_with_the_square(text: str) -> None:
    with pytest.raises(PlanError, match=f"grows beyond {PLAN_LIMIT >> 20} MB|more than") as caught:
        plan_text(text)
    assert caught.value.source is not None


def test_more_layers_than_can_be_stacked() -> None:
    text = "FROM b\n" + "RUN x\n" * LAYER_LIMIT
    with pytest.raises(PlanError, match=f"more than {LAYER_LIMIT} layers") as caught:
        plan_text(text)
    assert caught.value.where == f"Dockerfile:{LAYER_LIMIT + 1}"
    plan_text(text.removesuffix("RUN x\n"))


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (lines("FROM b AS s@\n", 10_000), 1),
        ("FROM b AS s0\n" + lines("FROM s@ AS s#\n", 3000), 1),
        ("FROM b AS s0\n" + lines("FROM b AS s#\nCOPY --from=s@ /a /b\n", 800), 801),
        ("FROM b AS s0\n" + lines("FROM b\nCOPY --from=@ /a /b\n", 800), 801),
        ("FROM b AS s0\n" + lines("FROM b AS s#\nRUN --mount=from=s@,target=/m x\n", 400), 401),
    ],
    ids=["wide", "from", "copy", "copy-by-number", "mount"],
)
def test_thousands_of_stages(text: str, steps: int) -> None:
    assert len(plan_text(text).steps) == steps


def test_a_long_chain_through_variables_is_refused() -> None:
    chain = lines("FROM b AS s#\nARG n=s@\nCOPY --from=$n /a /b\n", 500)
    with pytest.raises(PlanError, match="through variables"):
        plan_text("FROM b AS s0\n" + chain)


def test_many_small_instructions() -> None:
    text = lines("LABEL l@=1\n", 5000) + "ONBUILD RUN x\n" * 5000 + lines("VOLUME /@\n", 2000)
    config = plan_text("FROM b\n" + text).image.config
    assert (len(config["Labels"]), len(config["OnBuild"])) == (5000, 5000)


@pytest.mark.parametrize("name", ["../x", "..", ".", "a/b", "n" * 256])
@pytest.mark.parametrize("form", ["COPY <<'@' /d/\n", "ADD <<'@' /d\n", "RUN <<'@'\n#!/bin/sh\n"])
def test_a_here_document_is_no_path(form: str, name: str) -> None:
    """Its delimiter names the file, so it could lead out of the destination."""
    with pytest.raises(PlanError, match="must be a plain file name"):
        plan_text(f"FROM b\n{form.replace('@', name)}{name}\n")


def test_a_here_document_for_a_program_may_be_called_anything() -> None:
    assert plan_text("FROM b\nRUN cat <<../x\nhi\n../x\n").steps


def test_labels_of_a_base_are_not_changed_for_others() -> None:
    base = {**STUB, "config": {"Labels": {"a": "1"}, "Volumes": None, "ExposedPorts": {}}}
    resolver = StubResolver({"b:latest": base})
    text = "FROM b AS one\nLABEL b=2\nVOLUME /v\nFROM b\nCOPY --from=one /a /\nLABEL c=3\n"
    assert plan_text(text, resolver).image.config["Labels"] == {"a": "1", "c": "3"}
