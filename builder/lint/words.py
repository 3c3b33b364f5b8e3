"""Which words of an instruction are expanded when it is built (Dockerfile reference, "Environment
replacement").
"""

from __future__ import annotations

from collections.abc import Iterator

from dockerfile_grammar import nodes


def expanded_words(node: nodes.Instruction) -> Iterator[tuple[str, bool]]:
    """Each word, and whether it is the body of a here-document.

    Not those of ARG, whose defaults see each other, nor the ports of EXPOSE, which BuildKit expands
    without looking for undefined names.
    """
    match node:
        case nodes.Copy() | nodes.Add():
            for doc in node.heredocs:
                if doc.expand:
                    yield doc.content, True
    for word in _words(node):
        if word is not None:
            yield word, False


def _words(node: nodes.Instruction) -> Iterator[str | None]:
    match node:
        case nodes.Env() | nodes.Label():
            for pair in node.pairs:
                yield from (pair.key, pair.value)
        case nodes.Copy():
            yield from (node.chown, node.chmod, node.from_, *node.sources, node.destination)
        case nodes.Add():
            yield from (node.chown, node.chmod, node.checksum, *node.sources, node.destination)
        case nodes.Run():
            for mount in node.mounts:
                yield from (value for _, value in mount.options)
        case nodes.Workdir():
            yield node.path
        case nodes.User():
            yield node.user
        case nodes.Volume():
            yield from node.paths
        case nodes.Stopsignal():
            yield node.signal
