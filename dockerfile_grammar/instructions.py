"""From statements to typed instructions: what each instruction demands of its arguments.

Dockerfile reference; the messages are BuildKit's. Values stay unexpanded, so what depends on a
variable (ports, signals, modes, owners, mount options) is checked by whoever expands it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dockerfile_grammar import nodes
from dockerfile_grammar.errors import SyntaxFault
from dockerfile_grammar.flags import FlagValues
from dockerfile_grammar.heredocs import parse_opening
from dockerfile_grammar.mounts import check_fields
from dockerfile_grammar.quoting import quoted
from dockerfile_grammar.suggest import with_suggestion
from dockerfile_grammar.syntax import Statement, read_mount, read_statement
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dockerfile_grammar.lines import LogicalLine

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*\Z")
_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")


class _Context(Record):
    """A statement with the line it stands in."""

    statement: Statement
    line: LogicalLine
    escape: str

    @property
    def words(self) -> tuple[str, ...]:
        return self.statement.arguments.words

    def offset(self, index: int) -> int:
        """Where a word begins; the statement's start where there is none."""
        offsets = self.statement.arguments.offsets
        return offsets[index] if index < len(offsets) else self.statement.offset

    def flags(self) -> FlagValues:
        return FlagValues(self.statement.name, self.statement.flags)

    def fault(self, what: str, *, fix: str | None = None, index: int = 0) -> SyntaxFault:
        return SyntaxFault(what, code="dockerfile-arguments", fix=fix, offset=self.offset(index))


def build_instruction(statement: Statement, line: LogicalLine, escape: str) -> nodes.Instruction:
    """Give a statement its type.

    Raises:
        SyntaxFault: wrong flags, or arguments the instruction does not allow.
    """
    return _BUILDERS[statement.name](_Context(statement, line, escape))


def _node(context: _Context) -> tuple[nodes.SourceRange, str, str]:
    """The fields every node has, in order."""
    return context.line.range, context.statement.text, context.statement.keyword


def _from(context: _Context) -> nodes.From:
    flags = context.flags()
    words = context.words
    if not words:
        raise context.fault(
            "FROM requires either one or three arguments",
            fix="write FROM image or FROM image AS name",
        )
    alias = as_keyword = None
    if len(words) == 3:
        as_keyword, alias = words[1:]
        if not _STAGE_NAME.match(alias.lower()):
            raise context.fault(
                f"invalid name for build stage: {quoted(alias)}, "
                "name can't start with a number or contain symbols",
                fix="begin with a letter; then letters, digits, - _ and .",
                index=2,
            )
    return nodes.From(
        *_node(context),
        image=words[0],
        platform=flags.text("platform"),
        alias=alias.lower() if alias is not None else None,
        alias_written=alias,
        as_keyword=as_keyword,
        comments=context.line.comments,
    )


def _pairs(context: _Context) -> tuple[nodes.KeyValue, ...]:
    name = context.statement.name
    pairs = context.statement.arguments.pairs
    if not pairs:
        raise context.fault(
            f"{name} requires at least one argument", fix=f"write {name} name=value"
        )
    for index, pair in enumerate(pairs):
        if not pair.key:
            raise context.fault(
                f"{name} names can not be blank", fix="write the name before =", index=index
            )
    return pairs


def _arg(context: _Context) -> nodes.Arg:
    return nodes.Arg(*_node(context), args=_pairs(context), comments=context.line.comments)


def _env(context: _Context) -> nodes.Env:
    context.flags()
    return nodes.Env(*_node(context), pairs=_pairs(context), comments=context.line.comments)


def _label(context: _Context) -> nodes.Label:
    context.flags()
    return nodes.Label(*_node(context), pairs=_pairs(context), comments=context.line.comments)


def _command(context: _Context) -> nodes.Command:
    arguments = context.statement.arguments
    if arguments.json:
        return nodes.ExecForm(arguments.words)
    return nodes.ShellForm("".join(arguments.words), context.line.heredocs)


