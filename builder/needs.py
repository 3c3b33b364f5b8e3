"""What a plan needs from outside: contexts, servers to ask again, leave to leave its sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from builder.errors import BuildInputError, PlanError
from builder.plan.ops import BindSpec, CacheSpec, Copy, Run, SourceImage
from builder.plan.sources import is_git, is_url
from builder.request import Material

if TYPE_CHECKING:
    from builder.errors import Source
    from builder.inputs import BuildInputs
    from builder.plan.model import Plan
    from builder.plan.ops import ContextKey, Op
    from builder.request import BuildRequest


def contexts_read(plan: Plan, inputs: BuildInputs) -> tuple[ContextKey | None, ...]:
    """The contexts that steps of the target read; None is the build context.

    Raises:
        BuildInputError: one of them is the build context, and there is none.
    """
    found = dict.fromkeys(key for op in _needed(plan) for key in _reads(op))
    if None in found and inputs.context is None:
        raise BuildInputError(
            "the Dockerfile reads files, but there is no build context",
            fix="give a context directory",
        )
    return tuple(found)


def revalidates(plan: Plan) -> bool:
    """Whether a step has to ask a server on every build: ADD of a URL without a checksum, or of a
    repository without a commit.
    """
    added = (op for op in _needed(plan) if isinstance(op, Copy) and op.archives)
    return any(_moves(source, op.checksum) for op in added for source in op.sources)


def check_entitlements(plan: Plan, request: BuildRequest) -> tuple[str, ...]:
    """Refuse commands that leave their sandbox, unless whoever builds has allowed it; returns what
    was allowed and is used.

    Raises:
        PlanError: a step asks for what was not allowed; carries its lines.
    """
    allowed = {*request.allow, *(("network.host",) if request.network == "host" else ())}
    used: dict[str, None] = {}
    for index in plan.closure(plan.result):
        step = plan.steps[index]
        if not isinstance(step.op, Run):
            continue
        for name in _entitlements(step.op, step.source):
            if name not in allowed and name.partition("=")[0] not in allowed:
                raise PlanError(
                    f"{name} is not allowed", source=step.source, fix=f"build with --allow {name}"
                )
            used[name] = None
    return tuple(used)


def materials(
    plan: Plan, request: BuildRequest, inputs: BuildInputs, fetched: Iterable[Material]
) -> tuple[Material, ...]:
    """What the target is made from: images, contexts, and what ADD ``fetched``."""
    images = (op for op in _needed(plan) if isinstance(op, SourceImage))
    found = [
        Material(
            "image",
            op.reference.familiar,
            str(op.base.descriptor.digest),
            platform=str(op.platform),
            name=_name_of(op, request),
        )
        for op in images
    ]
    origins = {key: getattr(context, "origin", "") for key, context in request.contexts.items()}
    for key in contexts_read(plan, inputs):
        if not (request.origin if key is None else origins[key]):
            path = inputs.context if key is None else inputs.named[key].path
            found.append(Material("local", path or "", name=key or "context"))
    return tuple(dict.fromkeys((*request.materials, *found, *fetched)))


def _moves(source: str, checksum: str | None) -> bool:
    """Whether another build may find something else there."""
    if not is_git(source):
        return is_url(source) and not checksum
    from builder.sources.git_url import is_commit, parse_git_url

    url = parse_git_url(source)
    return url is None or not (url.pin or is_commit(checksum or ""))


def _name_of(op: SourceImage, request: BuildRequest) -> str:
    """The named context that an image came as."""
    named = request.contexts.items()
    return next((key for key, it in named if getattr(it, "reference", None) == op.reference), "")


def _needed(plan: Plan) -> Iterator[Op]:
    return (plan.steps[index].op for index in plan.closure(plan.result))


def _reads(op: Op) -> Iterator[ContextKey | None]:
    match op:
        case Copy(from_=str() as key):
            yield key
        case Copy(from_=None, sources=sources, archives=add):
            if any(not (add and (is_url(name) or is_git(name))) for name in sources):
                yield None
        case Run(mounts=mounts):
            for mount in mounts:
                if isinstance(mount, BindSpec | CacheSpec) and isinstance(mount.from_, str):
                    yield mount.from_
                elif isinstance(mount, BindSpec) and mount.from_ is None:
                    yield None


def _entitlements(op: Run, source: Source | None) -> Iterator[str]:
    if op.devices:
        from builder.plan.devices import parse_device

        yield from (parse_device(text, source).entitlement for text in op.devices)
    if op.network == "host":
        yield "network.host"
    if op.security == "insecure":
        yield "security.insecure"
