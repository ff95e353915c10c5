"""The command line as a person and a script use it, against a running worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis

from stoker import Client, State, TextClassification
from stoker_config import keys
from stoker_config.serving import ModelState, Registry, Serving
from stoker_tasks.catalog import CATALOG
from tests.support.serving import serving
from tests.support.until import until
from tests.support.worker import ROOT, Worker, environment

STOKER = [sys.executable, "-m", "stoker.cli.main"]


class Cli:
    """Runs commands against one server."""

    def __init__(self, redis_url: str) -> None:
        self.environment = environment(redis_url)

    def __call__(
        self, *arguments: str, stdin: str | bytes = b""
    ) -> "subprocess.CompletedProcess[str]":
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        done = subprocess.run(
            [*STOKER, *arguments],
            input=data,
            capture_output=True,
            env=self.environment,
            cwd=ROOT,
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(
            arguments, done.returncode, done.stdout.decode(), done.stderr.decode()
        )


@pytest.fixture
def cli(redis_url: str) -> Cli:
    return Cli(redis_url)


def on_terminal(
    cli: Cli, *arguments: str, stdin: str = "", stdout: int | None = None
) -> "tuple[subprocess.CompletedProcess[bytes], str]":
    """Run a command whose standard error is a terminal, and its output too if it goes nowhere else.

    Returns:
        What came of it, and what the terminal showed.
    """
    ours, theirs = os.openpty()
    with ThreadPoolExecutor(1) as threads:
        # A terminal holds a few thousand bytes: who writes more waits for a reader.
        shown = threads.submit(read_all, ours)
        try:
            done = subprocess.run(
                [*STOKER, *arguments],
                input=stdin.encode(),
                stdout=theirs if stdout is None else stdout,
                stderr=theirs,
                env={**cli.environment, "TERM": "xterm", "COLUMNS": "80"},
                cwd=ROOT,
                timeout=60,
                check=False,
            )
        finally:
            os.close(theirs)
        return done, shown.result(30).decode()


def read_all(terminal: int) -> bytes:
    """Read until nobody has the terminal's other end any more, and close it."""
    pieces = []
    with suppress(OSError):  # as Linux tells the end of a terminal
        while piece := os.read(terminal, 4096):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces)


def lines_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def jsonl(jobs: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(job) + "\n" for job in jobs)


def test_one_job_for_a_person(cli: Cli, fake_worker: Worker) -> None:
    done = cli("submit", "text-classification", "--inputs", "one two", "--wait")

    assert json.loads(done.stdout) == [{"label": "one two", "score": 1.0}]
    assert "fake@local" in done.stderr
    assert "batch of 1" in done.stderr
    assert done.returncode == 0


def test_a_translation_is_named_with_its_languages(cli: Cli, fake_worker: Worker) -> None:
    done = cli("submit", "translation_en_to_fr", "--inputs", "one two", "--wait", "--json")

    assert json.loads(done.stdout)["task"] == "translation"
    assert done.returncode == 0


def test_an_id_is_printed_alone_and_can_be_waited_for(cli: Cli, fake_worker: Worker) -> None:
    job_id = cli("submit", "sentiment-analysis", "--inputs", "later").stdout.strip()

    waited = cli("wait", job_id, "--timeout", "20", "--json")
    stands = cli("status", job_id)

    [line] = lines_of(waited.stdout)
    assert (line["id"], line["status"]) == (job_id, "succeeded")
    assert line["output"][0]["label"] == "later"
    assert waited.returncode == 0
    assert stands.stdout.split() == [job_id, "succeeded"]


