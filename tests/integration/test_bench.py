"""`make bench` at its smallest: that it measures, not what it measures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.worker import ROOT
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

pytestmark = pytest.mark.timeout(520)

OWN = {"Stoker", "plain Celery", "transformers.pipeline", "offline optimum"}
FOREIGN = {"celery-batches", "LitServe", "mosec", "Ray Serve"}


def bench(folder: Path, suites: str, *options: str) -> tuple[dict[str, Any], str, int]:
    """Run suites without any peer that needs an environment of its own."""
    found = folder / "found.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--quick", "--suite", suites),
            *("--json", str(found), "--picture", str(folder / "found.svg"), *options),
        ],
        cwd=ROOT,
        # Nothing is installed into this cache, and a quick run installs nothing.
        env={**os.environ, "STOKER_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert found.is_file(), done.stderr
    return json.loads(found.read_text()), done.stdout, done.returncode


def rows(found: dict[str, Any], suite: str) -> list[dict[str, Any]]:
    [report] = [each for each in found["suites"] if each["suite"] == suite]
    assert isinstance(report["rows"], list)
    return report["rows"]


def figure(row: dict[str, Any], name: str) -> float:
    return float(row["figures"][name]["median"])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """What the suites find that need no model."""
    folder = tmp_path_factory.mktemp("bench")
    found, table, code = bench(folder, "noop,backlog,poison,fairness,webhooks")
    assert code == 0, table
    return found, table, folder


def test_every_system_has_a_row_and_those_not_installed_say_so(
    found: tuple[dict[str, Any], str, Path],
) -> None:
    poison = rows(found[0], "poison")

    assert {row["system"] for row in poison} == FOREIGN | {"Stoker", "plain Celery"}
    assert {row["system"] for row in poison if not row["figures"]} == FOREIGN
    assert all("not been made" in row["note"] for row in poison if not row["figures"])


def test_no_innocent_job_fails_with_a_guilty_one(
    found: tuple[dict[str, Any], str, Path],
) -> None:
    for row in rows(found[0], "poison"):
        if row["figures"]:
            assert figure(row, "innocents lost") == figure(row, "guilty answered") == 0


def test_stoker_asks_less_of_redis_than_plain_celery(
    found: tuple[dict[str, Any], str, Path],
) -> None:
    noop = {(row["system"], row["setting"]): row for row in rows(found[0], "noop")}
    stoker = noop["Stoker", "default"]
    [plain] = [
        row for (name, words), row in noop.items() if name != "Stoker" and words[:7] == "default"
    ]

    assert figure(stoker, "Redis commands") < 5 < 13 < figure(plain, "Redis commands")
    assert figure(noop["Stoker", "Celery's tracer"], "Redis commands") < 5
    assert figure(plain, "of plain Celery") == 1
    assert figure(noop["Stoker", "Celery's tracer"], "of plain Celery") > 1


def test_many_jobs_are_submitted_faster_than_by_celerys_client_at_its_best(
    found: tuple[dict[str, Any], str, Path],
) -> None:
    submit = {row["setting"]: row for row in rows(found[0], "noop") if row["case"] == "submit"}

    best = max(submit, key=lambda setting: figure(submit[setting], "rate"))
    assert best == "submit_many"
    assert {setting for setting in submit if submit[setting]["system"] == "plain Celery"} == {
        *("one by one", "group", "Producer.batch of 500"),
    }


def test_a_quiet_model_gets_more_of_the_device_than_first_in_first_out_gives_it(
    found: tuple[dict[str, Any], str, Path],
) -> None:
    share = {
        row["setting"]: figure(row, "quiet model's share") for row in rows(found[0], "fairness")
    }

    assert share["first in, first out"] == pytest.approx(1 / 11, abs=0.02)
    assert share["batches of 8"] > 1.5 * share["first in, first out"]


def test_each_event_reaches_a_receiver_that_fails_and_hangs(
    found: tuple[dict[str, Any], str, Path],
) -> None:
    [row] = rows(found[0], "webhooks")

    assert figure(row, "delivered") == 200
    # A quarter of what is posted is not taken; on a slow machine more is posted again.
    assert 1.1 < figure(row, "posted") < 4
    [report] = [each for each in found[0]["suites"] if each["suite"] == "webhooks"]
    assert report["data"]["invalid"] == report["data"]["strange"] == report["data"]["lost"] == 0


def test_all_is_written_down(found: tuple[dict[str, Any], str, Path]) -> None:
    whole, table, folder = found

    assert [report["suite"] for report in whole["suites"]] == [
        *("noop", "backlog", "poison", "fairness", "webhooks"),
    ]
    assert whole["machine"]["cores"] == os.cpu_count()
    assert whole["machine"]["packages"]["celery"]
    assert whole["machine"]["stolen_seconds"] >= 0
    assert whole["options"]["seed"] == "7"
    grids = whole["suites"][0]["data"]["grids"]
    assert grids["plain Celery: prefetch"]["tried"].keys() == {"1", "4"}
    assert "1,000 queued" in table
    assert (folder / "found.svg").read_text().startswith("<svg")


def test_all_systems_give_the_same_vectors(tiny: TinyModel, tmp_path: Path) -> None:
    found, table, code = bench(
        tmp_path, "texts,latency", "--model", tiny("bert_encoder"), "--arrivals", "5"
    )

    assert code == 0, table
    texts = rows(found, "texts")
    assert {row["system"] for row in texts} == OWN | FOREIGN
    for row in texts:
        assert bool(row["figures"]) == (row["system"] in OWN)
        if row["figures"]:
            assert figure(row, "least cosine") >= 0.9999
        assert ("idle with work" in row["figures"]) == (row["system"] == "Stoker")
    latency = rows(found, "latency")
    assert {row["system"] for row in latency} == {"Stoker", "plain Celery"}
    assert all(figure(row, "p50") <= figure(row, "p99") for row in latency)
    [report] = [each for each in found["suites"] if each["suite"] == "latency"]
    together = report["data"]["all rounds together"]
    assert together["80% of Celery's capacity, Stoker"]["jobs"] == 5
