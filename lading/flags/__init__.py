"""The flags of ``lading``, and in the modules beside this those of its hot commands, as plain data.

``lading.parse`` reads well-formed lines by these tables, without an argument parser's import.
click's commands are made from them too (``lading.commands.declared``), and have the word on
everything else: help, and mistakes.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SWITCH: Final = "switch"
"""True when given."""
ON_OFF: Final = "on-off"
"""True by default; a second name, ``--no-...``, turns it off."""
TEXT: Final = "text"
"""Takes a value; the last one counts."""
OPTIONAL: Final = "optional"
"""Takes a value after an equals sign alone; by itself it stands for its first choice."""
OPTIONAL_TEXT: Final = "optional-text"
"""As ``OPTIONAL``, but any value; by itself it says ``true``."""
LIST: Final = "list"
"""Takes a value each time; a tuple of them, in order."""
PATH: Final = "path"
"""A text that names a file."""
PATHS: Final = "paths"
"""A list of such."""


class Flag(Record):
    """One flag. ``field`` is what programs call its value, ``names`` what people type."""

    field: str
    names: str
    kind: str
    help: str
    metavar: str | None = None
    default: str | None = None
    choices: tuple[str, ...] = ()


class Line(Record):
    """What may follow a command: its flags, then its positionals.

    The last positional may be ``NAME...``, any number of words. ``default`` stands for a last
    positional that is missing. ``interspersed`` says whether flags may follow positionals.
    """

    flags: tuple[Flag, ...]
    positionals: tuple[str, ...]
    default: str | None = None
    interspersed: bool = True


LIMITS: Final = (
    Flag("memory", "-m --memory", TEXT, "Memory limit", "BYTES"),
    Flag(
        "memory_swap", "--memory-swap", TEXT, "Memory and swap together, -1 for no limit", "BYTES"
    ),
    Flag("cpus", "--cpus", TEXT, "Number of CPUs", "N"),
    Flag("cpu_shares", "-c --cpu-shares", TEXT, "Relative weight", "N"),
    Flag("cpu_period", "--cpu-period", TEXT, "CFS period in microseconds", "US"),
    Flag("cpu_quota", "--cpu-quota", TEXT, "CFS quota in microseconds", "US"),
    Flag("cpuset_cpus", "--cpuset-cpus", TEXT, "CPUs to run on", "LIST"),
    Flag("cpuset_mems", "--cpuset-mems", TEXT, "Memory nodes to use", "LIST"),
    Flag("dns", "--dns", LIST, "DNS server", "IP"),
    Flag("dns_search", "--dns-search", LIST, "DNS search domain", "DOMAIN"),
    Flag("dns_option", "--dns-option", LIST, "Option of resolv.conf", "OPTION"),
)
"""What ``run`` and the RUN steps of ``build`` may use."""

INSECURE: Final = Flag(
    "insecure_registry",
    "--insecure-registry",
    LIST,
    "A registry that may speak plain HTTP or show any certificate",
    "HOST[:PORT]",
)
POLICY: Final = Flag("policy", "--policy", PATH, "Policy file in place of the usual ones", "PATH")
VERIFY_KEY: Final = Flag(
    "verify_key", "--verify-key", PATHS, "Accept only images signed by this public key", "FILE"
)
NO_CONTENT_TRUST: Final = Flag(
    "disable_content_trust",
    "--disable-content-trust",
    OPTIONAL,
    "Take tags for what the registry says  [default: unless DOCKER_CONTENT_TRUST is set]",
    choices=("true", "false"),
)

GLOBAL: Final = Line(
    (
        Flag("root", "--root", TEXT, "State directory [env: LADING_ROOT]", "DIR"),
        Flag("config", "--config", TEXT, "Client config directory [env: DOCKER_CONFIG]", "DIR"),
        Flag("debug", "-D --debug", SWITCH, "Show tracebacks and debug messages"),
    ),
    ("words...",),
    interspersed=False,
)