def test_many_jobs_come_back_in_order_and_a_bad_line_spoils_only_itself(
    cli: Cli, fake_worker: Worker, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.jsonl"
    jobs = [{"inputs": f"sleep=0.2 {n}" if n == 0 else f"row {n}"} for n in range(4)]
    text = jsonl(jobs) + '{"inputs": \n\n{"input": "x"}\n["x"]\n' + jsonl([{"inputs": "last"}])
    file.write_text(text + '{"inputs": "bad"}')

    done = cli("submit", "text-classification", "--file", str(file), "--wait")

    lines = lines_of(done.stdout)
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert [line["status"] for line in lines] == ["succeeded"] * 4 + ["failed"] * 3 + [
        "succeeded",
        "failed",
    ]
    assert [line["output"][0]["label"] for line in lines[:4]] == [job["inputs"] for job in jobs]
    not_json, unknown_field, no_object = (line["message"] for line in lines[4:7])
    assert not_json.startswith("line 5: not JSON")
    assert "input: unknown field; a job has inputs, model" in unknown_field
    assert no_object.startswith("line 8: not a JSON object")
    assert all("id" not in line for line in lines[4:7])
    assert lines[-1]["error"] == "invalid_input"
    assert done.returncode == 1


def test_jobs_from_standard_input_share_model_and_parameters(
    cli: Cli, client: Client, fake_worker: Worker
) -> None:
    own = {"inputs": "a", "parameters": {"top_k": 5}, "priority": "high", "metadata": {"n": "1"}}
    common = ["--model", "some", "--param", "function_to_apply=none", "--param", "top_k=2"]

    done = cli("submit", "text-classification", "-", *common, stdin=jsonl([own, {"inputs": "b"}]))

    handles = [client.handle(line["id"]) for line in lines_of(done.stdout)]
    results = [handle.result(timeout=10) for handle in handles]
    assert [result.output[0]["label"] for result in results] == ["a", "b"]
    assert results[0].metadata == {"n": "1"}
    assert done.returncode == 0


def test_on_a_terminal_a_bar_shows_how_far_it_is(
    cli: Cli, fake_worker: Worker, tmp_path: Path
) -> None:
    jobs = jsonl([{"inputs": f"sleep=0.1 {n}"} for n in range(8)])

    done, shown = on_terminal(
        cli,
        *("submit", "text-classification", "-", "--wait"),
        stdin=jobs,
        stdout=subprocess.PIPE,
    )

    assert done.returncode == 0, shown
    assert len(done.stdout.splitlines()) == 8
    assert "/8" in shown
    # The bar is taken away when it is no longer needed.
    assert shown.rstrip().endswith("\x1b[2K")


def test_a_result_on_a_terminal_comes_after_the_bar(cli: Cli, fake_worker: Worker) -> None:
    done, shown = on_terminal(
        cli, "submit", "text-classification", "--inputs", "two words", "--wait"
    )

    assert done.returncode == 0, shown
    bar, _, result = shown.rpartition("\x1b[2K")
    assert "1/1" in bar
    assert "two words" not in bar
    assert "two words" in result


def test_a_job_that_fails_gives_one_line_and_exit_code_1(cli: Cli, fake_worker: Worker) -> None:
    done = cli("submit", "text-classification", "--inputs", "bad", "--wait")

    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "failed: invalid_input: the word bad is not taken" in done.stderr
    assert done.returncode == 1


def test_a_file_is_read_for_a_task_that_takes_one(
    cli: Cli, client: Client, fake_worker: Worker, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(os.urandom(200_000))

    done = cli("submit", "image-classification", "--inputs", f"@{picture}")

    assert done.returncode == 0, done.stderr
    assert client.status(done.stdout.strip()).state is not State.UNKNOWN


def test_nobody_serves_it(cli: Cli, fake_worker: Worker) -> None:
    inputs = ["submit", "text-classification", "--inputs", "x", "--pool", "elsewhere"]

    refused = cli(*inputs)
    forced = cli(*inputs, "--allow-unserved", "--wait", "--timeout", "2")

    assert refused.returncode == 1
    assert refused.stderr.startswith("stoker: unserved: no worker has served the pool elsewhere")
    assert refused.stderr.strip().endswith("submit with --allow-unserved")
    assert "waiting: no worker serves the pool elsewhere" in forced.stderr
    assert "not finished within 2 s: 1 of 1 jobs go on; `stoker wait " in forced.stderr
    assert forced.returncode == 3


def test_no_redis_is_one_line_without_the_password(cli: Cli) -> None:
    cli.environment["STOKER_REDIS_URL"] = "redis://:secret@127.0.0.1:1/0"

    done = cli("submit", "text-classification", "--inputs", "x")

    assert done.stderr.startswith("stoker: no Redis server answers at redis://127.0.0.1:1/0:")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1


def test_a_wrong_setting_is_one_line_that_names_it(cli: Cli) -> None:
    cli.environment["STOKER_WINDOW"] = "many"

    done = cli("status", "x")

    assert done.stderr.startswith("stoker: STOKER_WINDOW: ")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1


def test_cancel_has_four_answers(cli: Cli, client: Client, fake_worker: Worker) -> None:
    done = client.submit(TextClassification(inputs="done"))
    done.result(timeout=10)
    running = client.submit(TextClassification(inputs="sleep=60"))
    deadline = time.monotonic() + 10
    while running.status().state is not State.RUNNING and time.monotonic() < deadline:
        time.sleep(0.01)
    queued = client.submit(TextClassification(inputs="later"))

    answered = cli("cancel", queued.id, running.id, "--json")
    finished = cli("cancel", done.id)
    unknown = cli("cancel", "no-such-job", done.id)

    assert [line["answer"] for line in lines_of(answered.stdout)] == ["canceled", "canceling"]
    assert answered.returncode == 0
    assert finished.stdout == f"{done.id}  already_finished: its result stands\n"
    assert finished.returncode == 4
    assert "not_found" in unknown.stdout
    assert unknown.returncode == 5


def test_a_job_that_is_late_is_run_again(cli: Cli, fake_worker: Worker) -> None:
    late = cli(
        *("submit", "text-classification", "--inputs", "steps=0.6", "--run-timeout", "0.2"),
        *("--wait", "--json"),
    )
    [result] = lines_of(late.stdout)
    again = cli("retry", result["id"], "no-such-job", "--json")
    stands = cli("status", result["id"], "--json")

    assert (result["status"], result["error"]) == ("expired", "run_timeout")
    assert late.returncode == 1
    answers = [line["answer"] for line in lines_of(again.stdout)]
    assert answers == ["retrying", "not_found"]
    assert again.returncode == 5
    [status] = lines_of(stands.stdout)
    assert status["state"] in ("queued", "running", "expired")
    assert status["queued_at"] > result["times"]["finished_at"]


def test_ctrl_c_ends_the_wait_and_not_the_job(
    cli: Cli, client: Client, fake_worker: Worker, redis_url: str
) -> None:
    handle = client.submit(TextClassification(inputs="sleep=60"))
    until(lambda: handle.status().state is State.RUNNING)
    # A shell's background job ignores Ctrl-C, and all that it starts would do so as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        waiting = subprocess.Popen(
            [*STOKER, "wait", handle.id], env=cli.environment, cwd=ROOT, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        with redis.Redis.from_url(redis_url) as server:
            # It waits once it has asked the server to be told.
            until(lambda: server.pubsub_numsub(keys.result(handle.id))[0][1] == 1, seconds=30)
        time.sleep(0.5)
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=30)
    finally:
        waiting.kill()
        waiting.wait()

    assert f"interrupted: 1 of 1 jobs go on; `stoker wait {handle.id}`" in said.decode()
    assert waiting.returncode == 130
    assert handle.status().state is State.RUNNING


def test_unknown_jobs_are_told_from_waiting_ones(cli: Cli, fake_worker: Worker) -> None:
    stands = cli("status", "no-such-job", "--json")
    waited = cli("wait", "no-such-job")

    [said] = lines_of(stands.stdout)
    assert (said["id"], said["state"], said["terminal"]) == ("no-such-job", "unknown", False)
    assert stands.returncode == waited.returncode == 5
    assert waited.stderr == (
        "stoker: no-such-job: no job has this ID, or no worker has received it yet\n"
    )


def test_a_dead_letter_is_looked_at_and_dropped(cli: Cli, client: Client, redis_url: str) -> None:
    job = TextClassification(inputs="my secret", model="m", tenant="t")
    job_id = client.submit(job, allow_unserved=True).id
    with redis.Redis.from_url(redis_url) as server:
        [message] = server.lrange(keys.queue("stoker", 3, keys.PRIORITY_STEPS), 0, -1)
        server.hset(keys.DEAD, job_id, message)

    shown = cli("dead", "show", job_id)
    assert lines_of(shown.stdout) == [{"id": job_id, "model": "m", "tenant": "t"}]
    [whole] = lines_of(cli("dead", "show", job_id, "--everything").stdout)
    assert whole["inputs"] == "my secret"
    assert cli("dead", "discard", job_id).stdout == f"{job_id} discarded\n"
    for gone in (cli("dead", "show", job_id), cli("dead", "discard", job_id)):
        assert gone.returncode == 5
        assert gone.stderr == f"stoker: there is no dead letter {job_id}\n"
    assert client.dead_letter(job_id) is None


def test_tasks_are_listed_for_people_and_machines(cli: Cli) -> None:
    listed = cli("tasks")
    described = json.loads(cli("tasks", "ner", "--json").stdout)

    assert all(task in listed.stdout for task in CATALOG)
    assert described["example"] in cli("tasks", "ner").stdout
    assert described["task"] == "token-classification"
    assert {each["name"] for each in described["parameters"]} == set(
        CATALOG["token-classification"].parameters
    )


def test_doctor_tells_what_is_there(cli: Cli, fake_worker: Worker) -> None:
    done = cli("doctor", "--json")

    told = json.loads(done.stdout)
    found = {check["name"]: check for check in told["checks"]}
    assert told["ok"]
    assert done.returncode == 0
    assert found["Redis"]["state"] == "ok"
    able = [task for task, spec in CATALOG.items() if all(map(find_spec, spec.needs))]
    assert found["worker"]["found"].startswith(f"{len(able)} of {len(CATALOG)} tasks")
    # Really imported, in a process of their own.
    assert "scipy" in found["optional parts"]["found"]
    assert "cpu (" in found["devices"]["found"]
    assert "w1@test on fake, pools default" in found["workers"]["found"]


def test_doctor_fails_without_redis_and_says_what_to_do(cli: Cli) -> None:
    cli.environment["STOKER_REDIS_URL"] = "redis://127.0.0.1:1/0"
    # Parts that are barred are reported as missing, and torch is not looked for any further.
    cli.environment["STOKER_DEVICE"] = "cuda:99"

    done = cli("doctor")

    assert "✗ Redis: not reached" in done.stdout
    assert "→ no Redis server answers at redis://127.0.0.1:1/0: is it running?" in done.stdout
    assert "→ STOKER_DEVICE is cuda:99, which is not here: a worker will not start" in done.stdout
    assert done.returncode == 1


def test_a_worker_is_checked_by_its_name(cli: Cli, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        registry = Registry(server)

        def checked(name: str = "w1@test", ready: bool = True, ailing: str = "") -> tuple[int, str]:
            registry.announce(serving(ready=ready, ailing=ailing))
            done = cli("models", "check", name)
            return done.returncode, done.stdout + done.stderr

        assert checked() == (0, "w1@test is well\n")
        assert checked(ready=False) == (1, "stoker: w1@test still loads its first models\n")
        assert checked(ailing="it died") == (1, "stoker: w1@test is not well: it died\n")
        assert checked("w2@test")[0] == 1
        assert cli("models", "check").returncode == 2


def test_what_a_workers_device_has_done_is_shown(cli: Cli, redis_url: str) -> None:
    meter = {
        "batches": 40,
        "rows": 366,
        "tokens": 4230,
        "padded_tokens": 4500,
        "busy_s": 12.345,
        "idle_with_work_s": 0.25,
        "released_drained": 30,
        "released_rows": 10,
    }
    state = ModelState(
        model="org/name@local",
        name="",
        task="fill-mask",
        state="warm",
        step="",
        memory=0,
        used=time.time(),
        pinned=False,
    )
    worker = Serving(
        worker="w1@test",
        pools=("default",),
        tasks=(),
        defaults={},
        models=(),
        warm=(),
        device="cpu",
        states=(state,),
        meter=meter,
    )
    with redis.Redis.from_url(redis_url) as server:
        Registry(server).announce(worker)
        # One that has done nothing yet has nothing to show.
        Registry(server).announce(replace(worker, worker="w2@test", meter={"batches": 0}))

    shown = cli("models").stdout.splitlines()
    lines = [json.loads(line) for line in cli("models", "--json").stdout.splitlines()]

    assert shown[:2] == [
        "w1@test on cpu, pool default",
        "  40 batches of 9.2 rows, padding efficiency 0.94, busy 12.3 s, idle with work 0.2 s",
    ]
    assert shown[2].split() == ["model", "task", "state", "memory", "last", "use"]
    assert sum("batches" in line for line in shown) == 1
    assert [line["meter"] for line in lines] == [meter, {"batches": 0}]
