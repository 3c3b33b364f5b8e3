"""What ``trust inspect`` says of Notary trust data: docker's JSON, and docker's tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trust.tuf import roles
from trust.tuf.keys import Key
from trust.tuf.tags import SignedTag, released, signers
from trust.tuf.trusted import TrustedSet, keys_of

REPO_ADMIN: Final = "Repo Admin"
"""Docker's name for the signer of tags that ``targets`` itself signs."""

_GAP: Final = 3


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """The trust data of one repository as ``name`` was asked for.

    As with docker, root ids are those of the certificates, the others those of bare keys.
    """

    name: str
    tags: tuple[SignedTag, ...]
    signers: dict[str, tuple[str, ...]]
    root: tuple[str, ...]
    repository: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One object of ``docker trust inspect``."""
        return {
            "Name": self.name,
            "SignedTags": [
                {
                    "SignedTag": tag.name,
                    "Digest": tag.digest.hex,
                    "Signers": list(tag.signers) or [REPO_ADMIN],
                }
                for tag in self.tags
            ],
            "Signers": [
                {"Name": name, "Keys": [{"ID": key} for key in self.signers[name]]}
                for name in sorted(self.signers, reverse=True)
            ],
            "AdministrativeKeys": [
                {"Name": "Root", "Keys": [{"ID": key} for key in self.root]},
                {"Name": "Repository", "Keys": [{"ID": key} for key in self.repository]},
            ],
        }

    def pretty(self) -> str:
        """The tables of ``docker trust inspect --pretty``."""
        lines = [""]
        if self.tags:
            rows = [
                (tag.name, tag.digest.hex, ", ".join(tag.signers) or f"({REPO_ADMIN})")
                for tag in self.tags
            ]
            lines += [f"Signatures for {self.name}", ""]
            lines += _table(("SIGNED TAG", "DIGEST", "SIGNERS"), rows)
        else:
            lines += [f"No signatures for {self.name}", ""]
        lines.append("")
        if self.signers:
            keys = [
                (name, ", ".join(key[:12] for key in self.signers[name]))
                for name in sorted(self.signers)
            ]
            lines += [f"List of signers and their keys for {self.name}", ""]
            lines += [*_table(("SIGNER", "KEYS"), keys), ""]
        lines += [f"Administrative keys for {self.name}", ""]
        lines.append(f"  Repository Key:\t{', '.join(self.repository)}")
        lines.append(f"  Root Key:\t{', '.join(self.root)}")
        return "\n".join(lines) + "\n"


def report(trusted: TrustedSet, *, name: str, tag: str | None = None) -> CollectionReport:
    """What is believed of a repository; of one ``tag``, or of all."""
    tags = [found for found in released(trusted) if tag is None or found.name == tag]
    top = trusted.targets[roles.TARGETS]
    return CollectionReport(
        name,
        tuple(sorted(tags, key=lambda found: _natural(found.name))),
        {roles.signer_name(role.name): _ids(keys_of(top, role.who)) for role in signers(trusted)},
        tuple(sorted(key.id for key in trusted.root.keys_of(roles.ROOT))),
        _ids(trusted.root.keys_of(roles.TARGETS)),
    )


def _ids(keys: Iterable[Key]) -> tuple[str, ...]:
    return tuple(sorted(key.bare().id for key in keys))


def _natural(text: str) -> list[tuple[int, str]]:
    """An order in which v10 comes after v9."""
    return [
        (int(part), "") if part.isdigit() else (-1, part)
        for part in re.findall(r"[0-9]+|[^0-9]+", text)
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) + _GAP for column in zip(*lines, strict=True)]
    return [
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
