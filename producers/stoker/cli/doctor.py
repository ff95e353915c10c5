"""The command `doctor`: what is there, what is missing, and what to do about it."""

import json
import platform
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from shutil import which
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Console

from stoker.cli.exits import Exit, in_words, without_password
from stoker.local.errors import MissingExtra
from stoker.local.extras import require
from stoker.local.parts import PIPELINES, Tried, try_parts
from stoker.local.redis_server import OLDEST, installed_redis_server, server_version
from stoker_config.settings import Settings, load_settings
from stoker_tasks.catalog import CATALOG
from stoker_tasks.parts import PARTS

OLDEST_PYTHON: Final = (3, 11)
# What a worker needs for every task; a task's spec names what it needs beyond.
_WORKER: Final = ("torch", "transformers", "safetensors", "huggingface_hub", "numpy")
_OTHER_EXTRAS: Final = {
    "monitor": "Flower, Celery's monitor",
    "demo": "the chat model of `stoker demo`",
}
# Importing torch from a cold disk takes its time.
_FACTS_SECONDS: Final = 120.0
_GIB: Final = 1024**3
_SIGNS: Final = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failure": "[red]✗[/]"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one look has found.

    Attributes:
        name: What was looked at.
        state: `warning`: some things will not work; `failure`: nothing will.
        found: What is there.
        cure: What to do, where something is amiss.
    """

    name: str
    state: Literal["ok", "warning", "failure"] = "ok"
    found: str
    cure: str | None = None


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check Python, Redis, the installed parts, the devices and the workers that are alive.

    Exit codes: 0, or 1 if something is missing without which nothing works.
    """
    checks = []
    console = Console(highlight=False, soft_wrap=True)
    for check in look(load_settings()):
        checks.append(check)
        if not as_json:
            console.print(f"{_SIGNS[check.state]} [bold]{check.name}[/]: ", end="")
            console.print(check.found, markup=False)
            if check.cure:
                console.print(f"    → {check.cure}", markup=False)
    failed = any(check.state == "failure" for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    raise typer.Exit(Exit.FAILED if failed else Exit.OK)


def look(settings: Settings) -> Iterator[Check]:
    """Make all checks, one after another.

    Args:
        settings: Those of this process.

    Yields:
        What each has found.
    """
    yield _python()
    reached = yield from _redis(settings)
    if settings.apart:
        yield from _redis(settings.of_results, "Redis of results")
    yield _embedded_redis()
    yield from _worker_parts()
    yield from _other_parts()
    if find_spec("torch") and find_spec("transformers"):
        yield from _parts(try_parts([PIPELINES, *PARTS]))
        yield from _devices(settings)
    if reached:
        yield _workers(settings)


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Check(
            name="Python", state="failure", found=found, cure=f"install Python {oldest} or newer"
        )
    return Check(name="Python", found=found)


def _redis(settings: Settings, name: str = "Redis") -> Generator[Check, None, bool]:
    """Look at the server; the generator's value is whether it was reached."""
    import redis

    from stoker_config.servers import connect

    at = without_password(settings.redis)
    try:
        with connect(settings) as client:
            info = client.info()
    except redis.RedisError as error:
        yield Check(name=name, state="failure", found="not reached", cure=in_words(error))
        return False
    version = str(info["redis_version"])
    found = f"{version} at {at}"
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        cure = f"Stoker needs {OLDEST[0]}.{OLDEST[1]} or newer"
        yield Check(name=name, state="failure", found=found, cure=cure)
    elif info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        yield Check(
            name=name,
            state="warning",
            found=f"{found}, which drops keys when its memory is full "
            f"(maxmemory-policy {info.get('maxmemory_policy')})",
            cure="set maxmemory-policy noeviction: what it drops may be a queue",
        )
    else:
        yield Check(name=name, found=found)
    return True


def _embedded_redis() -> Check:
    name = "Redis of its own"
    program = installed_redis_server()
    version = program and server_version(program)
    if version:
        return Check(name=name, found=f"{version[0]}.{version[1]}: {program}")
    return Check(
        name=name,
        state="warning",
        found="none is installed",
        cure="`stoker up` and `stoker demo` need one, and fetch it where they can (Linux, x86-64); "
        "elsewhere install redis-server",
    )


def _worker_parts() -> Iterator[Check]:
    missing = [module for module in _WORKER if find_spec(module) is None]
    if missing:
        yield Check(
            name="worker",
            state="warning",
            found=f"no task can run on this machine: {', '.join(missing)} not installed",
            cure="for a worker: pip install 'stoker[worker]'; a producer needs none of it",
        )
        return
    lacking = {
        task: [module for module in spec.needs if find_spec(module) is None]
        for task, spec in CATALOG.items()
    }
    able = [task for task, modules in lacking.items() if not modules]
    found = f"{len(able)} of {len(CATALOG)} tasks can run on this machine: {', '.join(able)}"
    unable = {task: modules for task, modules in lacking.items() if modules}
    if unable:
        listed = "; ".join(f"{task} needs {', '.join(unable[task])}" for task in unable)
        modules = dict.fromkeys(module for each in unable.values() for module in each)
        packages = [PARTS[module].install if module in PARTS else module for module in modules]
        cure = f"{listed}: pip install {' '.join(packages)}"
        yield Check(name="worker", state="warning", found=found, cure=cure)
    else:
        yield Check(name="worker", found=found)


def _other_parts() -> Iterator[Check]:
    for extra, purpose in _OTHER_EXTRAS.items():
        try:
            require(extra)
        except MissingExtra:
            yield Check(
                name=extra,
                state="warning",
                found=f"not installed; it is for {purpose}",
                cure=f"pip install 'stoker[{extra}]'",
            )
        else:
            yield Check(name=extra, found=f"installed, for {purpose}")


def _parts(tried: Sequence[Tried]) -> Iterator[Check]:
    """Say which optional parts work, and what each of the others would open."""
    working = [each.module for each in tried if each.works and each.module in PARTS]
    if "pytesseract" in working and which("tesseract") is None:
        working.remove("pytesseract")
        yield Check(
            name="tesseract",
            state="warning",
            found=f"pytesseract is installed and the program is not; {_opens('pytesseract')}",
            cure="install tesseract-ocr",
        )
    yield Check(name="optional parts", found=f"{', '.join(working) or 'none'} can be imported")
    for each in tried:
        if each.works:
            continue
        if each.module not in PARTS:
            yield Check(
                name="transformers",
                state="failure",
                found=f"its pipelines cannot be imported: {each.error}",
                cure="a torchvision or torchaudio of another PyTorch breaks them: install the one "
                "that fits, or uninstall it",
            )
        elif each.installed:
            yield Check(
                name=each.module,
                state="warning",
                found=f"installed, and cannot be imported ({each.error}); {_opens(each.module)}",
                cure=f"pip install --force-reinstall {PARTS[each.module].install}, in the version "
                "that fits its neighbours, or uninstall it",
            )
        else:
            yield Check(
                name=each.module,
                state="warning",
                found=f"not installed; {_opens(each.module)}",
                cure=f"pip install {PARTS[each.module].install}",
            )


def _opens(module: str) -> str:
    """Say what a part is for: the tasks that need it, or else what else it opens."""
    tasks = [name for name, spec in CATALOG.items() if module in spec.needs]
    return f"it opens {', '.join(tasks)}" if tasks else f"it is for {PARTS[module].opens}"


def _devices(settings: Settings) -> Iterator[Check]:
    facts = _facts()
    if isinstance(facts, str):
        yield Check(
            name="devices", state="warning", found=facts, cure="python -m stoker_workers doctor"
        )
        return
    built = f"CUDA {facts['cuda']}" if facts["cuda"] else "without CUDA"
    listed = ", ".join(
        f"{each['name']}{' ' + each['model'] if each['model'] else ''}"
        f" ({each['free'] / _GIB:.1f} of {each['total'] / _GIB:.1f} GiB free)"
        for each in facts["devices"]
    )
    found = f"{listed}; torch {facts['torch']}, {built}; transformers {facts['transformers']}"
    names = {each["name"] for each in facts["devices"]}
    if settings.device not in {"auto", *names}:
        yield Check(
            name="devices",
            state="warning",
            found=found,
            cure=f"STOKER_DEVICE is {settings.device}, which is not here: a worker will not start",
        )
    else:
        yield Check(name="devices", found=found)


def _facts() -> dict[str, Any] | str:
    """Ask another process, since this side never imports torch; gives words where it fails."""
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "stoker_workers", "doctor"],
            capture_output=True,
            text=True,
            timeout=_FACTS_SECONDS,
            check=True,
        )
        facts: dict[str, Any] = json.loads(answer.stdout)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"torch cannot be used: {last}"
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return f"torch could not be asked: {type(error).__name__}"
    return facts


def _workers(settings: Settings) -> Check:
    from stoker.client import Client

    with Client(settings=settings) as client:
        workers = client.workers()
    if not workers:
        return Check(
            name="workers",
            state="warning",
            found="none is alive: submitted jobs wait or are refused",
            cure="`stoker worker` starts one",
        )
    listed = [
        f"{each.worker} on {each.device}, pools {', '.join(each.pools)}, {len(each.tasks)} tasks"
        + "".join(f", {task} by {model}" for task, model in each.defaults.items())
        for each in workers
    ]
    return Check(name="workers", found="; ".join(listed))
