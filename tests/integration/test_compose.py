"""docker-compose.yml: valid, closed, and each of its services runs as written, outside Docker."""

import base64
import json
import re
import signal
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement

from stoker import Client, Failure, FeatureExtraction
from stoker.local.ports import free_port
from stoker_workers.broker import step
from tests.support import compose, dockerfile
from tests.support.compose import Service
from tests.support.worker import ROOT

PASSWORD = "a1b2c3d4e5f6"
VARIABLES = {
    "STOKER_REDIS_PASSWORD": PASSWORD,
    "FLOWER_BASIC_AUTH": f"operator:{PASSWORD}",
    "STOKER_GPU_DEVICE": "auto",
}
START_SECONDS = 60.0


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose.load(VARIABLES)["services"]
    return found


def test_it_is_valid_by_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec/compose-spec.json").read_text())
    loaded = compose.load(VARIABLES)

    Draft202012Validator(schema).validate(loaded)

    # The schema lets any service through that has no field it does not know: is it one at all?
    assert set(loaded["services"]) == {"redis", "worker-gpu", "worker-cpu", "courier", "flower"}
    for name, service in loaded["services"].items():
        assert set(service.get("depends_on", ())) <= set(loaded["services"]), name
        used = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        files = {each for each in used if each.startswith(".")}
        assert used - files <= set(loaded["volumes"]), name
        assert all((ROOT / each).is_file() for each in files), name


@pytest.mark.parametrize("missing", ["STOKER_REDIS_PASSWORD", "FLOWER_BASIC_AUTH"])
def test_nothing_starts_without_a_password(missing: str) -> None:
    with pytest.raises(compose.Unset, match=f"{missing}: set it in .env"):
        compose.load({**VARIABLES, missing: ""})


def test_the_example_of_an_env_file_names_each_variable() -> None:
    named = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    used = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())

    assert set(named) == set(used)


def test_passwords_are_in_no_argument_and_ports_on_loopback(services: dict[str, Any]) -> None:
    for service in services.values():
        assert PASSWORD not in json.dumps([service["command"], service["healthcheck"]])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_a_service_restarts_and_may_finish_its_batch(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        if name.startswith("worker"):
            assert compose.seconds(service["stop_grace_period"]) > step._STOP_SECONDS


def test_workers_read_the_models_file_that_is_named() -> None:
    services = compose.load({**VARIABLES, "STOKER_MODELS_FILE": "./mine.toml"})["services"]
    for name in ("worker-gpu", "worker-cpu"):
        at = services[name]["environment"]["STOKER_MODELS_FILE"]
        assert f"./mine.toml:{at}:ro" in services[name]["volumes"]


def test_only_the_gpu_worker_wants_a_gpu(services: dict[str, Any]) -> None:
    [device] = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert compose.load({**VARIABLES, "STOKER_GPU_DEVICE": ""})["services"]["worker-gpu"][
        "environment"
    ]["STOKER_DEVICE"] == ("cuda:0")
    assert services["worker-cpu"]["profiles"] == ["cpu"]
    assert not any(
        "deploy" in services[name] for name in ("worker-cpu", "redis", "courier", "flower")
    )


# -- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("workers/Dockerfile", ""),
        ("producers/Dockerfile", "producer"),
        ("producers/Dockerfile", "monitor"),
        ("producers/Dockerfile", "courier"),
    ],
)
def test_an_image_is_built_from_what_is_there_and_runs_as_nobody_special(
    path: str, name: str
) -> None:
    stage = dockerfile.read(path)[name]

    for copied in stage.named("COPY"):
        *sources, _ = copied.split()
        assert all(dockerfile.in_build_context(source) for source in sources), copied
    assert stage.named("ADD") == []
    assert stage.named("USER") == ["stoker"]
    order = [each.name for each in stage.instructions]
    assert order.index("USER") > max(at for at, each in enumerate(order) if each == "RUN")


def test_images_of_compose_are_built_from_these_files(services: dict[str, Any]) -> None:
    for service in services.values():
        if "build" in service:
            stages = dockerfile.read(service["build"]["dockerfile"])
            target = service["build"].get("target", "")
            assert target in stages
            declared = {each.partition("=")[0] for each in stages[target].named("ARG")}
            assert set(service["build"].get("args", ())) <= declared


@pytest.mark.parametrize(
    ("path", "stage", "has_torch"),
    [
        ("producers/Dockerfile", "producer", False),
        ("producers/Dockerfile", "monitor", False),
        ("producers/Dockerfile", "courier", False),
        ("workers/Dockerfile", "", True),
    ],
)
def test_only_the_workers_image_has_torch(path: str, stage: str, has_torch: bool) -> None:
    runs = dockerfile.read(path)[stage].named("RUN")
    [install] = [run for run in runs if re.search(r"pip install .*'?\.(\[|$)", run)]
    extras = re.findall(r"\.\[([\w,]+)\]", install)

    packages = everything_needed(set(extras[0].split(",")) if extras else set())

    assert ("torch" in packages) is has_torch
    assert "celery" in packages
    # Whatever a job or the models file asks of a worker is in its image.
    parts = {"pandas", "sentencepiece", "pytesseract", "peft", "torchao", "bitsandbytes", "gguf"}
    assert packages & parts == (parts if has_torch else set())