def _run(context: _Context) -> nodes.Run:
    flags = context.flags()
    network = flags.text("network")
    if network is not None and network not in _NETWORKS:
        raise SyntaxFault(
            with_suggestion(f"invalid network mode {quoted(network)}", network, _NETWORKS),
            code="dockerfile-flag",
            fix=f"use one of {', '.join(_NETWORKS)}",
            offset=flags.offset("network"),
        )
    security = flags.text("security")
    if security is not None and security not in _SECURITIES:
        raise SyntaxFault(
            with_suggestion(f"security {quoted(security)} is not valid", security, _SECURITIES),
            code="dockerfile-flag",
            fix=f"use one of {', '.join(_SECURITIES)}",
            offset=flags.offset("security"),
        )
    mounts: list[nodes.Mount] = []
    for index, value in enumerate(flags.listed("mount")):
        mount = nodes.Mount(read_mount(value, offset=flags.offset("mount", index)))
        check_fields(mount, offset=flags.offset("mount", index))
        mounts.append(mount)
    return nodes.Run(
        *_node(context),
        command=_command(context),
        mounts=tuple(mounts),
        network=network,
        security=security,
        devices=flags.listed("device"),
        comments=context.line.comments,
    )


def _sources(context: _Context) -> tuple[tuple[str, ...], tuple[nodes.Heredoc, ...], str]:
    """Paths, here-documents and destination of COPY and ADD."""
    name = context.statement.name
    words = context.words
    if len(words) < 2:
        missing = (
            "only one was provided. Destination could not be determined"
            if words
            else "none was provided. Source and destination could not be determined"
        )
        raise context.fault(
            f"{name} requires at least two arguments, but {missing}",
            fix=f"write {name} source... destination",
        )
    by_name = {heredoc.name: heredoc for heredoc in context.line.heredocs}
    if not by_name:
        return words[:-1], (), words[-1]
    if parse_opening(words[-1]) is not None:
        raise context.fault(
            f"{name} cannot accept a heredoc as a destination",
            fix="write the destination's path last",
            index=len(words) - 1,
        )
    paths: list[str] = []
    heredocs: list[nodes.Heredoc] = []
    for word in words[:-1]:
        opening = parse_opening(word)
        if opening is None or opening.name not in by_name:
            paths.append(word)
        else:
            heredocs.append(by_name[opening.name])
    return tuple(paths), tuple(heredocs), words[-1]


def _copy(context: _Context) -> nodes.Copy:
    flags = context.flags()
    sources, heredocs, destination = _sources(context)
    return nodes.Copy(
        *_node(context),
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.boolean("link") or False,
        parents=flags.boolean("parents") or False,
        exclude=flags.listed("exclude"),
        from_=flags.text("from"),
        comments=context.line.comments,
    )


