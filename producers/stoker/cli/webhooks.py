"""The commands for webhooks: what was told, telling it again, secrets, and the courier."""

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

import typer

from stoker import Client
from stoker.cli.exits import Exit, fail
from stoker.cli.show import print_line
from stoker.events import EventState, WebhookEvent
from stoker.local.extras import require
from stoker_config.secrets import Secrets, SecretsError
from stoker_config.settings import child_environment, load_settings

webhooks = typer.Typer(name="webhooks", help="What jobs tell their receivers, and what came of it.")
secret = typer.Typer(name="secret", help="The secrets that sign events.")
webhooks.add_typer(secret)

AsJson = Annotated[bool, typer.Option("--json", help="Print lines of JSON.")]
State = Annotated[EventState | None, typer.Option(help="Only these: pending, delivered or dead.")]
Ids = Annotated[list[str], typer.Argument(metavar="EVENT…", help="Events, as `list` prints them.")]
Time = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"], metavar="UTC-TIME"),
]
Name = Annotated[str, typer.Argument(help="What jobs call it: `default`, a tenant, an endpoint.")]


@webhooks.command("list")
def list_all(
    state: State = None,
    job: Annotated[str | None, typer.Option(help="Only the events of this job.")] = None,
    since: Time = None,
    until: Time = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List events, the newest of each state first."""
    with Client() as client:
        found = client.webhooks.list(
            state=state, job=job, since=_utc(since), until=_utc(until), limit=limit
        )
    for event in found:
        if as_json:
            print_line(**_shown(event))
        else:
            typer.echo(
                f"{event.id}  {_state_words(event)}  {event.type}  {event.job}  {event.origin}"
            )
    if not found and not as_json:
        typer.echo("There are no such events.")


@webhooks.command()
def show(ids: Ids, as_json: AsJson = False) -> None:
    """Show events with their attempts. The endpoint is printed in full, with any token in it."""
    missing = False
    with Client() as client:
        for event_id in ids:
            event = client.webhooks.get(event_id)
            if event is None:
                missing = _none_such(event_id)
            elif as_json:
                attempts = [{**asdict(each), "at": _time(each.at)} for each in event.attempts]
                print_line(**_shown(event), url=event.url, attempts=attempts)
            else:
                _show(event)
    if missing:
        raise typer.Exit(Exit.UNKNOWN)


@webhooks.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[EVENT]…")] = None,
    since: Time = None,
    until: Time = None,
    state: Annotated[EventState, typer.Option(help="Of a range only these.")] = "dead",
) -> None:
    """Post events again, under their old IDs: these, or all of a range of time."""
    if bool(ids) == bool(since or until):
        fail("name events, or a range by --since and --until", Exit.USAGE)
    missing, done = False, 0
    with Client() as client:
        for event_id in ids or ():
            found = client.webhooks.replay(event_id)
            missing = missing or (not found and _none_such(event_id))
            done += found
        if not ids:
            done = client.webhooks.replay(since=_utc(since), until=_utc(until), state=state)
    typer.echo(f"{done} events are posted again")
    if missing:
        raise typer.Exit(Exit.UNKNOWN)


@webhooks.command()
def disabled(as_json: AsJson = False) -> None:
    """List the endpoints that said that they are gone (410): nothing is posted to them."""
    with Client() as client:
        found = client.webhooks.disabled()
    for endpoint, since in found.items():
        if as_json:
            print_line(endpoint=endpoint, since=_time(since))
        else:
            typer.echo(f"{endpoint}  since {_time(since)}")
    if not found and not as_json:
        typer.echo("No endpoint is disabled.")


@webhooks.command()
def enable(url: Annotated[str, typer.Argument(help="The endpoint.")]) -> None:
    """Post to an endpoint again that had said that it is gone."""
    with Client() as client:
        try:
            was_disabled = client.webhooks.enable(url)
        except ValueError as error:
            fail(f"the endpoint {error}", Exit.USAGE)
    if not was_disabled:
        fail("this endpoint is not disabled; `stoker webhooks disabled` lists them", Exit.UNKNOWN)
    typer.echo("enabled; `stoker webhooks replay` posts what was given up meanwhile")


@webhooks.command()
def check() -> None:
    """Say whether a courier lives: exit code 1 if none does."""
    with Client() as client:
        if not client.webhooks.alive():
            fail("no courier runs, so nothing is delivered: `stoker webhooks run` is one")
    typer.echo("a courier runs")


@webhooks.command()
def run() -> None:
    """Run a courier, which delivers events: at least one has to run somewhere."""
    require("courier")
    # In this process's place, so that signals and the exit status are the courier's own.
    command = [sys.executable, "-m", "stoker_workers", "webhooks"]
    os.execve(sys.executable, command, child_environment())


@secret.command("list")
def list_secrets(as_json: AsJson = False) -> None:
    """List the secrets by name, the newest first, each by the head of its SHA-256."""
    try:
        found = _secrets().all()
    except SecretsError as error:
        fail(str(error))
    for name, each in sorted(found.items()):
        marks = [sha256(one.encode()).hexdigest()[:8] for one in each]
        if as_json:
            print_line(name=name, secrets=marks)
        else:
            typer.echo(f"{name}  {' '.join(marks)}")
    if not found and not as_json:
        typer.echo("There are no secrets; `stoker webhooks secret add NAME` makes one.")


@secret.command()
def add(name: Name) -> None:
    """Make a secret and print it, once: from now on it signs, and those before it go on signing."""
    try:
        typer.echo(_secrets().add(name))
    except SecretsError as error:
        fail(str(error))


@secret.command()
def retire(name: Name) -> None:
    """Take away all secrets of a name but the newest, once its receivers know that one."""
    try:
        typer.echo(f"{_secrets().retire(name)} secrets of {name} retired")
    except SecretsError as error:
        fail(str(error))


def _secrets() -> Secrets:
    return Secrets(load_settings())


def _show(event: WebhookEvent) -> None:
    typer.echo(f"{event.id}  {_state_words(event)}  {event.type}")
    typer.echo(f"  job      {event.job}\n  endpoint {event.url}\n  created  {_time(event.created)}")
    if event.next:
        typer.echo(f"  next     {_time(event.next)}")
    for each in event.attempts:
        typer.echo(f"  attempt  {_time(each.at)}  {each.status or each.error}  {each.ms:.0f} ms")


def _shown(event: WebhookEvent) -> dict[str, Any]:
    # The URL is for who asks for one event: it may hold a token.
    fields = {name: value for name, value in asdict(event).items() if name not in _APART}
    return {**fields, "created": _time(event.created), "next": event.next and _time(event.next)}


_APART = ("url", "attempts")


def _state_words(event: WebhookEvent) -> str:
    return f"{event.state} ({event.why})" if event.why else event.state


def _none_such(event_id: str) -> bool:
    typer.echo(f"stoker: there is no event {event_id}, or no more", err=True)
    return True


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _utc(at: datetime | None) -> datetime | None:
    return at and at.replace(tzinfo=UTC)
