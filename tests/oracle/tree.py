"""Suite ``tree``: {name, dockerfile, dockerignore?, context[], base[], result[] | error, note?}.

Each COPY, ADD and WORKDIR is planned, its entries unpacked as a layer, and the layers looked at
together.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.context import ContextTree
from builder.copying.plan import plan_copy, plan_workdir
from builder.copying.request import CopyRequest, InlineSource
from builder.copying.tree import SourceTree, StageTree
from builder.ignore import IgnorePatterns
from dockerfile_grammar import nodes
from dockerfile_grammar.expand import expand, expand_heredoc
from dockerfile_grammar.parser import parse
from images.errors import ImagesError
from images.layers.merged import MergedTree
from images.layers.unpack import unpack_entries
from tests.oracle.trees import CREATED, describe, write_tree
from tests.oracle.verdict import Verdict

ERRORS = {
    "missing-file": '"/nope": not found',
    "dir-over-file": "cannot copy to non-directory: /d",
    "nested-dir-over-file": "cannot copy to non-directory: /d/sub",
    "link-chown-name-base-ignored": "invalid user 'me'",
    "ignore-34": 'illegal exclusion pattern: "!"',
    "ignore-blocks-explicit-copy": "excluded by .dockerignore line 1 (*.log)",
    "ignore-explicit-dir-child": "excluded by .dockerignore line 1 (a)",
}
"""Where the reference fails: a part of our message."""

DEVIATIONS = {
    "wildcard-many-no-slash": (
        "several source files onto one destination are an error, not a silent overwrite"
    ),
    "backslash-bracket": "an escaped wildcard names the file with that very name",
    "chown-unknown-user-becomes-root": "unknown names in --chown are an error, as documented",
    "add-tar-whiteout": "names that begin with .wh. are refused, since they would delete files",
}


def check_tree(row: dict[str, Any]) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        verdict = _check(row, Path(folder))
    rule = DEVIATIONS.get(row["name"])
    if rule is not None and not verdict.passed:
        return replace(verdict, differences=(), deviation=rule)
    return verdict


def _check(row: dict[str, Any], folder: Path) -> Verdict:
    write_tree(folder / "base", row.get("base") or [], owners=os.geteuid() == 0)
    write_tree(folder / "context", row["context"], owners=os.geteuid() == 0)
    try:
        layers = _Build(row, folder).run()
    except ImagesError as error:
        wanted = ERRORS.get(row["name"])
        if "error" in row and wanted is not None and wanted in error.what:
            return Verdict(row["name"])
        return Verdict(row["name"], (f"error: expected {row.get('error')!r}, got {error}",))
    actual = describe(layers)
    if "error" in row:
        return Verdict(row["name"], (f"error: expected {row['error']!r}, got none",))
    return Verdict(row["name"], tuple(_differences(row["result"], actual)))


def _differences(expected: list[dict[str, Any]], actual: list[dict[str, Any]]) -> list[str]:
    by_path = {item["p"]: item for item in actual}
    wanted = {item["p"]: item for item in expected}
    out = [f"{path}: missing" for path in wanted if path not in by_path]
    out += [f"{path}: not expected" for path in by_path if path not in wanted]
    for path, item in wanted.items():
        ours = by_path.get(path, item)
        for key, value in item.items():
            # Where the reference made up a time, keeping the source's is as good.
            if key == "c" and str(value).startswith("sha256:"):
                continue
            if ours.get(key) != value:
                out.append(f"{path}: {key}: expected {value!r}, got {ours.get(key)!r}")
    return out


class _Build:
    """Runs the file instructions of a Dockerfile, one layer each."""

    def __init__(self, row: dict[str, Any], folder: Path) -> None:
        self._row = row
        self._folder = folder
        ignore = IgnorePatterns.parse(row.get("dockerignore") or "")
        self._context = ContextTree(folder / "context", ignore)
        self._stages: dict[str, list[Path]] = {}
        self._count = 0

    def run(self) -> list[Path]:
        tree = parse(self._row["dockerfile"])
        layers: list[Path] = []
        for stage in tree.stages:
            layers = self._base(stage.base.image)
            workdir, user, env = "/", "", {}
            for item in stage.instructions:
                match item:
                    case nodes.Workdir(path=path):
                        workdir = os.path.normpath(os.path.join(workdir, path))
                        entries = plan_workdir(workdir, user, MergedTree(layers), created=CREATED)
                        layers = self._layer(entries, layers)
                    case nodes.User(user=name):
                        user = name
                    case nodes.Arg(args=args):
                        env |= {arg.key: arg.value or "" for arg in args}
                    case nodes.Copy() | nodes.Add():
                        request = self._request(item, workdir, env)
                        source = self._source(item)
                        entries = plan_copy(request, source, MergedTree(layers))
                        layers = self._layer(entries, layers)
            self._stages[stage.name or str(stage.index)] = layers
        return layers

    def _base(self, image: str) -> list[Path]:
        if image == "scratch":
            return []
        return self._stages.get(image, [self._folder / "base"])

    def _source(self, item: nodes.Copy | nodes.Add) -> SourceTree:
        if isinstance(item, nodes.Copy) and item.from_ is not None:
            return StageTree(self._base(item.from_))
        return self._context

    def _request(
        self, item: nodes.Copy | nodes.Add, workdir: str, env: dict[str, str]
    ) -> CopyRequest:
        unpack = isinstance(item, nodes.Add) and item.unpack is not False
        return CopyRequest(
            sources=tuple(expand(source, env) for source in item.sources),
            destination=expand(item.destination, env),
            workdir=workdir,
            inline=tuple(
                InlineSource(
                    doc.name, (expand_heredoc(doc.body, env) if doc.expand else doc.body).encode()
                )
                for doc in item.heredocs
            ),
            chown=item.chown,
            chmod=item.chmod,
            exclude=item.exclude,
            parents=item.parents,
            link=item.link,
            unpack=unpack,
            created=CREATED,
            instruction=item.keyword.upper(),
        )

    def _layer(self, entries: Any, layers: list[Path]) -> list[Path]:
        if not entries:
            return layers
        self._count += 1
        path = self._folder / f"layer{self._count}"
        path.mkdir()
        unpack_entries(entries, path)
        return [path, *layers]
