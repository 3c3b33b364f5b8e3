"""Names for containers that got none: an adjective and a seafarer or scientist."""

from __future__ import annotations

import os

_ADJECTIVES = (
    "able agile airy amber apt awake balmy bold brave breezy bright brisk calm candid cheery "
    "civil clear clever coastal cool coral crisp curious daring deft eager earnest easy even "
    "fair fast fearless fine firm fleet fond frank free fresh gallant gentle glad golden "
    "grand happy hardy hearty humble jolly keen kind lively loyal lucid lucky mellow merry "
    "mild modest neat nimble noble patient placid plucky polite prime proud quick quiet ready "
    "salty serene sharp silver sincere sleek smart snug sober solid spry stable staunch "
    "steady stout sunny swift tidal tidy trim true trusty upbeat vivid warm wise witty zesty "
)
_SURNAMES = (
    "amundsen bering bougainville cabot cook dampier drake elcano flinders franklin frobisher "
    "gama hudson humboldt laperouse magellan mercator nansen pytheas ross shackleton slocum "
    "tasman vespucci weddell babbage bardeen bernoulli bohr boole borg brahe cantor carson "
    "cerf chandra church clarke codd copernicus curie darwin dijkstra dirac easley einstein "
    "engelbart euclid euler faraday fermat fermi feynman galileo gauss germain goldberg "
    "goodall hamilton hawking hedy heisenberg hertz hodgkin hopper hypatia johnson joliot "
    "kalam keller kepler knuth kovalevskaya lamarr leavitt liskov lovelace maxwell meitner "
    "mendel mirzakhani morse newton nightingale nobel noether pascal pasteur payne planck "
    "ptolemy ramanujan ride ritchie rubin sammet shannon tesla thompson torvalds turing volta "
    "wiles wilson wing wozniak wright wu yalow "
)


def random_name(attempt: int = 0) -> str:
    """``adjective_surname``, with a digit behind it from the second attempt on."""
    name = f"{_pick(_ADJECTIVES)}_{_pick(_SURNAMES)}"
    return f"{name}{_pick('0 1 2 3 4 5 6 7 8 9')}" if attempt else name


def random_identifier() -> str:
    """A container's id: 64 hex digits; the first 12, its host name, are not all decimal."""
    while True:
        # The secrets module would cost a cold start 10 ms.
        identifier = os.urandom(32).hex()
        if not identifier[:12].isdecimal():
            return identifier


def _pick(words: str) -> str:
    choices = words.split()
    return choices[int.from_bytes(os.urandom(4)) % len(choices)]
