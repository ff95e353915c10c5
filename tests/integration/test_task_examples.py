"""The example of each task, as `stoker tasks NAME` prints it, is a job that a real worker runs."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest
from jsonschema import Draft202012Validator

from stoker import Client, Success
from stoker.cli.tasks import example_command
from stoker_tasks.catalog import CATALOG
from stoker_tasks.schema import output_schema
from stoker_tasks.spec import TaskSpec
from tests.parity.cases import CASES
from tests.support.worker import ROOT, Worker, environment, model_worker
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

SECONDS: Final = 120.0
# What needs a part that is not installed here: `with_torchvision.py` runs mask-generation's.
SPECS = [spec for spec in CATALOG.values() if all(map(find_spec, spec.needs))]
# The tiny model for it reads 64 tokens only, and the example has more.
LONG: Final = "summarization"


@pytest.fixture(scope="module")
def real_worker(
    module_redis: str, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A worker that has a model for each task, and loads it when the first job comes."""
    folder = tmp_path_factory.mktemp("worker")
    file = folder / "models.toml"
    lines = []
    for spec in SPECS:
        model = tiny(next(case.model for case in CASES if case.task == spec.name))
        if spec.name == LONG:
            model = _reading_more(model, folder / LONG)
        lines += [f'[models."{spec.name}"]', f"model = {json.dumps(model)}"]
        lines += [f'tasks = ["{spec.name}"]', "default = true"]
    file.write_text("\n".join(lines))
    with model_worker(module_redis, folder, models_file=file, batch_tokens=4096) as running:
        yield running


def _reading_more(model: str, folder: Path) -> str:
    """Copy a model that knows no places of tokens, and let it read more of them."""
    shutil.copytree(model, folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 512}))
    return str(folder)


def shell(script: str, redis_url: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script as a person would who has the command on their PATH."""
    stoker = folder / "stoker"
    command = shlex.join([sys.executable, "-m", "stoker.cli.main"])
    stoker.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    stoker.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        env={**environment(redis_url), "PATH": f"{folder}:{os.environ['PATH']}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.usefixtures("real_worker")
def test_the_examples_of_all_tasks_run_as_printed(
    module_client: Client, module_redis: str, tmp_path: Path
) -> None:
    # All are submitted before the first is waited for.
    script = "\n".join(example_command(spec).removesuffix(" --wait") for spec in SPECS)

    done = shell(script, module_redis, tmp_path)

    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    ids = [json.loads(each)["id"] if each.startswith("{") else each for each in printed]
    results = [module_client.wait(job_id, SECONDS) for job_id in ids]
    for spec, result in zip(SPECS, results, strict=True):
        assert isinstance(result, Success), (spec.name, result)
        assert result.task == spec.name
        Draft202012Validator(output_schema(spec)).validate(result.output)
        assert all(module_client.artifact(each.uri) for each in result.artifacts)


@pytest.mark.usefixtures("real_worker")
@pytest.mark.parametrize(
    "spec", [s for s in CATALOG.values() if s not in SPECS], ids=lambda each: each.name
)
def test_an_example_whose_part_is_missing_is_refused_at_submit(
    spec: TaskSpec, module_redis: str, tmp_path: Path
) -> None:
    done = shell(example_command(spec), module_redis, tmp_path)

    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["error"] == "unserved"
    assert told["message"].startswith(f"no worker of the pool default serves {spec.name}; served")
