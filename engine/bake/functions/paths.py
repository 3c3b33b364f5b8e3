"""Paths with slashes, as Go's path package cleans them."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from engine.bake.functions.function import Function, Parameter
from engine.bake.values import value as make
from engine.bake.values.types import STRING

if TYPE_CHECKING:
    from engine.bake.values.value import Value

_PATH: Final = Parameter("path", STRING)


def clean(path: str) -> str:
    """The shortest path that is the same; a dot for none."""
    return posixpath.normpath(path).replace("//", "/", 1) if path else "."


def _basename(path: Value) -> Value:
    text = path.data
    if text and not text.strip("/"):
        return make.string("/")
    return make.string(text.rstrip("/").rpartition("/")[2] or ".")


def _dirname(path: Value) -> Value:
    return make.string(clean(path.data.rpartition("/")[0] + ("/" if "/" in path.data else "")))


def home_functions(home: str) -> tuple[Function, ...]:
    """What depends on who runs this."""
    return (Function("homedir", (), lambda: make.string(home)),)


FUNCTIONS: Final = (
    Function("basename", (_PATH,), _basename),
    Function("dirname", (_PATH,), _dirname),
)
