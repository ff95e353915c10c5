"""Models of a models file: fetched from a hub, shown, loaded and given up while jobs run."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoker import Client, Components, Failure, TextClassification, TokenClassification, errors
from stoker_config.serving import ModelState, Serving
from tests.support import hub
from tests.support.hub import Hub, Repo
from tests.support.until import until
from tests.support.worker import ROOT, Worker, environment, model_worker
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

SECONDS = 60.0
HUBBED = "org/classifier"
FILE = """
only = true

[models.sentiment]
model = "org/classifier"
default = true
preload = true

[models.tagger]
model = "{tagger}"
tasks = ["token-classification"]
memory = "1GiB"

[models.broken]
model = "{broken}"
tasks = ["text-classification"]

[models.elsewhere]
model = "org/elsewhere"
pools = ["gpu"]
preload = true
"""


@dataclass
class Running:
    """What the tests of this module share.

    Attributes:
        worker: A worker whose models are those of the file.
        hub: The hub that it fetches from.
        seen: What was announced while it fetched its first model.
    """

    worker: Worker
    hub: Hub
    seen: list[Serving]


@pytest.fixture(scope="module")
def running(
    module_redis: str, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("models")
    broken = folder / "broken"
    broken.mkdir()
    for name, data in hub.files_of(tiny("bert_classifier")).items():
        (broken / name).write_bytes(b"broken" if name == "model.safetensors" else data)
    file = folder / "models.toml"
    file.write_text(FILE.format(tagger=tiny("bert_tagger"), broken=broken))
    seen: list[Serving] = []
    with hub.running() as served, pytest.MonkeyPatch.context() as patch:
        served.repos[HUBBED] = Repo(tag="sentiment-analysis")
        served.repos[HUBBED].commit(hub.files_of(tiny("bert_classifier")))
        served.go.clear()
        patch.setenv("HF_ENDPOINT", served.url)
        patch.setenv("HF_HUB_OFFLINE", "0")
        patch.setenv("HF_HOME", str(folder / "hub"))
        watcher = threading.Thread(target=_watch, args=(module_redis, seen, served))
        watcher.start()
        with model_worker(
            module_redis,
            folder,
            models_file=file,
            batch_tokens=1024,
        ) as process:
            watcher.join()
            yield Running(process, served, seen)


def _watch(redis_url: str, seen: list[Serving], served: Hub) -> None:
    """See the worker fetch its first model, and only then let the hub send it."""
    try:
        with Client(redis_url) as client:
            until(lambda: any(each.states for each in client.workers(starting=True)), SECONDS)
            seen += client.workers(starting=True)
            assert client.workers() == []
    finally:
        served.go.set()


def stoker(redis_url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "stoker.cli.main", *arguments],
        env=environment(redis_url),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def state_of(client: Client, name: str) -> ModelState | None:
    states = [state for each in client.workers() for state in each.states]
    return next((state for state in states if state.name == name), None)


def test_loading_can_be_watched_before_the_worker_takes_jobs(running: Running) -> None:
    [serving] = running.seen
    [state] = serving.states
    assert not serving.ready
    assert (state.name, state.model, state.state) == ("sentiment", HUBBED, "loading")
    assert state.step in ("waiting", "loading", "fetching")


def test_a_listed_model_is_fetched_for_the_task_that_its_card_names(
    running: Running, module_client: Client
) -> None:
    commit = running.hub.repos[HUBBED].names["main"]
    jobs = [TextClassification(inputs="a fox", model=each) for each in (None, "sentiment", HUBBED)]

    results = [each.result(SECONDS) for each in module_client.submit_many(jobs)]

    assert {each.model for each in results} == {f"{HUBBED}@{commit}"}
    [serving] = module_client.workers()
    assert serving.ready
    assert serving.defaults == {"text-classification": "sentiment"}
    # Only those of its pool.
    assert "elsewhere" not in serving.models
    assert not [path for _, path, _ in running.hub.asked if "elsewhere" in path]


@pytest.mark.usefixtures("running")
def test_what_is_not_listed_is_refused(module_client: Client) -> None:
    with pytest.raises(errors.ModelNotAllowed, match="sentiment"):
        module_client.submit(TextClassification(inputs="a fox", model="org/other"))
    parts = Components(tokenizer="org/other")
    job = TextClassification(inputs="a fox", model="sentiment", components=parts)
    refused = module_client.submit(job).wait(SECONDS)
    assert isinstance(refused, Failure)
    assert refused.error == "model_not_allowed"
    assert "components.tokenizer names another" in refused.message


@pytest.mark.usefixtures("running")
def test_a_model_that_cannot_be_loaded_fails_its_jobs_and_no_others(module_client: Client) -> None:
    names = ("broken", "sentiment", "broken", "tagger")
    jobs = [
        (TokenClassification if name == "tagger" else TextClassification)(
            inputs="alice lives in paris", model=name
        )
        for name in names
    ]

    results = [each.wait(SECONDS) for each in module_client.submit_many(jobs)]

    assert [each.status for each in results] == ["failed", "succeeded", "failed", "succeeded"]
    for each in results:
        if isinstance(each, Failure):
            assert each.error == "model_load_failed"
            assert "could not be loaded" in each.message


@pytest.mark.usefixtures("running")
def test_models_are_loaded_shown_and_given_up_on_command(
    module_redis: str, module_client: Client
) -> None:
    loaded = stoker(module_redis, "models", "preload", "tagger")
    assert loaded.returncode == 0, loaded.stderr
    assert "w1@test: " in loaded.stdout
    assert loaded.stdout.strip().endswith("MiB")

    shown = stoker(module_redis, "models")
    lines = stoker(module_redis, "models", "--json").stdout.splitlines()
    states = {each["name"]: each for each in map(json.loads, lines)}
    assert shown.stdout.startswith("w1@test on cpu, pool default\n")
    assert "tagger (" in shown.stdout
    assert states["tagger"]["state"] == "warm"
    assert states["tagger"]["memory"] > 50_000
    assert states["tagger"]["worker"] == "w1@test"
    assert states["sentiment"]["used"] > 1e9

    gone = stoker(module_redis, "models", "evict", "tagger")
    assert gone.stdout == "w1@test: tagger is given up when its jobs are done\n"
    until(lambda: state_of(module_client, "tagger") is None, SECONDS)
    again = stoker(module_redis, "models", "evict", "tagger")
    assert (again.returncode, again.stderr) == (
        5,
        "stoker: no worker of the pool default has tagger loaded\n",
    )
    # A job loads it again.
    job = TokenClassification(inputs="alice lives in paris", model="tagger")
    assert module_client.submit(job).result(SECONDS).model.endswith("@local")


@pytest.mark.usefixtures("running")
def test_a_command_that_a_worker_refuses_says_why(module_redis: str) -> None:
    for arguments, code, words in (
        (("preload", "broken"), 1, "could not be loaded"),
        (("preload", "org/other", "--task", "fill-mask"), 1, "model_not_allowed: w1@test: "),
        (("preload", "org/other"), 1, "say for which task org/other is to be loaded"),
        (("preload", "tagger", "--pool", "gpu"), 1, "no worker serves the pool gpu"),
    ):
        done = stoker(module_redis, "models", *arguments)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr


@pytest.mark.usefixtures("running")
def test_the_task_of_a_model_is_told(tmp_path: Path) -> None:
    # The module's environment leads to the hub of this machine.
    tagged = stoker("redis://nowhere", "tasks", "--model", HUBBED)
    assert tagged.stdout == "text-classification (the hub's pipeline_tag)\n"
    (tmp_path / "config.json").write_text('{"architectures": ["XLMWithLMHeadModel"]}')
    either = stoker("redis://nowhere", "tasks", "--model", str(tmp_path))
    assert (either.returncode, either.stdout) == (1, "")
    assert "name one of fill-mask, text-generation" in either.stderr
