"""One stage, read top to bottom: instructions become steps, config changes and history.

The reader knows variables and config; the stages around it are behind ``StageSurroundings``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from builder.errors import PlanError, Source
from builder.plan import paths
from builder.plan.config import ConfigDraft, ConfigError
from builder.plan.heredocs import body, file_name, summary_of
from builder.plan.labels import step_label
from builder.plan.mounts import MountSurroundings, plan_mount
from builder.plan.observer import PlanObserver
from builder.plan.ops import Copy, InlineFile, MountSpec, Op, Origin, Run, SshSpec, StepId, Workdir
from builder.plan.options import PlanOptions
from builder.plan.scope import StageScope, proxy_environment
from builder.plan.sources import is_git, is_url
from builder.runner import HOSTNAME
from builder.sources.public import public_url
from dockerfile_grammar import nodes
from dockerfile_grammar.errors import SyntaxFault
from dockerfile_grammar.expand import expand, expand_heredoc, expand_words
from images.platform import Platform

ENTRY_WEIGHT = 64
"""Characters that an entry of a list or map counts for, whatever its text."""

LAYER_LIMIT = 500
"""Layers that overlayfs stacks (OVL_MAX_STACK)."""

COMMENT_SUFFIX = " # buildkit"
_VARIABLE = re.compile(r"\\.|\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.DOTALL)
_HEREDOC_WORD = re.compile(r"<<-?\s*[^<\s]+\Z")
_OCTAL = re.compile(r"0?[0-7]{1,4}\Z")
_CLAUSE = r"[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+"
_SYMBOLIC = re.compile(rf"{_CLAUSE}(?:,{_CLAUSE})*\Z")


class StageSurroundings(Protocol):
    """What a stage needs from the plan it is part of."""

    options: PlanOptions
    escape: str
    observer: PlanObserver

    def source(self, location: nodes.SourceRange) -> Source:
        """The place for an error message."""

    def add_step(
        self,
        op: Op,
        parent: StepId | None,
        name: str,
        *,
        source: Source | None,
        created_by: str,
        no_cache: bool,
    ) -> StepId:
        """Append a step."""

    def weigh(self, size: int, location: nodes.SourceRange) -> None:
        """Count what a step or a config holds; raises PlanError when a plan becomes too large."""

    def copy_source(self, name: str, stage: int, location: nodes.SourceRange) -> Origin:
        """The context, stage or image called ``name`` in COPY --from (an index counts)."""

    def mount_source(self, name: str, stage: int, location: nodes.SourceRange) -> Origin:
        """The same for RUN --mount=from, where ``context`` is the build context."""


class StageReader:
    """The state of one stage between two instructions."""

    def __init__(
        self,
        *,
        around: StageSurroundings,
        index: int,
        label: str,
        total: int,
        scope: StageScope,
        draft: ConfigDraft,
        step: StepId,
        platform: Platform,
        number: int,
        no_cache: bool,
    ) -> None:
        """``label`` is what stands before the step number: ``build `` or nothing.

        ``no_cache`` says that the steps of this stage are done anew.
        """
        self.around = around
        self.index = index
        self.label = label
        self.total = total
        self.scope = scope
        self.draft = draft
        self.step = step
        self.platform = platform
        self.number = number
        self.no_cache = no_cache
        self.lines: list[str] = []
        self.trigger = False

    def read(self, instructions: Sequence[nodes.Instruction], *, trigger: bool = False) -> None:
        """Take in instructions; ``trigger`` says that a base's ONBUILD brought them.

        Raises:
            PlanError: one of them cannot be built; carries its lines.
        """
        self.trigger = trigger
        for node in instructions:
            with self._blame(node.range):
                self.around.observer.reading(self.index, node, self.scope, self.draft)
                recorded = len(self.draft.history)
                self._dispatch(node)
                for entry in self.draft.history[recorded:]:
                    self.around.weigh(len(entry.created_by), node.range)
        self.draft.set_env(self.scope.env)

    def _dispatch(self, node: nodes.Instruction) -> None:
        match node:
            case nodes.Run():
                self._run(node)
            case nodes.Copy() | nodes.Add():
                self._copy(node)
            case nodes.Workdir():
                self._workdir(node)
            case nodes.Arg():
                self._arg(node)
            case nodes.Env():
                self._env(node)
            case nodes.From():
                raise PlanError("FROM starts a stage", source=self.around.source(node.range))
            case _:
                self._metadata(node)
                self.lines.append(self._display(node))

    def _metadata(self, node: nodes.Instruction) -> None:
        draft = self.draft
        match node:
            case nodes.Label():
                self._label(node)
            case nodes.Cmd():
                draft.set_command(node.command)
            case nodes.Entrypoint():
                draft.set_entrypoint(node.command)
            case nodes.Shell():
                draft.set_shell(node.args)
            case nodes.User():
                draft.set_user(self._expand(node.user))
            case nodes.Expose():
                words = [part for port in sorted(node.ports) for part in self._split(port)]
                draft.expose(words)
            case nodes.Volume():
                draft.add_volumes([self._expand(path) for path in node.paths])
            case nodes.Stopsignal():
                draft.set_stop_signal(self._expand(node.signal))
            case nodes.Maintainer():
                draft.set_maintainer(node.name)
            case nodes.Healthcheck():
                draft.set_healthcheck(node)
            case nodes.Onbuild():
                draft.add_trigger(node.trigger)

    def _arg(self, node: nodes.Arg) -> None:
        shown = []
        for pair in node.args:
            name = self._expand(pair.key)
            default = None if pair.value is None else self._expand(pair.value)
            value = self.scope.declare(name, default)
            shown.append(name if value is None else f"{name}={value}")
        self.draft.record("ARG " + " ".join(shown))
        self.lines.append(self._display(node))

    def _env(self, node: nodes.Env) -> None:
        pairs = self._pairs(node.pairs, self.scope.visible)
        for name, value in pairs:
            if not name:
                raise ConfigError("ENV names can not be blank")
            self.scope.set_env(name, value)
        self.draft.record("ENV " + " ".join(f"{name}={value}" for name, value in pairs))
        self.lines.append(self._display(node))

    def _label(self, node: nodes.Label) -> None:
        pairs = self._pairs(node.pairs, self.scope.visible)
        self.draft.set_labels(dict(pairs))
        self.draft.record("LABEL " + " ".join(f"{name}={value}" for name, value in pairs))

    def _run(self, node: nodes.Run) -> None:
        words, scripts, summary = self._command(node.command)
        command = " ".join(words)
        options = self.around.options
        scope = self.scope
        if options.precise_args:
            bodies = (script.content.decode("utf-8", "replace") for script in scripts)
            scope = scope.seen_in("\n".join((node.original, command, *bodies)))
        self.around.weigh(scope.weight, node.range)
        prefix = scope.history_prefix()
        network = node.network if node.network not in (None, "default") else options.network
        op = Run(
            args=words,
            env=tuple(f"{name}={value}" for name, value in scope.visible.items()),
            cwd=self.draft.workdir,
            user=self.draft.user,
            platform=self.platform,
            command=command,
            mounts=self._mounts(node),
            scripts=scripts,
            network=network or "default",
            security=node.security or "sandbox",
            devices=node.devices,
            hostname=options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or HOSTNAME,
            extra_hosts=options.extra_hosts,
            resources=options.resources,
            proxy_env=proxy_environment(options.build_args),
        )
        self._layer(node, op, f"RUN {prefix}{command}{COMMENT_SUFFIX}", summary)

    def _command(
        self, command: nodes.Command
    ) -> tuple[tuple[str, ...], tuple[InlineFile, ...], str]:
        """The words to run, scripts to provide, and a summary of a lone here-document."""
        if isinstance(command, nodes.ExecForm):
            return command.args, (), ""
        shell = self.draft.shell
        if not command.heredocs:
            return (*shell, command.text), (), ""
        first = command.heredocs[0]
        lone = len(command.heredocs) == 1 and _HEREDOC_WORD.match(command.text.strip())
        if not lone or first.file_descriptor:
            bodies = "".join(f"\n{doc.content}{doc.name}" for doc in command.heredocs)
            return (*shell, command.text + bodies), (), ""
        content = body(first)
        if content.startswith("#!"):
            script = InlineFile(file_name(first), content.encode("utf-8", "surrogateescape"))
            return (*shell, f"/dev/pipes/{first.name}"), (script,), summary_of(content)
        return (*shell, content), (), summary_of(content)

    def _mounts(self, node: nodes.Run) -> tuple[MountSpec, ...]:
        mounts: list[MountSpec] = []
        around = MountSurroundings(
            workdir=self.draft.workdir,
            expand=self._expand,
            origin=lambda name: self.around.mount_source(name, self.index, node.range),
            cache_namespace=self.around.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
        )
        for mount in node.mounts:
            agents = sum(isinstance(other, SshSpec) for other in mounts)
            mounts.append(plan_mount(mount, around, ssh_index=agents))
        return tuple(mounts)

    def _copy(self, node: nodes.Copy | nodes.Add) -> None:
        add = isinstance(node, nodes.Add)
        sources = tuple(self._expand(source) for source in node.sources)
        destination = self._expand(node.destination)
        chown = None if node.chown is None else self._expand(node.chown)
        chmod = None if node.chmod is None else self._expand(node.chmod)
        _check_chmod(chmod)
        from_ = None
        if isinstance(node, nodes.Copy):
            _check_copy_sources(sources)
            if node.from_ is not None:
                name = self._expand(node.from_)
                from_ = self.around.copy_source(name, self.index, node.range)
        op = Copy(
            sources=sources,
            destination=destination,
            workdir=self.draft.workdir,
            heredocs=tuple(self._inline(doc) for doc in node.heredocs),
            chown=chown,
            chmod=chmod,
            link=node.link,
            parents=node.parents,
            exclude=node.exclude,
            from_=from_,
            archives=add,
            unpack=node.unpack if isinstance(node, nodes.Add) else None,
            checksum=self._checksum(node, sources) if isinstance(node, nodes.Add) else None,
            keep_git_dir=bool(isinstance(node, nodes.Add) and node.keep_git_dir),
        )
        flags = [
            *(["--parents"] if node.parents else []),
            *([f"--chown={chown}"] if chown is not None else []),
            *([f"--chmod={chmod}"] if chmod is not None else []),
        ]
        inline = [f"<<{doc.name}" for doc in node.heredocs]
        shown = [public_url(source) for source in sources]
        words = ["ADD" if add else "COPY", *flags, *shown, *inline, destination]
        self._layer(node, op, " ".join(words) + COMMENT_SUFFIX)

    def _checksum(self, node: nodes.Add, sources: Sequence[str]) -> str | None:
        if node.checksum is None:
            return None
        if len(sources) != 1 or node.heredocs:
            raise ConfigError("checksum can't be specified for multiple sources")
        if not (is_url(sources[0]) or is_git(sources[0])):
            raise ConfigError("checksum requires HTTP(S) or Git sources")
        return self._expand(node.checksum)

    def _inline(self, doc: nodes.Heredoc) -> InlineFile:
        content = body(doc)
        if doc.expand:
            content = expand_heredoc(content, self.scope.visible)
        return InlineFile(file_name(doc), content.encode("utf-8", "surrogateescape"))

    def _workdir(self, node: nodes.Workdir) -> None:
        path = paths.workdir(self.draft.workdir, self._expand(node.path))
        self.draft.config["WorkingDir"] = path
        created_by = f"WORKDIR {path}"
        if path == "/":
            self.number += 1
            self.draft.record(created_by)
            self.lines.append(self._display(node))
            return
        self._layer(node, Workdir(path, self.draft.user), created_by)

    def _layer(self, node: nodes.Instruction, op: Op, created_by: str, summary: str = "") -> None:
        self.number += 1
        self.draft.layers += 1
        if self.draft.layers > LAYER_LIMIT:
            raise ConfigError(f"an image of more than {LAYER_LIMIT} layers cannot be built")
        shown = self._display(node) + (f" ({summary})" if summary else "")
        label = step_label(self.label, self.platform, self.around.options, self.scope.visible)
        name = f"[{label}{self.number}/{self.total}] {shown}"
        self.step = self.around.add_step(
            op,
            self.step,
            name,
            source=self.around.source(node.range),
            created_by=created_by,
            no_cache=self.no_cache,
        )
        self.draft.record(created_by, self.step)
        self.lines.append(name)

    def _pairs(
        self, pairs: Sequence[nodes.KeyValue], values: Mapping[str, str]
    ) -> list[tuple[str, str]]:
        escape = self.around.escape
        return [
            (
                expand(pair.key, values, escape=escape),
                expand(pair.value or "", values, escape=escape),
            )
            for pair in pairs
        ]

    def _expand(self, word: str) -> str:
        return expand(word, self.scope.visible, escape=self.around.escape)

    def _split(self, word: str) -> list[str]:
        return expand_words(word, self.scope.visible, escape=self.around.escape)

    def _display(self, node: nodes.Instruction) -> str:
        """The instruction on one line, with the values of the variables that are set."""
        first = node.original.partition("\n")[0].strip()
        keyword, space, rest = first.partition(" ")
        if isinstance(node, nodes.Run | nodes.Onbuild):
            rest = _show_values(rest, self.scope.visible)
        elif not isinstance(node, nodes.Env | nodes.Arg):
            with suppress(SyntaxFault):
                rest = self._expand(rest)
        if isinstance(node, nodes.Add):
            rest = public_url(rest)
        shown = f"{keyword.upper()}{space}{rest}"
        return f"ONBUILD {shown}" if self.trigger else shown

    @contextmanager
    def _blame(self, location: nodes.SourceRange) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            raise PlanError(str(error), source=self.around.source(location)) from error
        except SyntaxFault as error:
            raise PlanError(
                error.what, source=self.around.source(location), fix=error.fix
            ) from error


def _show_values(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return values.get(name, match[0]) if name else match[0]

    return _VARIABLE.sub(value, text)


def _check_chmod(chmod: str | None) -> None:
    if chmod is None or _OCTAL.match(chmod) or (chmod and _SYMBOLIC.match(chmod)):
        return
    raise ConfigError(
        f"invalid chmod parameter: '{chmod}'. it should be octal string and between 0 and 07777"
    )


def _check_copy_sources(sources: Sequence[str]) -> None:
    for source in sources:
        if is_git(source):
            raise ConfigError("source can't be a git ref for COPY")
        if is_url(source):
            raise ConfigError("source can't be a URL for COPY")
