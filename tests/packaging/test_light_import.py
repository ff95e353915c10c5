"""`import stoker` is light: a web backend imports it in every process, to submit or not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What may not be there at all, and what may be there but is imported by the first call only.
HEAVY = ("torch", "transformers", "numpy", "PIL", "scipy", "soundfile", "stoker_workers")
LATER = ("celery", "kombu", "redis", "typer", "rich")
# What only who makes a client needs.
SETTINGS = "pydantic_settings"

BARRED = """
import sys

class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ImportError("barred: " + name)

sys.meta_path.insert(0, Bar())
sys.path[:0] = {folders}
{then}
print(*sorted(sys.modules))
"""


# The jobs of all tasks, made and refused for the first time by eight threads at once.
FIRST_JOBS = """
import stoker, threading
from stoker_tasks.catalog import CATALOG

sys.setswitchinterval(1e-6)
together, wrong = threading.Barrier(8), []

def make_all():
    together.wait()
    for task, spec in CATALOG.items():
        try:
            stoker.make_job(task, spec.example).model_dump(mode="json")
            stoker.make_job(task, {**spec.example, "unknown": 1})
        except stoker.errors.InvalidInput:
            continue
        except Exception as error:
            wrong.append(f"{task}: {error!r}")
        wrong.append(f"{task}: took an unknown field")

threads = [threading.Thread(target=make_all) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not wrong, wrong
"""


def modules_of(then: str, *names: str) -> set[str]:
    """Run code in an interpreter in which these modules cannot be imported; gives what is."""
    folders = [str(ROOT / name) for name in ("config", "tasks", "producers")]
    code = BARRED.format(names=set(names), folders=folders, then=then)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


def test_it_imports_where_none_of_them_is_installed() -> None:
    loaded = modules_of("import stoker", *HEAVY, *LATER)

    assert "stoker.client" in loaded
    assert not loaded & {*HEAVY, *LATER}


def test_a_typed_job_and_a_client_need_none_of_them() -> None:
    then = "from stoker import *; Client('redis://h/0'); TextClassification(inputs='x')"

    assert "stoker_tasks.text" in modules_of(then, *HEAVY, *LATER)


def test_it_imports_none_of_them_where_they_are_installed() -> None:
    loaded = modules_of("import stoker")

    assert not loaded & {*HEAVY, *LATER, SETTINGS}


def test_the_face_is_what_it_says_it_is() -> None:
    loaded = modules_of("import stoker\nfor name in stoker.__all__: assert getattr(stoker, name)")

    assert "stoker" in loaded


def test_a_client_at_work_needs_no_model_library(redis_url: str) -> None:
    then = (
        "from stoker import Client, TextClassification\n"
        f"with Client({redis_url!r}) as client:\n"
        "    job = client.submit(TextClassification(inputs='x'), allow_unserved=True)\n"
        "    assert job.status().state == 'queued'\n"
        "    assert client.cancel(job.id) == 'canceled'"
    )

    assert {"celery", "redis"} <= modules_of(then, *HEAVY)


def test_first_jobs_may_be_made_in_several_threads() -> None:
    assert "stoker_tasks.catalog" in modules_of(FIRST_JOBS)


@pytest.mark.parametrize("name", ["torch", "celery"])
def test_a_barred_module_is_really_barred(name: str) -> None:
    with pytest.raises(AssertionError, match=f"barred: {name}"):
        modules_of(f"import {name}", name)
