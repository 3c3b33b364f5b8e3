"""What must not be told: secrets, and arguments that are named like secrets.

A statement is public where the image is. So their values are looked for in everything that is
stated, wherever they got to: into a default of the Dockerfile, a step's name, a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from dockerfile_grammar import nodes

if TYPE_CHECKING:
    from builder.request import BuildRequest

REDACTED: Final = "<redacted>"
SHORTEST: Final = 4
"""Characters; what is shorter is found in every text, and protects nothing."""

_SECRET: Final = re.compile(
    r"""(?ix) api_?key | auth(?!or) | credential | passw | passphrase | pword | pwd | secret | token
    | private | (?:^|_) key (?:_|$)"""
)
"""Wider than BuildKit's rule SecretsUsedInArgOrEnv: here a wrong guess hides a word, no more."""
_HARMLESS: Final = re.compile(r"(?i)public|(?:^|_)(?:file|id|name|path|url|version)$")
_USER: Final = re.compile(r"(?i)\b(https?|ftp)://[^/\s@]+@")
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy"})


class Redactor:
    """Replaces values in texts and in whole documents."""

    def __init__(self, values: Iterable[str]) -> None:
        hidden = {text for text in values if len(text) >= SHORTEST}
        # The longest first: of what holds another one, no rest may be left.
        longest_first = sorted(hidden, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        )

    def text(self, text: str) -> str:
        """The text without these values, and without user names in URLs."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return _USER.sub(r"\1://", text)

    def document(self, value: Any) -> Any:
        """A JSON value whose texts, keys too, are without them."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.document(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.document(item) for item in value]
        return value


def redactor(request: BuildRequest, dockerfile: nodes.Dockerfile | None) -> Redactor:
    """What hides the secrets of one build: its own, its arguments', and those in the Dockerfile."""
    return Redactor([*_secrets(request), *_arguments(request), *_literals(dockerfile)])


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name probably holds something secret."""
    return _SECRET.search(name) is not None and _HARMLESS.search(name) is None


def shown_argument(name: str, value: str) -> str:
    """An argument's value, unless its name says that it is secret."""
    return REDACTED if is_secret_name(name) else value


def _secrets(request: BuildRequest) -> Iterable[str]:
    for secret in request.secrets:
        text = secret.content.decode("utf-8", "replace")
        yield text
        yield text.strip()
        # Of a key in PEM or a file of variables, any line gives it away.
        yield from (line.strip() for line in text.splitlines())
        yield from (line.partition("=")[2].strip("\"' ") for line in text.splitlines())


def _arguments(request: BuildRequest) -> Iterable[str]:
    for name, value in request.build_args.items():
        if is_secret_name(name):
            yield value
        elif name.lower() in _PROXIES:
            yield value.partition("://")[2].rpartition("@")[0]


def _literals(dockerfile: nodes.Dockerfile | None) -> Iterable[str]:
    """Defaults of ARG and values of ENV that stand in the Dockerfile itself."""
    if dockerfile is None:
        return
    stages = (node for stage in dockerfile.stages for node in stage.instructions)
    for node in (*dockerfile.global_args, *stages):
        pairs: Iterable[nodes.KeyValue] = ()
        if isinstance(node, nodes.Arg):
            pairs = node.args
        elif isinstance(node, nodes.Env):
            pairs = node.pairs
        for pair in pairs:
            if is_secret_name(pair.key) and pair.value:
                yield pair.value
                yield pair.value.strip("\"'")
