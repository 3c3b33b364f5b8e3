"""Dates and times in RFC 3339, and how they are written otherwise."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from dockerfile_grammar.durations import parse_duration
from dockerfile_grammar.errors import GrammarError
from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.values import value as make
from engine.bake.values.types import NUMBER, STRING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from engine.bake.values.value import Value

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_TOKEN = re.compile(r"'(?:[^']|'')*'?|([A-Za-z])\1*|[^A-Za-z']+")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def parse_timestamp(text: str, argument: int) -> datetime:
    """A time with its offset, whole seconds; raises FunctionError."""
    match = _RFC3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        parts = [int(part) for part in match.groups()[:6]]
        sign, hours, minutes = match.groups()[6:]
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        year, month, day, hour, minute, second = parts
        return datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError as error:
        raise FunctionError(
            f"{text!r} is no time as in RFC 3339, 2006-01-02T15:04:05Z", argument
        ) from error


def written(time: datetime) -> str:
    """RFC 3339, with Z for UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + _offset(time, ":", "Z")


def _offset(time: datetime, separator: str, zero: str | None) -> str:
    minutes = int((time.utcoffset() or timedelta()).total_seconds()) // 60
    if not minutes and zero is not None:
        return zero
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}{separator}{rest:02}"


def _hour12(time: datetime) -> int:
    return time.hour % 12 or 12


_VERBS: Final[Mapping[str, Callable[[datetime], str]]] = {
    "YYYY": lambda time: f"{time.year:04}",
    "YY": lambda time: f"{time.year % 100:02}",
    "MMMM": lambda time: _MONTHS[time.month - 1],
    "MMM": lambda time: _MONTHS[time.month - 1][:3],
    "MM": lambda time: f"{time.month:02}",
    "M": lambda time: str(time.month),
    "DD": lambda time: f"{time.day:02}",
    "D": lambda time: str(time.day),
    "EEEE": lambda time: _DAYS[time.weekday()],
    "EEE": lambda time: _DAYS[time.weekday()][:3],
    "hh": lambda time: f"{time.hour:02}",
    "h": lambda time: str(time.hour),
    "HH": lambda time: f"{_hour12(time):02}",
    "H": lambda time: str(_hour12(time)),
    "AA": lambda time: "AM" if time.hour < 12 else "PM",
    "aa": lambda time: "am" if time.hour < 12 else "pm",
    "mm": lambda time: f"{time.minute:02}",
    "m": lambda time: str(time.minute),
    "ss": lambda time: f"{time.second:02}",
    "s": lambda time: str(time.second),
    "Z": lambda time: _offset(time, ":", "Z"),
    "ZZZ": lambda time: _offset(time, "", "UTC"),
    "ZZZZ": lambda time: _offset(time, "", None),
    "ZZZZZ": lambda time: _offset(time, ":", None),
}


def _format(pattern: str, time: datetime) -> Value:
    made = []
    for match in _TOKEN.finditer(pattern):
        token = match.group()
        if token in _VERBS:
            made.append(_VERBS[token](time))
        elif token.startswith("'"):
            if len(token) < 2 or not token.endswith("'"):
                raise FunctionError("a quote is never closed", 0)
            made.append(token[1:-1].replace("''", "'"))
        elif match.group(1):
            raise FunctionError(f"{token} is no part of a date; quote it: '{token}'", 0)
        else:
            made.append(token)
    return make.string("".join(made))


def _format_date(pattern: Value, time: Value) -> Value:
    return _format(pattern.data, parse_timestamp(time.data, 1))


def _from_unix(seconds: Value, argument: int) -> datetime:
    data = seconds.data
    if data != int(data):
        raise FunctionError("a whole number of seconds is required", argument)
    try:
        return datetime.fromtimestamp(int(data), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise FunctionError("the year is out of range", argument) from error


def _format_timestamp(pattern: Value, time: Value) -> Value:
    if time.type == NUMBER:
        moment = _from_unix(time, 1)
    elif time.type == STRING:
        moment = parse_timestamp(time.data, 1)
    else:
        raise FunctionError("a time as text or as a number is required", 1)
    if pattern.data == "X":
        return make.string(str(int(moment.timestamp())))
    return _format(pattern.data, moment)


def _add(time: Value, duration: Value) -> Value:
    try:
        nanoseconds = parse_duration(duration.data)
    except GrammarError as error:
        raise FunctionError(error.what, 1) from error
    moment = parse_timestamp(time.data, 0)
    try:
        return make.string(written(moment + timedelta(microseconds=nanoseconds / 1000)))
    except OverflowError as error:
        raise FunctionError("the year is out of range", 1) from error


def _parse_unix(seconds: Value) -> Value:
    time = _from_unix(seconds, 0)
    iso = time.isocalendar()
    numbers = {
        "year": time.year,
        "year_day": time.timetuple().tm_yday,
        "day": time.day,
        "month": time.month,
        "weekday": time.isoweekday() % 7,
        "hour": time.hour,
        "minute": time.minute,
        "second": time.second,
        "iso_year": iso.year,
        "iso_week": iso.week,
    }
    texts = {
        "month_name": _MONTHS[time.month - 1],
        "weekday_name": _DAYS[time.weekday()],
        "rfc3339": written(time),
    }
    made = {name: make.number(number) for name, number in numbers.items()}
    return make.object_of({**made, **{name: make.string(text) for name, text in texts.items()}})


def clock_functions(clock: Callable[[], float]) -> tuple[Function, ...]:
    """What depends on the time; ``clock`` gives seconds since the epoch."""

    def timestamp() -> Value:
        return make.string(written(datetime.fromtimestamp(int(clock()), UTC)))

    return (Function("timestamp", (), timestamp),)


_FORMAT: Final = Parameter("format", STRING)
FUNCTIONS: Final = (
    Function("formatdate", (_FORMAT, Parameter("time", STRING)), _format_date),
    Function("formattimestamp", (_FORMAT, Parameter("time")), _format_timestamp),
    Function("timeadd", (Parameter("timestamp", STRING), Parameter("duration", STRING)), _add),
    Function("unixtimestampparse", (Parameter("unix_timestamp", NUMBER),), _parse_unix),
)
