"""From the grammar to its tables: lark reads ``dockerfile.lark`` and computes an automaton.

``python -m dockerfile_grammar.generate`` writes the tables that are shipped, after a change of the
grammar. What lark can do and this grammar does not use is refused here, so ``automaton`` need not
know of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lark import Lark
from lark.lexer import ContextualLexer
from lark.parsers.lalr_analysis import Shift

from dockerfile_grammar.automaton import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lark.grammar import Rule
    from lark.lexer import TerminalDef

_TEXT_FIELDS = ("NAME", "VALUE")


def parser(grammar: Path, escape: str, starts: Sequence[str]) -> Lark:
    """lark's own parser for files with this escape character."""
    return Lark(
        grammar.read_text(encoding="utf-8"),
        parser="lalr",
        start=list(starts),
        maybe_placeholders=False,
        propagate_positions=False,
        edit_terminals=None if escape == "\\" else _with_escape(escape),
    )


def generate(grammar: Path, escape: str, starts: Sequence[str]) -> Tables:
    """The tables of that parser."""
    made: Any = parser(grammar, escape, starts).parser
    parsing = made.parser._parse_table
    rules = list(made.parser_conf.rules)
    numbers = {rule: number for number, rule in enumerate(rules)}
    lexer = made.lexer
    assert type(lexer) is ContextualLexer
    root: Any = lexer.root_lexer
    terminals = [it.name for it in root.terminals]
    return Tables(
        terminals=[(it.name, it.pattern.to_regexp()) for it in root.terminals],
        rules=[_rule(rule) for rule in rules],
        states=[
            {
                symbol: target if action is Shift else -1 - numbers[target]
                for symbol, (action, target) in parsing.states[state].items()
            }
            for state in range(len(parsing.states))
        ],
        lexers=[_lexer(lexer.lexers.get(state), terminals) for state in range(len(parsing.states))],
        starts=dict(parsing.start_states),
        ends=dict(parsing.end_states),
    )


def _rule(rule: Rule) -> tuple[str, list[bool]]:
    options = rule.options
    plain = not (options.expand1 or options.keep_all_tokens or any(options.empty_indices))
    if rule.alias or not plain:
        raise ValueError(f"{rule}: aliases, ?rules, !rules and placeholders are not supported")
    kept = [not getattr(symbol, "filter_out", False) for symbol in rule.expansion]
    return str(rule.origin.name), kept


def _lexer(lexer: Any, terminals: list[str]) -> list[int]:
    """Which terminals are tried in a state, in their order."""
    if lexer is None:
        return []
    lexer.scanner  # noqa: B018 - made when it is asked for, and the callbacks with it
    if lexer.callback:
        raise ValueError(f"{sorted(lexer.callback)}: a text that several terminals match")
    return [terminals.index(it.name) for it in lexer.terminals]


def _with_escape(escape: str) -> Callable[[TerminalDef], TerminalDef]:
    def edited(terminal: TerminalDef) -> TerminalDef:
        if terminal.name in _TEXT_FIELDS:
            terminal.pattern.value = terminal.pattern.value.replace("\\\\", escape)
        return terminal

    return edited


if __name__ == "__main__":
    from pathlib import Path

    from dockerfile_grammar import tables
    from dockerfile_grammar.syntax import STARTS

    tables.write(Path(tables.__file__).parent, starts=STARTS)
