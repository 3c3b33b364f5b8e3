"""Which images are accepted: rules by scope, looked up without touching disk.

The most specific scope decides alone; scopes do not add up. All requirements of the deciding scope
must hold. A policy may import others: its own scopes come first, then those of each import in
order, then its own default, then the first default of an import.

Three syntaxes are read: lading's own in files called ``*.toml`` (``trust.policy_toml``),
containers' policy.json (``trust.policy_json``) and notation's trustpolicy.json
(``trust.notation.policy``). Not here: finding and reading files (``trust.policyfile``); judging
signatures (``trust.verify``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from images.reference import Reference
from records import Record, field
from trust.errors import PolicyFileError
from trust.fields import FieldError, parse
from trust.policy_json import read_document
from trust.requirements import (
    AcceptAnything,
    NotarySigned,
    NotationSigned,
    OpenPgpSigned,
    Reject,
    Requirement,
    SigstoreSigned,
    Unsupported,
)

if TYPE_CHECKING:
    from trust.notation.policy import TrustPolicy
    from trust.urls import UrlRule

MAX_POLICY: Final = 4 << 20
"""Bytes of a policy file."""


class Decision(Record):
    """Which part of which policy decides about an image.

    ``scope`` is None for the default; ``name`` is the rule's, where rules have names.
    """

    reference: Reference
    source: str
    scope: str | None
    requirements: tuple[Requirement, ...]
    name: str = ""

    @property
    def accepts_anything(self) -> bool:
        """Whether nothing at all is asked for."""
        asked = self.requirements
        return bool(asked) and all(isinstance(item, AcceptAnything) for item in asked)

    @property
    def needs_signatures(self) -> bool:
        """Whether the verdict depends on signatures, so that they are worth fetching."""
        hopeless = any(isinstance(item, (Reject, Unsupported)) for item in self.requirements)
        needed = (self.needs_keys, self.needs_notation, self.needs_openpgp, self.needs_notary)
        return not hopeless and any(needed)

    @property
    def needs_keys(self) -> bool:
        """Whether signatures by keys (cosign's formats) are asked for."""
        return any(isinstance(item, SigstoreSigned) for item in self.requirements)

    @property
    def needs_notation(self) -> bool:
        """Whether Notary Project signatures are asked for."""
        return any(
            isinstance(item, NotationSigned) and not item.statement.skips
            for item in self.requirements
        )

    @property
    def needs_openpgp(self) -> bool:
        """Whether simple signing's signatures are asked for."""
        return any(isinstance(item, OpenPgpSigned) for item in self.requirements)

    @property
    def needs_notary(self) -> bool:
        """Whether trust data as docker uses it is asked for."""
        return any(isinstance(item, NotarySigned) for item in self.requirements)

    @property
    def rule(self) -> str:
        """The deciding place: ``/etc/containers/policy.json: transports.docker["quay.io"]``."""
        if self.name:
            return f'{self.source}: rule "{self.name}"'
        if self.scope is None:
            return f"{self.source}: default"
        return f'{self.source}: transports.docker["{self.scope}"]'

    def explain(self) -> str:
        """Which rule decides and what it wants, one line each."""
        why = (
            "no scope covers this name"
            if self.scope is None
            else f"{self.scope!r} is the most specific scope that covers this name"
        )
        wants = (f"  requires: {requirement.sentence}" for requirement in self.requirements)
        return "\n".join((str(self.reference), f"  decided by {self.rule} ({why})", *wants))


class Decider(Protocol):
    """What can be imported: it decides about some names and may have a default."""

    def scoped(self, reference: Reference) -> Decision | None:
        """The decision of a scope that covers ``reference``; None: no scope does."""

    def fallback(self, reference: Reference) -> Decision | None:
        """The decision of the default; None: there is none."""


class Scoped(Record):
    """The requirements of one scope, and the name of the rule that set them."""

    requirements: tuple[Requirement, ...]
    name: str = ""


class Policy(Record):
    """A policy file, parsed. ``source`` is how messages name it."""

    default: tuple[Requirement, ...] | None
    scopes: Mapping[str, Scoped] = field(default_factory=dict, hash=False)
    source: str = "policy"
    imports: tuple[Decider, ...] = field(default=(), hash=False)
    urls: Mapping[str, UrlRule] = field(default_factory=dict, hash=False)
    """Rules about files from web servers (``trust.urls``)."""

    @classmethod
    def parse(
        cls,
        data: bytes,
        *,
        source: str = "policy.json",
        folder: str = "/",
        imported: Callable[[str], Decider] | None = None,
    ) -> Policy:
        """Read a policy file's bytes: lading's own if ``source`` ends in .toml, else containers'.

        ``folder`` is where relative paths in it start; ``imported`` reads the files it imports.

        Raises:
            PolicyFileError: anything in it is unknown, missing, doubled or of the wrong type.
        """
        try:
            if not source.endswith(".toml"):
                default, docker = read_document(parse(data, what="the policy", limit=MAX_POLICY))
                scopes = {scope: Scoped(requirements) for scope, requirements in docker.items()}
                return cls(default, scopes, source)
            if len(data) > MAX_POLICY:
                raise FieldError(f"the policy is longer than {MAX_POLICY} bytes")
            # TOML and X.509 names are loaded by those whose policy is written so.
            from trust.policy_toml import read_rules

            file = read_rules(data, folder=folder)
        except FieldError as error:
            raise PolicyFileError(
                str(error),
                where=source,
                fix="correct the file; docs/trust.md has the syntax, and so has "
                "`man containers-policy.json` for the JSON form",
            ) from error
        if file.imports and imported is None:
            raise PolicyFileError("an imported policy may not import others", where=source)
        return cls(
            file.default,
            {scope: Scoped(rule.requirements, rule.name) for scope, rule in file.rules.items()},
            source,
            tuple(imported(path) for path in file.imports) if imported else (),
            file.urls,
        )

    @classmethod
    def accept_anything(cls) -> Policy:
        """What holds when there is no policy file: as with docker, signatures are not looked at."""
        return cls((AcceptAnything(),), source="no policy file")

    def decide(self, reference: Reference) -> Decision:
        """Find the requirements for ``reference``, the name as the user gave it."""
        for decider in (self, *self.imports):
            if (decision := decider.scoped(reference)) is not None:
                return decision
        for decider in (self, *self.imports):
            if (decision := decider.fallback(reference)) is not None:
                return decision
        # An import need not have a default; then what nobody speaks of is refused.
        return Decision(reference, self.source, None, (Reject(),))

    def scoped(self, reference: Reference) -> Decision | None:
        """See ``Decider``."""
        for scope in scopes_of(reference):
            if (found := self.scopes.get(scope)) is not None:
                return Decision(reference, self.source, scope, found.requirements, found.name)
        return None

    def fallback(self, reference: Reference) -> Decision | None:
        """See ``Decider``."""
        if self.default is None:
            return None
        return Decision(reference, self.source, None, self.default)

    def explain(self, reference: Reference) -> str:
        """Which rule decides about ``reference`` and what it wants, in words."""
        return self.decide(reference).explain()


class NotationPolicy(Record):
    """notation's trust policy as an import; ``config`` is the folder with its trust stores."""

    policy: TrustPolicy
    config: str

    def scoped(self, reference: Reference) -> Decision | None:
        """See ``Decider``; the scope ``*`` is the default."""
        return self._decide(reference, default=False)

    def fallback(self, reference: Reference) -> Decision | None:
        """See ``Decider``."""
        return self._decide(reference, default=True)

    def _decide(self, reference: Reference, *, default: bool) -> Decision | None:
        statement = self.policy.decide(reference)
        if statement is None or ("*" in statement.scopes) != default:
            return None
        scope = None if default else reference.name
        wanted = NotationSigned(statement, self.config)
        return Decision(reference, self.policy.source, scope, (wanted,), statement.name)


def is_notation_policy(data: bytes) -> bool:
    """Whether the bytes are meant as notation's trust policy rather than containers'."""
    try:
        document: dict[str, Any] = parse(data, what="the policy", limit=MAX_POLICY)
    except FieldError:
        return False
    return "trustPolicies" in document


def scopes_of(reference: Reference) -> Iterator[str]:
    """The scopes that cover ``reference``, most specific first.

    repo@digest, repo:tag, the repository and each namespace above it down to the host, ``*.``
    wildcards of the host without its port, and the empty scope that stands for the whole transport.
    """
    if reference.digest is not None:
        yield f"{reference.name}@{reference.digest}"
    if reference.tag is not None:
        yield f"{reference.name}:{reference.tag}"
    name = reference.name
    while name:
        yield name
        name = name.rpartition("/")[0]
    host = reference.registry.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""
