"""The image config while a stage is read: each metadata instruction changes it and adds history.

Field names, history lines and the CMD/ENTRYPOINT rules are BuildKit's (comment
``buildkit.dockerfile.v0``); durations are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from builder.plan import gotext
from builder.plan.model import HistoryDraft
from builder.plan.ops import StepId
from dockerfile_grammar.nodes import Command, ExecForm, Healthcheck, ShellForm

HISTORY_COMMENT: Final = "buildkit.dockerfile.v0"
DEFAULT_SHELL: Final = ("/bin/sh", "-c")
PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})


class ConfigError(ValueError):
    """A value that an image config cannot hold; the text is the message."""


def _copied(value: Any) -> Any:
    """A copy of what JSON can say; the general one of the standard library is slow to load."""
    if isinstance(value, Mapping):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


class ConfigDraft:
    """A config being built. ``fork`` gives a child stage its own copy."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.history: list[HistoryDraft] = []
        self.author = ""
        self.created: str | None = None
        """Date for new history entries when SOURCE_DATE_EPOCH fixes it."""
        self.cmd_here = False
        """Whether this stage section has set CMD, which protects it from ENTRYPOINT."""
        self.layers = 0
        self.os_version = ""
        """Of the base: Windows starts only what was made for its own version."""
        self.os_features: tuple[str, ...] = ()
        """Of the base too: what its system must have."""

    def fork(self) -> ConfigDraft:
        """A copy for a stage that starts from this one."""
        made = ConfigDraft()
        vars(made).update(vars(self))
        made.config = _copied(self.config)
        made.history = list(self.history)
        made.cmd_here = False
        return made

    def inherit(self, config: Mapping[str, Any]) -> None:
        """Begin with a copy of a base's config."""
        self.config = _copied({name: value for name, value in config.items() if value is not None})

    @property
    def extent(self) -> int:
        """How many things the draft holds, as a measure of what a copy of it costs."""
        held = (value for value in self.config.values() if isinstance(value, list | dict))
        return len(self.history) + sum(len(value) for value in held)

    @property
    def shell(self) -> tuple[str, ...]:
        """The SHELL that shell forms are wrapped in."""
        return tuple(self.config.get("Shell") or DEFAULT_SHELL)

    @property
    def workdir(self) -> str:
        """The current WORKDIR, ``/`` when none was set."""
        return str(self.config.get("WorkingDir") or "/")

    @property
    def user(self) -> str:
        """The current USER as written, empty for root."""
        return str(self.config.get("User") or "")

    def record(self, created_by: str, step: StepId | None = None) -> None:
        """Append a history entry; without a ``step`` it has no layer."""
        self.history.append(HistoryDraft(created_by, step, created=self.created))

    def arguments(self, command: Command) -> tuple[str, ...]:
        """The words of a CMD or ENTRYPOINT."""
        return command.args if isinstance(command, ExecForm) else (*self.shell, command.text)

    def set_env(self, env: Mapping[str, str]) -> None:
        """Write the stage's ENV into the config."""
        self.config["Env"] = [f"{name}={value}" for name, value in env.items()]

    def set_labels(self, labels: Mapping[str, str]) -> None:
        """Add labels; later ones win."""
        if labels:
            self._merge("Labels", labels)

    def set_command(self, command: Command) -> None:
        """CMD."""
        words = self.arguments(command)
        self._assign("Cmd", list(words))
        self.config["ArgsEscaped"] = True
        self.cmd_here = True
        self.record(f"CMD {gotext.quoted_list(words)}")

    def set_entrypoint(self, command: Command) -> None:
        """ENTRYPOINT: forgets a CMD that was not written in this stage."""
        words = self.arguments(command)
        self._assign("Entrypoint", list(words))
        if not self.cmd_here:
            self.config.pop("Cmd", None)
        self.record(f"ENTRYPOINT {gotext.quoted_list(words)}")

    def set_shell(self, words: Sequence[str]) -> None:
        """SHELL."""
        self.config["Shell"] = list(words)
        self.record(f"SHELL {gotext.plain_list(words)}")

    def set_user(self, user: str) -> None:
        """USER."""
        self._assign("User", user)
        self.record(f"USER {user}")

    def set_stop_signal(self, signal: str) -> None:
        """STOPSIGNAL; raises ConfigError for a signal Linux does not have."""
        check_signal(signal)
        self.config["StopSignal"] = signal
        self.record(f"STOPSIGNAL {signal}")

    def set_maintainer(self, name: str) -> None:
        """MAINTAINER."""
        self.author = name
        self.record(f"MAINTAINER {name}")

    def expose(self, words: Iterable[str]) -> None:
        """EXPOSE; raises ConfigError for a port or protocol that does not exist."""
        ports = [port for word in words for port in parse_ports(word)]
        self._merge("ExposedPorts", {port: {} for port in ports})
        self.record(f"EXPOSE {gotext.plain_list(dict.fromkeys(ports))}")

    def add_volumes(self, paths: Sequence[str]) -> None:
        """VOLUME; raises ConfigError for an empty path."""
        if not all(paths):
            raise ConfigError("VOLUME specified can not be an empty string")
        self._merge("Volumes", {path: {} for path in paths})
        self.record(f"VOLUME {gotext.plain_list(paths)}")

    def set_healthcheck(self, node: Healthcheck) -> None:
        """HEALTHCHECK, or NONE."""
        match node.command:
            case None:
                test = ["NONE"]
            case ShellForm(text=text):
                test = ["CMD-SHELL", text]
            case ExecForm(args=args):
                test = ["CMD", *args]
        fields = {
            "Interval": node.interval,
            "Timeout": node.timeout,
            "StartPeriod": node.start_period,
            "StartInterval": node.start_interval,
        }
        given = {name: value for name, value in fields.items() if value}
        check: dict[str, Any] = {"Test": test, **given}
        if node.retries:
            check["Retries"] = node.retries
        self.config["Healthcheck"] = check
        times = " ".join(f"{name}:{gotext.duration(value)}" for name, value in fields.items())
        self.record(
            f"HEALTHCHECK {{Test:{gotext.plain_list(test)} {times} Retries:{node.retries}}}"
        )

    def add_trigger(self, text: str) -> None:
        """ONBUILD: stored, not recorded."""
        self.config.setdefault("OnBuild", []).append(text)

    def take_triggers(self) -> list[str]:
        """Remove and return the triggers a base left for its children."""
        return list(self.config.pop("OnBuild", None) or [])

    def _merge(self, name: str, values: Mapping[str, Any]) -> None:
        """Add to a map; in place, because a file may do it many thousand times."""
        held = self.config.get(name)
        if not isinstance(held, dict):
            held = self.config[name] = {}
        held.update(values)

    def _assign(self, name: str, value: str | list[str]) -> None:
        if value:
            self.config[name] = value
        else:
            self.config.pop(name, None)


