"""Targets of a bake as orders: each becomes the line of flags that ``lading build`` would get.

So an attribute means what its flag means, is read by the flag's own parser, and one that has no
flag is refused rather than ignored.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from engine.bake.entitlements import DELETE, dockerfile_path, local_path
from engine.bake.entries import Output
from engine.bake.errors import BakeError, BakeValueError
from images.errors import ImagesError
from lading.actions.build_order import make_order
from lading.flags.build import BUILD
from lading.parse import parse
from records import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.bake.entries import Entry
    from engine.bake.model import Target
    from engine.builds.order import BuildOrder

_OF_THE_COMMAND = (
    "plan", "explain", "on_error", "check", "call", "quiet", "progress", "summary", "report",
    "iidfile", "metadata_file", "lock", "locked", "insecure_registry", "policy", "verify_key",
    "disable_content_trust", "builder", "context_report",
)  # fmt: skip
"""Flags of a build that say nothing about the order."""
_PUSHED: Final = Output("image", options={"push": "true"})


def order_of(target: Target) -> BuildOrder:
    """The order for a target.

    Raises:
        ImagesError: an attribute's value is malformed; ``where`` names the target.
    """
    try:
        return _order(target)
    except ImagesError as error:
        note = f"in the target {target.name}"
        error.add_note(f"{note} ({target.place.where})" if target.place else note)
        raise


def _order(target: Target) -> BuildOrder:
    _refuse_what_has_no_flag(target)
    context = target.context or "."
    local = local_path(context)
    words = [*_words(target), "--", local if local is not None else context]
    values = parse(BUILD, words)
    if values is None:
        unknown = _unknown(words)
        raise BakeValueError(f"{unknown or 'an attribute'} is not supported")
    order = make_order(**{key: one for key, one in values.items() if key not in _OF_THE_COMMAND})
    order = replace(order, policy=_policy(target))
    if not target.ssh and order.request.ssh:
        # A definition gets an agent by saying so, and by the leave that this takes.
        order = replace(order, request=replace(order.request, ssh={}))
    if target.dockerfile_inline is not None:
        request = replace(
            order.request,
            dockerfile=target.dockerfile_inline.encode(),
            dockerfile_name=f"Dockerfile of {target.name}",
        )
        order = replace(order, request=request)
    return (
        replace(order, request=replace(order.request, register=False)) if target.linked else order
    )


def _unknown(words: list[str]) -> str:
    """The first flag that ``lading build`` does not have."""
    names = {name for flag in BUILD.flags for name in flag.names.split()}
    heads = (word.partition("=")[0] for word in words[: words.index("--")])
    return next((head for head in heads if head.startswith("--") and head not in names), "")


def _refuse_what_has_no_flag(target: Target) -> None:
    """What would have to be ignored."""
    if target.context == "-" or target.dockerfile == "-":
        raise BakeError("a target reads nothing from standard input", fix="name a file")
    if target.dockerfile_inline is not None and target.dockerfile not in (None, "Dockerfile"):
        raise BakeError(
            f"{target.dockerfile} and an inline Dockerfile exclude one another",
            fix="say dockerfile or dockerfile-inline",
        )


def _policy(target: Target) -> str:
    """The file of rules that a target's ``policy`` names; an item that is disabled counts for none.

    Raises:
        BakeError: rules in another language, several files, or what no policy of ours does.
    """
    wanted = [policy for policy in target.policy or () if not policy.disabled]
    for policy in wanted:
        said = dict(policy.options)
        known = said.keys() <= {"filename", "reset", "disabled", "strict", "log-level"}
        if not policy.file or policy.file.endswith(".rego") or not known:
            raise BakeError(
                f"policy {policy.file or sorted(said)} is not in a language known here",
                fix="name a policy of lading, TOML or JSON (docs/trust.md)",
            )
        if said.get("strict", "true") != "true":
            raise BakeError("a policy that is not strict is none", fix="leave strict out")
    if len(wanted) > 1:
        raise BakeError("a target has one policy", fix="put the rules into one file")
    return wanted[0].file if wanted else ""


def _words(target: Target) -> list[str]:
    words = list(_texts(target))
    if target.no_cache:
        words.append("--no-cache")
    if target.pull:
        words.append("--pull")
    return words


def _texts(target: Target) -> Iterator[str]:
    """Flags with their values, as one word each."""
    for flag, values in (
        ("--tag", target.tags),
        ("--annotation", target.annotations),
        ("--platform", target.platforms),
        ("--no-cache-filter", target.no_cache_filter),
        ("--ulimit", target.ulimits),
        ("--allow", [one for one in target.entitlements or () if one != DELETE]),
    ):
        yield from (f"{flag}={value}" for value in values or ())
    for flag, pairs in (
        ("--build-arg", target.args),
        ("--label", target.labels),
        ("--build-context", _named(target)),
    ):
        yield from (f"{flag}={k}={v}" for k, v in (pairs or {}).items() if v is not None)
    yield from _entries(target)
    yield from _singles(target)
    for name, addresses in (target.extra_hosts or {}).items():
        yield from (f"--add-host={name}:{one}" for one in (addresses or "").split(",") if one)
    for name, value in (target.resources or {}).items():
        yield f"--{name}={value}"


def _entries(target: Target) -> Iterator[str]:
    for flag, entries in (
        ("--cache-from", target.cache_from),
        ("--cache-to", target.cache_to),
        ("--secret", target.secret),
        ("--ssh", target.ssh),
        ("--output", target.output),
        ("--attest", target.attest),
    ):
        entries = entries or ()
        # A result that is only a context of others goes nowhere.
        if not (flag == "--output" and target.linked):
            yield from (f"{flag}={_text(entry)}" for entry in entries)


def _text(entry: Entry) -> str:
    """As after its flag; what ``--push`` adds in buildx' words means type=registry here too."""
    return "type=registry" if entry == _PUSHED else entry.text()


def _singles(target: Target) -> Iterator[str]:
    file = _dockerfile(target)
    for flag, value in (
        ("--file", file),
        ("--target", target.target),
        ("--network", target.network),
        ("--shm-size", target.shm_size),
    ):
        if value:
            yield f"{flag}={value}"


def _dockerfile(target: Target) -> str | None:
    """The path for ``-f``: below a local context, as it is in one from elsewhere."""
    if target.dockerfile_inline is not None:
        return None
    path = dockerfile_path(target)
    if path is None:
        return target.dockerfile
    # With a context from elsewhere only an absolute path is one of this machine.
    return path if local_path(target.context or ".") is not None else os.path.abspath(path)


def _named(target: Target) -> dict[str, Any]:
    return {
        name: value.removeprefix("cwd://") if value.startswith("cwd://") else value
        for name, value in (target.contexts or {}).items()
    }
