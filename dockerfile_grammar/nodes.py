"""The typed, frozen tree a Dockerfile parses into.

Words are kept unexpanded, exactly as written; ``expand`` gives them their values. Every node knows
the physical lines it came from. Dockerfile reference; BuildKit frontend 1.26 for what the reference
leaves open.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from records import Record, field


class SourceRange(Record):
    """First and last physical line, counted from 1; both inclusive."""

    start: int
    end: int

    def __lt__(self, other: SourceRange) -> bool:
        return (self.start, self.end) < (other.start, other.end)


class Heredoc(Record):
    """One here-document: ``name`` is the delimiter without quotes, ``content`` the body with its
    newlines.
    """

    name: str
    content: str
    expand: bool
    """False when any part of the delimiter was quoted."""
    chomp: bool
    """True for ``<<-``; ``content`` keeps the tabs, ``body`` is without them."""
    file_descriptor: int = 0

    @property
    def body(self) -> str:
        """The content as a file holds it: without leading tabs where ``<<-`` was written."""
        if not self.chomp:
            return self.content
        return "".join(line.lstrip("\t") for line in self.content.splitlines(keepends=True))

    @property
    def written(self) -> str:
        """The whole here-document as a shell reads it: ``content`` and the bare delimiter."""
        return f"{self.content}{self.name}"


class Node(Record):
    """What every instruction has: its range, its text with continuations joined, the comment block
    above it.
    """

    range: SourceRange
    original: str
    keyword: str
    """The keyword as written; compare upper-cased."""
    comments: tuple[str, ...] = field(default=(), kw_only=True)


class ShellForm(Record):
    """A command line for the shell, after the keyword and flags, continuations joined."""

    text: str
    heredocs: tuple[Heredoc, ...] = ()


class ExecForm(Record):
    """A JSON array of strings."""

    args: tuple[str, ...]


Command: TypeAlias = ShellForm | ExecForm


class KeyValue(Record):
    """``key=value`` as written; ``value`` is None where there was no ``=`` (ARG only)."""

    key: str
    value: str | None
    legacy: bool = False
    """True for the ``ENV key rest of the line`` form."""


class Mount(Record):
    """One ``RUN --mount``: options as written and in that order; bare keys map to None."""

    options: tuple[tuple[str, str | None], ...]


class From(Node):
    """FROM: a stage begins."""

    image: str
    platform: str | None = None
    alias: str | None = None
    """Stage name, lower-cased; ``alias_written`` is as typed."""
    alias_written: str | None = None
    as_keyword: str | None = None


class Arg(Node):
    """ARG: build arguments, with or without a default."""

    args: tuple[KeyValue, ...]


class Env(Node):
    """ENV: variables of the image."""

    pairs: tuple[KeyValue, ...]


class Label(Node):
    """LABEL: metadata of the image."""

    pairs: tuple[KeyValue, ...]


class Run(Node):
    """RUN: a command whose changes become a layer."""

    command: Command
    mounts: tuple[Mount, ...] = ()
    network: str | None = None
    security: str | None = None
    devices: tuple[str, ...] = ()


class Copy(Node):
    """COPY, and the flags that ADD shares with it. ``sources`` are paths; heredocs are sources of
    their own.
    """

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    from_: str | None = None


class Add(Node):
    """ADD: COPY that also fetches and unpacks."""

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str | None = None
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Cmd(Node):
    """CMD: what a container runs by default."""

    command: Command


class Entrypoint(Node):
    """ENTRYPOINT: what a container always runs."""

    command: Command


class Shell(Node):
    """SHELL: the interpreter of shell forms."""

    args: tuple[str, ...]


class Workdir(Node):
    """WORKDIR: the current directory, created where missing."""

    path: str


class User(Node):
    """USER: who runs what follows."""

    user: str


class Expose(Node):
    """EXPOSE: ports the image listens on."""

    ports: tuple[str, ...]


class Volume(Node):
    """VOLUME: directories kept outside the container."""

    paths: tuple[str, ...]


class Stopsignal(Node):
    """STOPSIGNAL: what stops a container."""

    signal: str


class Maintainer(Node):
    """MAINTAINER: the author, deprecated."""

    name: str


class Healthcheck(Node):
    """``command`` is None for HEALTHCHECK NONE. Durations in nanoseconds, 0 where not given."""

    command: Command | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Onbuild(Node):
    """ONBUILD: an instruction kept for the builds on top of this image."""

    trigger: str
    """The trigger's text with its heredoc bodies, as stored in the image config."""
    instruction: Instruction


Instruction: TypeAlias = (
    From
    | Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Cmd
    | Entrypoint
    | Shell
    | Workdir
    | User
    | Expose
    | Volume
    | Stopsignal
    | Maintainer
    | Healthcheck
    | Onbuild
)


class Directive(Record):
    """A parser directive: ``# name=value``."""

    name: Literal["syntax", "escape", "check"]
    value: str
    line: int


class Stage(Record):
    """A FROM and what follows it, up to the next FROM."""

    index: int
    base: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str | None:
        """The lower-cased name given by AS."""
        return self.base.alias


class ParseWarning(Record):
    """Something the parser saw that lint reports, under BuildKit's rule name."""

    rule: str
    message: str
    range: SourceRange


class Dockerfile(Record):
    """A parsed file: directives, global ARGs, stages, and what lint wants to know."""

    directives: tuple[Directive, ...]
    escape: str
    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    warnings: tuple[ParseWarning, ...] = ()
