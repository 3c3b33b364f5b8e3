"""The gate in front of manifests: who is let through, and verdicts that are remembered.

A verdict holds for one generation of its repository, so a signature that comes or goes, or a tag
that moves, is felt by the next request. Where time itself can change a verdict it holds for a
minute at most. Used from the event loop; judging happens in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from images.digest import Digest
from registry.access.identity import Identity
from registry.answers import ReadyContent
from registry.cache import AnswerCache
from registry.errors import GateError
from registry.gate.settings import GateRule
from registry.index import SqlIndex
from registry.protocols import Authorizer, BlobReader
from registry.rules import repository_matcher
from registry.workers import Workers
from trust.errors import TrustError

if TYPE_CHECKING:
    from registry.gate.judge import Judge

MINUTE: Final = 60.0
_VERDICT_BYTES: Final = 4 << 20
_REPOSITORIES: Final = 8192


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said, and until when it may be repeated; no ``refusal`` lets pass."""

    refusal: GateError | None
    until: float


class Gate:
    """The gate of one registry, under one configuration; making it reads files, and blocks.

    Raises:
        RegistryConfigError: a policy or a key of it is unusable.
    """

    def __init__(
        self,
        rules: Iterable[GateRule],
        index: SqlIndex,
        storage: BlobReader,
        authorizer: Authorizer,
        workers: Workers,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._storage = storage
        self._judges = [
            (repository_matcher(rule.repositories), _judge_of(rule, index, storage))
            for rule in rules
        ]
        self._verdicts: AnswerCache[Verdict] = AnswerCache(index.generations, limit=_VERDICT_BYTES)
        self._authorizer = authorizer
        self._workers = workers
        self._clock = clock
        self.judge = lru_cache(_REPOSITORIES)(self._find)
        """The judge of a repository; None where there is no gate."""

    def reconfigured(self, rules: Iterable[GateRule]) -> Gate:
        """The same store under other rules, whose policies are read anew; raises as making one."""
        return Gate(
            rules, self._index, self._storage, self._authorizer, self._workers, clock=self._clock
        )

    async def check(
        self, repository: str, reference: str, content: ReadyContent, identity: Identity
    ) -> None:
        """Return if ``content``, found under a tag or digest, may be served to ``identity``.

        Raises:
            GateError: the rule does not let it pass.
        """
        judge = self.judge(repository)
        if judge is None or (judge.rule.exempt_push and self._may_push(identity, repository)):
            return
        verdict = await self._verdict(judge, repository, reference, content)
        if verdict.refusal is not None:
            refusal = verdict.refusal
            raise GateError(refusal.what, fix=refusal.fix, login_helps=refusal.login_helps)

    async def verdict(
        self, repository: str, reference: str, content: ReadyContent
    ) -> Verdict | None:
        """What the rule says of ``content``, whoever asks; None where there is no rule."""
        judge = self.judge(repository)
        return None if judge is None else await self._verdict(judge, repository, reference, content)

    async def _verdict(
        self, judge: Judge, repository: str, reference: str, content: ReadyContent
    ) -> Verdict:
        tag = None if ":" in reference else reference
        name = f"{tag or ''}@{content.etag}"
        verdict = self._verdicts.get(repository, name)
        if verdict is None or verdict.until <= self._clock():
            generation = self._verdicts.generation(repository)
            verdict = await self._workers.io(partial(self._judged, judge, repository, tag, content))
            self._verdicts.put(repository, name, verdict, generation=generation, size=len(name))
        return verdict

    def _judged(
        self, judge: Judge, repository: str, tag: str | None, content: ReadyContent
    ) -> Verdict:
        from registry.gate.judge import Wanted

        now = self._clock()
        until = now + MINUTE if judge.depends_on_time else float("inf")
        media_type = content.headers["Content-Type"]
        wanted = Wanted(tag, Digest.parse(content.etag), media_type, content.body)
        try:
            judge.check(repository, wanted, now=datetime.fromtimestamp(now, UTC))
        except TrustError as error:
            what = f"the gate of {judge.rule.repositories} does not serve this: {error.what}"
            return Verdict(
                GateError(what, fix=error.fix, login_helps=judge.rule.exempt_push), until
            )
        return Verdict(None, until)

    def _may_push(self, identity: Identity, repository: str) -> bool:
        # Without users everybody may push, and such a right says nothing about anybody.
        rights = self._authorizer.rights(identity)
        return rights is not None and rights.decide("push", repository).allowed

    def _find(self, repository: str) -> Judge | None:
        return next((judge for fits, judge in self._judges if fits(repository)), None)


def _judge_of(rule: GateRule, index: SqlIndex, storage: BlobReader) -> Judge:
    # Keys and certificates are loaded by registries that have a gate.
    from registry.gate.judge import Judge
    from registry.gate.policies import load

    assert rule.policy is not None, "no rule is made without one"
    return Judge(rule, load(rule.policy), index, storage)