def parse_ports(word: str) -> list[str]:
    """``port[-port][/proto]``, an address or host port before it ignored, as ``port/proto`` texts.

    Raises:
        ConfigError: not a port, an empty range, an unknown protocol.
    """
    address, _, protocol = word.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise ConfigError(f"invalid proto: {protocol}")
    first, _, last = address.rpartition(":")[2].partition("-")
    if not all(part.isascii() and part.isdigit() for part in (first, last or first)):
        raise ConfigError(f"invalid containerPort: {address or word}")
    low, high = int(first), int(last or first)
    if not 0 < low <= high <= 65535:
        raise ConfigError(f"invalid containerPort: {address}")
    return [f"{port}/{protocol}" for port in range(low, high + 1)]


def check_signal(text: str) -> None:
    """Accept a Linux signal number or name, with or without ``SIG``.

    Raises:
        ConfigError: no such signal.
    """
    import signal

    name = text.upper().removeprefix("SIG")
    if text.isascii() and text.isdigit() and 0 < int(text) <= signal.NSIG - 1:
        return
    base, plus, offset = name.partition("+")
    if plus and base in ("RTMIN", "RTMAX") and offset.isdigit():
        return
    if f"SIG{name}" not in signal.Signals.__members__:
        raise ConfigError(f"invalid signal: {text}")
