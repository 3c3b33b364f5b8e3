"""Suite ``expand``: {word, env, escape?, result?, words?, error?}."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.expand import expand, expand_words
from tests.oracle.verdict import Verdict, compare

_OPERATOR = re.compile(r"\$\{[\w@*#?$!-]+[-:+?#%/]")

FORGOTTEN_WORDS = (
    "the reference forgets the words in front of ${name<operator>...}: "
    "EXPOSE 80${P:-81} would become 81"
)


def check_expand(row: dict[str, Any]) -> Verdict:
    escape = row.get("escape", "\\")
    error = result = words = None
    try:
        result = expand(row["word"], row["env"], escape=escape)
        words = expand_words(row["word"], row["env"], escape=escape)
    except ExpansionError as caught:
        error = caught.what
    verdict = compare(
        row["word"],
        result=(row.get("result"), result),
        words=(row.get("words") or [], words or []),
        error=(row.get("error"), error),
    )
    only_words = [item.split(":")[0] for item in verdict.differences] == ["words"]
    if only_words and _OPERATOR.search(row["word"]):
        # Nothing is lost in ours: without blanks, the words hold every character of the value.
        ours, value = "".join(words or []), "".join((result or "").split())
        if "".join(ours.split()) == value:
            return replace(verdict, differences=(), deviation=FORGOTTEN_WORDS)
    return verdict
