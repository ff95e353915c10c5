"""`python -m stoker_workers`: what the CLI starts, since it never imports this side."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path


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
    commands.add_parser("doctor", help="print what this machine gives a worker, as JSON")
    convert = commands.add_parser("convert-gguf", help="turn a GGUF file into a model folder")
    convert.add_argument("source", type=Path)
    convert.add_argument("folder", type=Path)
    options = parser.parse_args(argv)
    if options.command == "convert-gguf":
        return _convert(options.source, options.folder)
    if options.command == "doctor":
        return _doctor()
    return _work(options)


def _work(options: argparse.Namespace) -> int:
    for name in ("pool", "device", "preload"):
        value = getattr(options, name)
        if value is not None:
            os.environ[f"STOKER_{name.upper()}"] = value
    # Only now: importing the app reads the settings.
    from stoker_config.settings import load_settings
    from stoker_tasks.errors import StokerError
    from stoker_tasks.wire import queue_name
    from stoker_workers.app import app

    settings = load_settings()
    name = options.name or f"{settings.pool}-{os.getpid()}@%h"
    try:
        queue = queue_name(settings.pool)
    except StokerError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the answer to whoever typed the name
        return 2
    app.worker_main(
        [
            "worker",
            *("--queues", queue),
            *("--hostname", name),
            *("--loglevel", settings.log_level),
            *("--pool", "threads", "--concurrency", "1"),
            "--without-gossip",
            "--without-mingle",
        ]
    )
    return 0


def _doctor() -> int:
    from stoker_workers.doctor import facts

    print(json.dumps(facts()))  # noqa: T201 - the answer to the CLI
    return 0


def _convert(source: Path, folder: Path) -> int:
    from stoker_workers.models.gguf import convert

    convert(source, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
