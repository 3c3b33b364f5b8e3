"""What stands before the first FROM: global ARGs, the automatic platform arguments, the epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from builder.errors import PlanError, Source
from builder.plan.options import PlanOptions
from builder.plan.scope import platform_args
from dockerfile_grammar import nodes
from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.expand import expand
from images.errors import ImagesError
from images.platform import Platform


class GlobalScope:
    """The values that FROM sees, and that a bare ARG in a stage takes over.

    ``source`` gives the place of lines for messages.

    Raises:
        PlanError: an expression or SOURCE_DATE_EPOCH is malformed.
    """

    def __init__(
        self,
        dockerfile: nodes.Dockerfile,
        options: PlanOptions,
        target: nodes.Stage,
        source: Callable[[nodes.SourceRange], Source],
    ) -> None:
        self._escape = dockerfile.escape
        self._source = source
        build_args = options.build_args
        self.used: set[str] = set()
        self.known: dict[str, str] = {}
        """Those of ``values`` that have one."""
        self.values: dict[str, str | None] = dict(
            platform_args(options.build_platform, options.platform, target.name or "default")
        )
        self.values.update((name, build_args[name]) for name in self.values if name in build_args)
        self.known.update((name, text) for name, text in self.values.items() if text is not None)
        for node in dockerfile.global_args:
            for pair in node.args:
                self._declare(pair, node.range, build_args)
        self.epoch = self._read_epoch(options)

    def expand(self, word: str, location: nodes.SourceRange) -> str:
        """The value of a word of a FROM line.

        Raises:
            PlanError: the word is malformed; carries ``location``.
        """
        try:
            return expand(word, self.known, escape=self._escape)
        except ExpansionError as error:
            raise PlanError(error.what, source=self._source(location), fix=error.fix) from error

    def base_name(self, base: nodes.From) -> str:
        """What a FROM names.

        Raises:
            PlanError: nothing, or the word is malformed.
        """
        text = self.expand(base.image, base.range)
        if not text:
            raise PlanError(
                f"base name ({base.image}) should not be blank",
                source=self._source(base.range),
                fix="give the argument a default: ARG NAME=value before the first FROM",
            )
        return text

    def platform(self, base: nodes.From, default: Platform) -> Platform:
        """The platform of a stage, ``default`` where its FROM states none.

        Raises:
            PlanError: it states nothing that is a platform.
        """
        if base.platform is None:
            return default
        text = self.expand(base.platform, base.range)
        if not text:
            raise PlanError(
                f"empty platform value from expression {base.platform}",
                source=self._source(base.range),
            )
        try:
            return Platform.parse(text)
        except ImagesError as error:
            raise PlanError(error.what, source=self._source(base.range), fix=error.fix) from error

    def _declare(
        self, pair: nodes.KeyValue, location: nodes.SourceRange, build_args: Mapping[str, str]
    ) -> None:
        value = None if pair.value is None else self.expand(pair.value, location)
        if pair.key in build_args:
            self.used.add(pair.key)
            value = build_args[pair.key]
        if value is not None or pair.key not in self.values:
            self.values[pair.key] = value
        if value is not None:
            self.known[pair.key] = value

    def _read_epoch(self, options: PlanOptions) -> int | None:
        name = "SOURCE_DATE_EPOCH"
        text = options.build_args.get(name, self.values.get(name))
        if not text:
            return None
        if not (text.isascii() and text.isdigit()):
            raise PlanError(
                f"invalid SOURCE_DATE_EPOCH: {text}",
                where=options.filename,
                fix="give seconds since 1970, for instance from git log -1 --format=%ct",
            )
        return int(text)
