"""`python -m stoker_workers`: what the CLI starts, since it never imports this side."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from stoker_config.logs import set_up
from stoker_config.models_file import read_models_file
from stoker_config.secrets import SecretsError
from stoker_config.settings import load_settings, use
from stoker_tasks.errors import StokerError
from stoker_tasks.wire import queue_name
from stoker_workers.engine.served import parse_preload
from stoker_workers.exits import USAGE

_CONVERSIONS: Final = {
    "convert-gguf": "a GGUF file",
    "convert-whisper": "the folder of a CTranslate2 (faster-whisper) model",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands and give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stoker_workers")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="serve one pool with one device")
    worker.add_argument("--pool", help="the pool to serve (default: default)")
    worker.add_argument("--device", help="auto, cpu, cuda:N or mps (default: auto)")
    worker.add_argument(
        "--preload",
        help="models to load first, as task=model[@revision],… The first one of a task serves its "
        "jobs that name no model",
    )
    worker.add_argument("--name", help="the node's name (default: pool-pid@host)")
    worker.add_argument(
        "--unsupervised",
        action="store_true",
        help="run the worker in this process, and end when it ends",
    )
    commands.add_parser("webhooks", help="deliver what webhooks tell")
    commands.add_parser("doctor", help="print what this machine gives a worker, as JSON")
    parts = commands.add_parser("parts", help="try to import modules; a line of JSON for each")
    parts.add_argument("modules", nargs="+")
    resolve = commands.add_parser("resolve", help="tell as JSON which task a model is for")
    resolve.add_argument("model", help="a hub ID (org/name) or a folder")
    resolve.add_argument("--revision", help="a branch, tag or commit of the hub")
    for name, what in _CONVERSIONS.items():
        convert = commands.add_parser(name, help=f"turn {what} into a model folder")
        convert.add_argument("source", type=Path)
        convert.add_argument("folder", type=Path)
    options = parser.parse_args(argv)
    if options.command in _CONVERSIONS:
        return _convert(options.command, options.source, options.folder)
    if options.command == "doctor":
        return _doctor()
    if options.command == "parts":
        return _parts(options.modules)
    if options.command == "resolve":
        return _resolve(options.model, options.revision)
    if options.command == "webhooks":
        return _deliver()
    return _work(options)


def _work(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ("pool", "device", "preload")}
    try:
        settings = use(**{name: value for name, value in given.items() if value is not None})
        queue = queue_name(settings.pool)
        parse_preload(settings.preload)
        read_models_file(settings.models_file)
    except (StokerError, ValueError) as error:
        # The answer to whoever typed it; Celery would bury it under a traceback.
        print(f"the worker cannot start: {error}", file=sys.stderr)  # noqa: T201
        return USAGE
    named = ["--name", options.name] if options.name else []
    if not options.unsupervised:
        from stoker_workers.supervisor import Supervisor

        set_up(settings)
        command = [sys.executable, "-m", "stoker_workers", "worker", "--unsupervised", *named]
        return Supervisor(settings, command).run()
    # The plain Celery command, in this process's place: its exit code tells why it ended.
    name = options.name or f"{settings.pool}-{os.getpid()}@%h"
    command = [
        # Quiet: no banner stands between the lines of the log.
        *(sys.executable, "-m", "celery", "-A", "stoker_workers.app", "--quiet", "worker"),
        *("--queues", queue, "--hostname", name, "--loglevel", settings.log_level),
        *("--pool", "threads", "--concurrency", "1", "--without-gossip", "--without-mingle"),
    ]
    return os.execv(sys.executable, command)


def _deliver() -> int:
    from stoker_workers.webhooks.courier import run

    settings = load_settings()
    set_up(settings)
    try:
        return run(settings)
    except SecretsError as error:
        print(f"the courier cannot start: {error}", file=sys.stderr)  # noqa: T201
        return USAGE


def _doctor() -> int:
    from stoker_workers.doctor import facts

    print(json.dumps(facts()))  # noqa: T201 - the answer to the CLI
    return 0


def _parts(modules: Sequence[str]) -> int:
    from stoker_workers.doctor import try_parts

    for each in try_parts(modules):
        print(json.dumps(each), flush=True)  # noqa: T201 - the answer to the CLI
    return 0


def _resolve(model: str, revision: str | None) -> int:
    from stoker_workers.models.resolve import resolve

    try:
        answer = asdict(resolve(model, revision))
    except StokerError as error:
        answer = {"error": str(error.type), "message": error.message}
    print(json.dumps(answer))  # noqa: T201 - the answer to the CLI
    return 0


def _convert(command: str, source: Path, folder: Path) -> int:
    from stoker_workers.models import ctranslate2, gguf

    convert = gguf.convert if command == "convert-gguf" else ctranslate2.convert
    convert(source, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
