"""The demo from start to end: models, services, the producer, a second opinion, a webhook."""

import sys
from pathlib import Path

import typer

from stoker.client import Client
from stoker.demo import answers
from stoker.demo.models import ChatModel, embedding_model
from stoker.demo.told import HOST, Receiver, tell
from stoker.local.errors import Interrupted
from stoker.local.extras import require
from stoker.local.processes import Process
from stoker.local.stack import Plan, Stack
from stoker.local.stop import Stop

_LOOK_SECONDS = 0.1


def run(*, model: str | None, device: str, cache: Path, stop: Stop) -> int:
    """Run the demo.

    Args:
        model: An embedding model of the hub; all-MiniLM-L6-v2 out of a package if None.
        device: What the worker runs its models on.
        cache: Where fetched models are kept.
        stop: The user's requests to stop.

    Returns:
        0 if all answers are right, 1 if one is wrong, 130 if the user stopped it.

    Raises:
        LocalError: Something could not be fetched or started, or died.
    """
    require("worker", "s3", "demo")
    cache = cache.resolve()
    try:
        typer.echo(f"Models are kept in {cache}")
        embedding = model or str(embedding_model(cache, stop.pause))
        chat = ChatModel(cache, stop.pause)
        try:
            return _run(embedding, chat, device, cache, stop)
        finally:
            chat.stop()
    except Interrupted:
        typer.echo("Stopped.")
        return 130


def _run(embedding: str, chat: ChatModel, device: str, cache: Path, stop: Stop) -> int:
    receiver = Receiver()
    plan = Plan(
        device=device,
        preload=f"feature-extraction={embedding}",
        courier={"webhook_secret": receiver.secret, "allowed_networks": HOST},
        s3=True,
        flower=False,
    )
    with receiver, Stack(plan, cache, stop) as stack:
        serving = stack.wait_until_ready()
        typer.echo(f"Worker on {serving.device}; Redis at {stack.redis_url}")
        environment = stack.environment()
        # Goes with the stack, whatever ends this process.
        folder = str(stack.folder)
        producer = Process(
            "the producer",
            [sys.executable, "-m", "stoker.demo.producer", folder, embedding, str(chat.folder)],
            environment=environment,
            grace=2.0,
        )
        try:
            while producer.poll() is None:
                stop.pause(_LOOK_SECONDS)
                stack.check()
                chat.ready()
        finally:
            wrong = producer.stop() != 0
        if wrong:
            return 1
        again = Process(
            "the second reader",
            [sys.executable, "-m", "stoker.demo.answers", folder],
            environment=environment,
            log=stack.folder / "again.log",
        )
        again.finish(stop.pause)
        wrong = _compare(stack.folder) != 0
        with Client(settings=stack.settings()) as client:
            typer.echo(tell(client, embedding, receiver, stop.pause))
        return 1 if wrong else 0


def _compare(folder: Path) -> int:
    first, second = (folder / name for name in (answers.FIRST, answers.AGAIN))
    same = first.read_bytes() == second.read_bytes()
    typer.echo(
        "\nA second process, told only the IDs of the jobs, reads the same answers."
        if same
        else "\nA second process, told only the IDs of the jobs, reads OTHER answers."
    )
    return 0 if same else 1
