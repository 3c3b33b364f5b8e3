"""``lading registry events``: what waits for webhooks, what is dead, and what to do with it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lading.app import App
from lading.commands.registry_store import store_config, with_store
from lading.render.table import tabulate

if TYPE_CHECKING:
    from registry.config import RegistryConfig
    from registry.events.queue import EventQueue
    from registry.events.records import Delivery, Standing
    from registry.events.settings import WebhookSettings


@click.group()
def events() -> None:
    """Look after the events of webhooks, while the registry serves."""


_WEBHOOK = click.option("--webhook", metavar="NAME", help="Only of this webhook")
_ALL = click.option("--all", "every", is_flag=True, help="All instead of some by number")
_NUMBERS = click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")


@events.command()
@with_store
@click.pass_obj
def status(app: App, /, *, file: Path | None, root: Path | None, style: str) -> None:
    """Show how each webhook is doing."""
    config = store_config(app, file, root)
    with _queue(config) as queue:
        standings = {} if queue is None else {it.name: it for it in queue.standings()}
    configured = {webhook.name: webhook for webhook in config.webhook}
    names = sorted({*standings, *configured})
    if style == "json":
        rows = [_status_json(name, standings.get(name), configured.get(name)) for name in names]
        click.echo(json.dumps(rows))
        return
    lines = [
        ("WEBHOOK", "STATE", "WAITING", "OLDEST", "DEAD", "DELIVERED", "DROPPED", "LAST ERROR")
    ]
    for name in names:
        it = standings.get(name)
        state = _state(it, configured.get(name))
        if it is None:
            lines.append((name, state, "0", "-", "0", "0", "0", "-"))
        else:
            dead, delivered, dropped = map(str, (it.dead, it.delivered, it.dropped))
            waiting, oldest, error = str(it.pending), _when(it.oldest), it.error or "-"
            lines.append((name, state, waiting, oldest, dead, delivered, dropped, error))
    click.echo(tabulate(lines), nl=False)


@events.command("list")
@with_store
@_WEBHOOK
@click.option("--limit", default=100, show_default=True, help="Most events to show")
@click.pass_obj
def list_(app: App, /, *, file: Path | None, root: Path | None, **options: Any) -> None:
    """Show events that wait for their receiver, the oldest first."""
    _show(app, file, root, dead=False, **options)


@events.command()
@with_store
@_WEBHOOK
@click.option("--limit", default=100, show_default=True, help="Most events to show")
@click.pass_obj
def dead(app: App, /, *, file: Path | None, root: Path | None, **options: Any) -> None:
    """Show events that were given up, the oldest first."""
    _show(app, file, root, dead=True, **options)


@events.command()
@with_store
@_WEBHOOK
@_ALL
@_NUMBERS
@click.pass_obj
def retry(app: App, /, *, file: Path | None, root: Path | None, style: str, **options: Any) -> None:
    """Let dead events wait again; each goes before newer ones of its repository."""
    webhook, numbers = _chosen(**options)

    def again(queue: EventQueue) -> int:
        return queue.retry(numbers, webhook=webhook, now=time.time())

    _change(app, file, root, style, again, "to be sent again")


@events.command()
@with_store
@_WEBHOOK
@_ALL
@click.option("--waiting", is_flag=True, help="Events that wait, instead of dead ones")
@_NUMBERS
@click.pass_obj
def drop(
    app: App,
    /,
    *,
    file: Path | None,
    root: Path | None,
    style: str,
    waiting: bool,
    **options: Any,
) -> None:
    """Forget dead events, or events that wait."""
    webhook, numbers = _chosen(**options)

    def forget(queue: EventQueue) -> int:
        return queue.drop(numbers, webhook=webhook, dead=not waiting)

    _change(app, file, root, style, forget, "dropped")


@contextmanager
def _queue(config: RegistryConfig) -> Iterator[EventQueue | None]:
    """The queue of a store; None when it never had one."""
    from registry.backing import open_backing
    from registry.events.queue import FILE, EventQueue

    with closing(open_backing(config)) as backing:
        if backing.shared is None and not (config.root / FILE).exists():
            yield None
            return
        with closing(EventQueue(config.root, backing.stores)) as queue:
            yield queue


def _show(
    app: App,
    file: Path | None,
    root: Path | None,
    *,
    dead: bool,
    style: str,
    webhook: str | None,
    limit: int,
) -> None:
    with _queue(store_config(app, file, root)) as queue:
        found = [] if queue is None else queue.listed(dead=dead, webhook=webhook, limit=limit)
    if style == "json":
        click.echo(json.dumps([_event_json(delivery) for delivery in found]))
        return
    lines = [("NUMBER", "WEBHOOK", "SINCE", "EVENT", "SUBJECT", "ATTEMPTS", "LAST ERROR")]
    for it in found:
        event = json.loads(it.body)
        kind, subject = event["type"].removeprefix("dev.lading.registry."), event["subject"]
        attempts, error = str(it.attempts), it.error or "-"
        lines.append((str(it.number), it.webhook, _when(it.since), kind, subject, attempts, error))
    click.echo(tabulate(lines), nl=False)


def _chosen(
    *, webhook: str | None, every: bool, numbers: tuple[int, ...]
) -> tuple[str | None, Sequence[int] | None]:
    if every == bool(numbers):
        raise click.UsageError("give the numbers of events, or --all")
    return webhook, None if every else numbers


def _change(
    app: App,
    file: Path | None,
    root: Path | None,
    style: str,
    change: Callable[[EventQueue], int],
    said: str,
) -> None:
    with _queue(store_config(app, file, root)) as queue:
        count = 0 if queue is None else change(queue)
    click.echo(json.dumps({"events": count}) if style == "json" else f"events {said}: {count}")


def _state(standing: Standing | None, settings: WebhookSettings | None) -> str:
    if settings is None:
        return "not configured"
    if standing is not None and standing.gone is not None:
        return "gone (410)"
    return "active"


def _status_json(
    name: str, standing: Standing | None, settings: WebhookSettings | None
) -> dict[str, Any]:
    from registry.events.records import Standing

    document = asdict(standing or Standing(name, 0, 0, None))
    address = None if settings is None else settings.address
    return {**document, "state": _state(standing, settings), "address": address}


def _event_json(delivery: Delivery) -> dict[str, Any]:
    document = asdict(delivery)
    del document["body"], document["event"]
    return {**document, "event": json.loads(delivery.body)}


def _when(moment: float | None) -> str:
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
