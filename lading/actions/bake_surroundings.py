"""What a definition may ask about: the environment, ``--var``, the built-in variables."""

from __future__ import annotations

import os
import time
from typing import Final

from engine.bake.entries import parse_bool
from engine.bake.variables import Surroundings
from images.platform import Platform
from lading.errors import UsageError

NO_LOOKUP: Final = "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"


def surroundings(variables: tuple[str, ...], context: str) -> Surroundings:
    """As this process has them; ``context`` is BAKE_CMD_CONTEXT.

    Raises:
        UsageError: ``--var`` is malformed.
    """
    given = {}
    for text in variables:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{text!r} is no NAME=VALUE", where="--var")
        given[name] = value
    silent = parse_bool(os.environ.get(NO_LOOKUP) or "false", NO_LOOKUP)
    return Surroundings(
        environment={} if silent else dict(os.environ),
        variables=given,
        builtin={"BAKE_CMD_CONTEXT": context, "BAKE_LOCAL_PLATFORM": str(Platform.host())},
        clock=time.time,
        home=os.path.expanduser("~"),
    )