def _add(context: _Context) -> nodes.Add:
    flags = context.flags()
    sources, heredocs, destination = _sources(context)
    return nodes.Add(
        *_node(context),
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.boolean("link") or False,
        parents=flags.boolean("parents") or False,
        exclude=flags.listed("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.boolean("keep-git-dir"),
        unpack=flags.boolean("unpack"),
        comments=context.line.comments,
    )


def _cmd(context: _Context) -> nodes.Cmd:
    context.flags()
    return nodes.Cmd(*_node(context), command=_command(context), comments=context.line.comments)


def _entrypoint(context: _Context) -> nodes.Entrypoint:
    context.flags()
    return nodes.Entrypoint(
        *_node(context), command=_command(context), comments=context.line.comments
    )


def _shell(context: _Context) -> nodes.Shell:
    context.flags()
    if context.words and not context.statement.arguments.json:
        raise context.fault(
            "SHELL requires the arguments to be in JSON form", fix='write SHELL ["/bin/sh", "-c"]'
        )
    if not context.words:
        raise context.fault(
            "SHELL requires at least one argument", fix='write SHELL ["/bin/sh", "-c"]'
        )
    return nodes.Shell(*_node(context), args=context.words, comments=context.line.comments)


def _one(context: _Context) -> str:
    """The one argument of USER, WORKDIR, STOPSIGNAL and MAINTAINER."""
    if not context.words:
        raise context.fault(f"{context.statement.name} requires exactly one argument")
    return context.words[0]


def _workdir(context: _Context) -> nodes.Workdir:
    context.flags()
    return nodes.Workdir(*_node(context), path=_one(context), comments=context.line.comments)


def _user(context: _Context) -> nodes.User:
    context.flags()
    return nodes.User(*_node(context), user=_one(context), comments=context.line.comments)


def _stopsignal(context: _Context) -> nodes.Stopsignal:
    return nodes.Stopsignal(*_node(context), signal=_one(context), comments=context.line.comments)


def _maintainer(context: _Context) -> nodes.Maintainer:
    context.flags()
    return nodes.Maintainer(*_node(context), name=_one(context), comments=context.line.comments)


def _at_least_one(context: _Context) -> tuple[str, ...]:
    context.flags()
    if not context.words:
        raise context.fault(f"{context.statement.name} requires at least one argument")
    return context.words


def _expose(context: _Context) -> nodes.Expose:
    return nodes.Expose(
        *_node(context), ports=_at_least_one(context), comments=context.line.comments
    )


def _volume(context: _Context) -> nodes.Volume:
    paths = tuple(path.strip() for path in _at_least_one(context))
    for index, path in enumerate(paths):
        if not path:
            raise context.fault(
                "VOLUME specified can not be an empty string", fix="write a path", index=index
            )
    return nodes.Volume(*_node(context), paths=paths, comments=context.line.comments)


def _healthcheck(context: _Context) -> nodes.Healthcheck:
    words = context.words
    if not words:
        raise context.fault(
            "HEALTHCHECK requires at least one argument", fix="write HEALTHCHECK CMD command"
        )
    kind = words[0].upper()
    if kind == "NONE":
        if len(words) > 1:
            raise context.fault("HEALTHCHECK NONE takes no arguments", index=1)
        return nodes.Healthcheck(*_node(context), command=None, comments=context.line.comments)
    flags = context.flags()
    if kind != "CMD":
        raise context.fault(
            f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)",
            fix="write HEALTHCHECK CMD command",
        )
    if len(words) < 2:
        raise context.fault("Missing command after HEALTHCHECK CMD")
    is_json = context.statement.arguments.json
    return nodes.Healthcheck(
        *_node(context),
        command=nodes.ExecForm(words[1:]) if is_json else nodes.ShellForm(words[1]),
        interval=flags.duration("interval"),
        timeout=flags.duration("timeout"),
        start_period=flags.duration("start-period"),
        start_interval=flags.duration("start-interval"),
        retries=flags.count("retries"),
        comments=context.line.comments,
    )


def _onbuild(context: _Context) -> nodes.Onbuild:
    context.flags()
    words = context.words
    if not words:
        raise context.fault(
            "ONBUILD requires at least one argument", fix="write ONBUILD and an instruction"
        )
    keyword = words[0].split()[0].upper()
    if keyword == "ONBUILD":
        raise context.fault("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise context.fault(f"{keyword} isn't allowed as an ONBUILD trigger")
    trigger = read_statement(words[0], escape=context.escape, offset=context.offset(0))
    bodies = "".join(f"\n{heredoc.written}" for heredoc in context.line.heredocs)
    return nodes.Onbuild(
        *_node(context),
        trigger=words[0] + bodies,
        instruction=build_instruction(trigger, context.line, context.escape),
        comments=context.line.comments,
    )


_BUILDERS: Mapping[str, Callable[[_Context], nodes.Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
