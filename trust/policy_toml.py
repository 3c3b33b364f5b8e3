"""lading's own policy file: TOML that people read, with what policy.json cannot say.

    default = "reject"                        # or "accept"; may be left out if a file is imported
    import = ["/etc/containers/policy.json", "/etc/notation/trustpolicy.json"]

    [keys]
    release = "/etc/pki/release.pub"          # names for keys, paths relative to this file

    [[rule]]
    name = "our images"
    scopes = ["registry.example.com/team"]    # as in policy.json: repo:tag up to *.host
    require = "signed"                        # or "accept", "reject"
    keys = ["release", "other.pub"]
    threshold = 2                             # different keys; default 1
    formats = ["cosign", "bundle"]            # default: both
    identity = "repository"                   # exact, repository; default: exact, or by digest
    max-age = "90d"                           # s, m, h, d or w

    [[rule]]
    name = "theirs"
    scopes = ["registry.example.com/theirs"]
    require = "notation"
    level = "strict"
    stores = ["ca:acme"]
    identities = ["x509.subject: C=DE, ST=Hamburg, O=Acme"]
    config = "/etc/notation"                  # where truststore/ is; default: notation's own folder

    [[rule]]
    name = "files that ADD may fetch"
    scopes = ["https://example.com/pub/"]     # URLs: itself and what is below it
    require = "checksum"                      # or "accept", "reject"

    [[rule]]
    name = "as docker trusts them"
    scopes = ["registry.example.com/docker"]
    require = "notary"
    signers = ["alice"]                       # each of them must have signed; default: anybody
    server = "https://notary.example.com"     # default: as for docker
    root = "root.crt"                         # file or id of the only root key that counts

Read as strictly as policy.json: what is not understood refuses the whole file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trust.fields import FieldError, array, mapping, members, text
from trust.identity import (
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    SignedIdentity,
)
from trust.notation.policy import Statement, parse_statement
from trust.notation.store import config_folder
from trust.policy_json import MAX_KEYS, read_prefix
from trust.requirements import (
    ANY_FORMAT,
    AcceptAnything,
    NotarySigned,
    NotationSigned,
    Reject,
    Requirement,
    SignatureFormat,
    SigstoreSigned,
)
from trust.tuf.pinfile import is_id
from trust.tuf.roles import is_signer
from trust.urls import UrlRequirement, UrlRule, is_url, normal_url

MAX_RULES: Final = 4096
MAX_SCOPES: Final = 256

_AGE: Final = re.compile(r"([1-9][0-9]{0,6})([smhdw])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_IDENTITIES: Final[Mapping[str, SignedIdentity]] = {
    "exact": MatchExact(),
    "digest-or-exact": MatchRepoDigestOrExact(),
    "repository": MatchRepository(),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``[[rule]]``: its name and what it requires."""

    name: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A policy file of ours. ``imports`` are paths, not read yet; ``default`` may be missing."""

    default: tuple[Requirement, ...] | None
    rules: Mapping[str, Rule] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    urls: Mapping[str, UrlRule] = field(default_factory=dict)


def read_rules(data: bytes, *, folder: str) -> RuleFile:
    """Parse the bytes of a policy file; relative paths in it start at ``folder``.

    Raises:
        FieldError: not TOML, or anything in it is unknown, missing, doubled or of the wrong type.
    """
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FieldError(f"not TOML: {error}") from error
    top = members(document, optional=("default", "import", "keys", "rule"), at="the policy")
    keys = {
        name: _path(value, folder, at=f"keys.{name}")
        for name, value in mapping(top.get("keys", {}), at="keys").items()
    }
    imports = tuple(
        _path(item, folder, at="import")
        for item in array(top.get("import", []), at="import", most=16)
    )
    if "default" not in top and not imports:
        raise FieldError('the policy has neither a default ("accept" or "reject") nor an import')
    rules: dict[str, Rule] = {}
    urls: dict[str, UrlRule] = {}
    for index, item in enumerate(array(top.get("rule", []), at="rule", most=MAX_RULES), start=1):
        if _is_of_urls(item, at=f"rule {index}"):
            _add_urls(urls, item, at=f"rule {index}")
            continue
        scopes, rule = _rule(item, keys, folder, at=f"rule {index}")
        for scope in scopes:
            if scope in rules:
                raise FieldError(
                    f"rule {index} repeats the scope {scope!r} of {rules[scope].name!r}"
                )
            rules[scope] = rule
    default = (_simple(top["default"], at="default"),) if "default" in top else None
    return RuleFile(default, rules, imports, urls)


def _is_of_urls(value: object, *, at: str) -> bool:
    """Whether a rule is about files; one rule is about files or about images."""
    scopes = array(mapping(value, at=at).get("scopes"), at=f"{at}: scopes", most=MAX_SCOPES)
    kinds = {isinstance(scope, str) and is_url(scope) for scope in scopes}
    if len(kinds) > 1:
        raise FieldError(f"{at} mixes URLs and images; write two rules")
    return True in kinds


def _add_urls(urls: dict[str, UrlRule], value: object, *, at: str) -> None:
    found = members(value, required=("scopes", "require"), optional=("name",), at=at)
    name = text(found["name"], at=f"{at}: name") if "name" in found else at
    wanted = text(found["require"], at=f"{at}: require")
    if wanted not in set(UrlRequirement):
        raise FieldError(f"{at}: of URLs one can require {', '.join(UrlRequirement)}")
    for scope in _texts(found["scopes"], at=f"{at}: scopes", most=MAX_SCOPES):
        normal = normal_url(scope)
        if normal is None:
            raise FieldError(f"{at}: {scope!r} is no URL with a path, such as https://example.com/")
        if normal in urls:
            raise FieldError(f"{at} repeats the scope {scope!r} of {urls[normal].name!r}")
        urls[normal] = UrlRule(name, UrlRequirement(wanted))


def _rule(
    value: object, keys: Mapping[str, str], folder: str, *, at: str
) -> tuple[tuple[str, ...], Rule]:
    require = text(mapping(value, at=at).get("require"), at=f"{at}: require")
    common = ("scopes", "require")
    optional: tuple[str, ...] = ("name",)
    required: tuple[str, ...] = common
    if require == "signed":
        required += ("keys",)
        optional += ("threshold", "formats", "identity", "max-age")
    elif require == "notation":
        required += ("stores", "identities")
        optional += ("level", "override", "verify-timestamp", "config")
    elif require == "notary":
        optional += ("signers", "server", "root")
    found = members(value, required=required, optional=optional, at=at)
    scopes = _texts(found["scopes"], at=f"{at}: scopes", most=MAX_SCOPES)
    if not scopes:
        raise FieldError(f"{at} has no scopes")
    if require == "signed":
        requirement: Requirement = _signed(found, keys, folder, at=at)
    elif require == "notation":
        requirement = _notation(found, folder, at=at)
    elif require == "notary":
        requirement = _notary(found, folder, at=at)
    else:
        requirement = _simple(require, at=f"{at}: require")
    name = text(found["name"], at=f"{at}: name") if "name" in found else at
    return scopes, Rule(name, (requirement,))


def _simple(value: object, *, at: str) -> Requirement:
    if value == "accept":
        return AcceptAnything()
    if value == "reject":
        return Reject()
    raise FieldError(
        f"{at} is {str(value)[:40]!r} and not accept, reject, signed, notation or notary"
    )


def _signed(
    found: Mapping[str, Any], keys: Mapping[str, str], folder: str, *, at: str
) -> SigstoreSigned:
    names = _texts(found["keys"], at=f"{at}: keys", most=MAX_KEYS)
    if not names:
        raise FieldError(f"{at} names no key")
    threshold = found.get("threshold", 1)
    if not isinstance(threshold, int) or isinstance(threshold, bool):
        raise FieldError(f"{at}: threshold must be a number")
    if not 1 <= threshold <= len(names):
        raise FieldError(f"{at}: {threshold} of {len(names)} keys can never sign")
    return SigstoreSigned(
        key_paths=tuple(keys.get(name) or _path(name, folder, at=at) for name in names),
        key_data=(),
        identity=_identity(found.get("identity", "digest-or-exact"), at=f"{at}: identity"),
        threshold=threshold,
        formats=_formats(found.get("formats"), at=f"{at}: formats"),
        max_age=_age(found["max-age"], at=f"{at}: max-age") if "max-age" in found else None,
    )


def _notation(found: Mapping[str, Any], folder: str, *, at: str) -> NotationSigned:
    verification: dict[str, Any] = {"level": found.get("level", "strict")}
    if "override" in found:
        verification["override"] = found["override"]
    if "verify-timestamp" in found:
        verification["verifyTimestamp"] = found["verify-timestamp"]
    statement: Statement = parse_statement(
        {
            "name": at,
            "registryScopes": ["*"],
            "signatureVerification": verification,
            "trustStores": found["stores"],
            "trustedIdentities": found["identities"],
        },
        at=at,
    )
    config = found.get("config")
    place = str(config_folder()) if config is None else _path(config, folder, at=f"{at}: config")
    return NotationSigned(statement, place)


def _notary(found: Mapping[str, Any], folder: str, *, at: str) -> NotarySigned:
    signers = _texts(found.get("signers", []), at=f"{at}: signers", most=MAX_KEYS)
    wrong = [name for name in signers if not is_signer(name)]
    if wrong:
        raise FieldError(f"{at}: {wrong[0][:80]!r} cannot be the name of a signer")
    server = text(found.get("server", ""), at=f"{at}: server")
    if server and not re.match(r"https://[^/@\s]+/?\Z", server):
        raise FieldError(f"{at}: server must be https://HOST[:PORT]")
    root = text(found.get("root", ""), at=f"{at}: root")
    if root and not is_id(root):
        root = _path(root, folder, at=f"{at}: root")
    return NotarySigned(signers, server, root)


def _identity(value: object, *, at: str) -> SignedIdentity:
    if isinstance(value, dict):
        found = members(value, required=("prefix", "signed-prefix"), at=at)
        return RemapIdentity(
            read_prefix(found["prefix"], at=f"{at}.prefix"),
            read_prefix(found["signed-prefix"], at=f"{at}.signed-prefix"),
        )
    name = text(value, at=at)
    if name not in _IDENTITIES:
        raise FieldError(f"{at} must be {', '.join(_IDENTITIES)} or a table with two prefixes")
    return _IDENTITIES[name]


def _formats(value: object, *, at: str) -> frozenset[SignatureFormat]:
    if value is None:
        return ANY_FORMAT
    names = _texts(value, at=at, most=len(SignatureFormat))
    unknown = [name for name in names if name not in set(SignatureFormat)]
    if unknown or not names:
        raise FieldError(f"{at} must be some of {', '.join(SignatureFormat)}")
    return frozenset(SignatureFormat(name) for name in names)


def _age(value: object, *, at: str) -> float:
    match = _AGE.match(text(value, at=at))
    if match is None:
        raise FieldError(f'{at} must be a number with s, m, h, d or w, such as "90d"')
    return float(int(match[1]) * _SECONDS[match[2]])


def _path(value: object, folder: str, *, at: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expanduser(text(value, at=at))))


def _texts(value: object, *, at: str, most: int) -> tuple[str, ...]:
    items = tuple(text(item, at=at) for item in array(value, at=at, most=most))
    if len(set(items)) != len(items):
        raise FieldError(f"{at} names something twice")
    return items