def everything_needed(extras: set[str]) -> set[str]:
    """Give the packages that an install of this project with extras brings, as far as is known."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    found: set[str] = set()
    left = [Requirement(each) for each in wanted]
    while left:
        requirement = left.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            further = [Requirement(each) for each in requires(requirement.name) or ()]
        except PackageNotFoundError:
            continue
        asked = requirement.extras or {""}
        left += [
            each
            for each in further
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in asked)
        ]
    return found


# -- services --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replaced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    redis = free_port()
    return {
        "@redis:6379": f"@127.0.0.1:{redis}",
        "6379": str(redis),
        "0.0.0.0": "127.0.0.1",
        "/data": str(tmp_path_factory.mktemp("data")),
        "/etc/stoker": str(ROOT / "config"),
    }


@pytest.fixture(scope="module")
def redis(
    services: dict[str, Any],
    replaced: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    service = Service(services["redis"], replaced)
    log = tmp_path_factory.mktemp("log") / "redis.log"
    with service.running(log):
        wait_until(service.is_healthy, log)
        yield service


def wait_until(so: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not so():
        assert time.monotonic() < deadline, f"it did not come to be:\n{log.read_text()}"
        time.sleep(0.1)


def test_redis_keeps_what_it_has_and_asks_for_the_password(
    services: dict[str, Any], redis: Service, replaced: dict[str, str]
) -> None:
    import redis as library

    port = int(replaced["6379"])
    with library.Redis(port=port, password=PASSWORD) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("dir") == {"dir": replaced["/data"]}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    for password in ("", "wrong"):
        stranger = {**services["redis"], "environment": {"REDISCLI_AUTH": password}}
        assert not Service(stranger, replaced).is_healthy()


@pytest.mark.parametrize("name", ["worker-gpu", "worker-cpu"])
def test_a_worker_becomes_healthy_serves_and_ends_when_asked(
    services: dict[str, Any],
    replaced: dict[str, str],
    redis: Service,
    tmp_path: Path,
    name: str,
) -> None:
    service = Service(services[name], replaced)
    log = tmp_path / "worker.log"
    # A probe waits for an answer that cannot come yet.
    assert not Service(services[name], {**replaced, "--timeout 10": "--timeout 1"}).is_healthy()
    with (
        service.running(log) as process,
        Client(service.environment["STOKER_REDIS_URL"]) as client,
    ):
        wait_until(lambda: bool(client.workers()), log)
        wait_until(service.is_healthy, log)

        job = client.submit(FeatureExtraction(inputs="x", model="no-such-model"))
        result = job.wait(timeout=30)
        process.send_signal(signal.SIGTERM)

        assert isinstance(result, Failure)
        assert result.error == "model_load_failed"  # there is no hub to find it on
        assert process.wait(30) == 0, log.read_text()
    assert '"level": "info"' in log.read_text()


def test_a_device_that_is_not_there_is_one_clear_line(
    services: dict[str, Any], replaced: dict[str, str], redis: Service, tmp_path: Path
) -> None:
    definition = services["worker-gpu"]
    definition = {**definition, "command": [*definition["command"], "--device", "cuda:7"]}
    log = tmp_path / "worker.log"
    with Service(definition, replaced).running(log) as process:
        code = process.wait(START_SECONDS)

    assert code != 0
    # As root, Celery warns of that first.
    [line] = [line for line in log.read_text().splitlines() if "cannot start" in line]
    assert "the worker cannot start: there is no device 'cuda:7' here; there is: " in line


def test_a_courier_becomes_healthy_and_ends_when_asked(
    services: dict[str, Any], replaced: dict[str, str], redis: Service, tmp_path: Path
) -> None:
    service = Service(services["courier"], replaced)
    log = tmp_path / "courier.log"
    assert not service.is_healthy()
    with service.running(log) as process:
        wait_until(service.is_healthy, log)
        process.send_signal(signal.SIGTERM)

        assert process.wait(30) == 0, log.read_text()
    assert '"level": "info"' in log.read_text()


def test_flower_becomes_healthy_and_asks_for_the_password(
    services: dict[str, Any], replaced: dict[str, str], redis: Service, tmp_path: Path
) -> None:
    port = str(free_port())
    service = Service(services["flower"], {**replaced, "5555": port})
    url = f"http://127.0.0.1:{port}/workers"
    log = tmp_path / "flower.log"
    with service.running(log):
        wait_until(service.is_healthy, log)

        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url, timeout=10)
        token = base64.b64encode(VARIABLES["FLOWER_BASIC_AUTH"].encode()).decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
