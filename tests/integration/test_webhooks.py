"""A job's end reaches its receiver, signed; and people can see what was told, and tell it again."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Judge

from stoker import Client, TextClassification, Webhook
from stoker_tasks.event import event_id
from stoker_tasks.signature import new_secret
from tests.support.courier import courier
from tests.support.receiver import Posted, Receiver, Reply, receiver
from tests.support.until import until
from tests.support.worker import ROOT, environment

pytestmark = pytest.mark.usefixtures("module_worker")

TENANT = new_secret()
DEFAULT = new_secret()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secrets") / "secrets.json"
    file.write_text(json.dumps({"tenant-a": TENANT}))
    return file


@pytest.fixture(scope="module")
def log(
    module_redis: str, secrets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A courier for the module; gives its log."""
    folder = tmp_path_factory.mktemp("courier")
    with courier(
        module_redis, folder, webhook_secret=DEFAULT, webhook_secrets=secrets, log_level="debug"
    ) as found:
        yield found


@pytest.fixture
def here() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def stoker(module_redis: str, secrets: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The command `stoker`."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "stoker.cli.main", *arguments],
            cwd=ROOT,
            env=environment(module_redis, webhook_secrets=secrets),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def job(url: str, **webhook: Any) -> TextClassification:
    return TextClassification(inputs="hello", webhook=Webhook(url=url, **webhook))


def delivered(client: Client, event: str) -> bool:
    found = client.webhooks.get(event)
    return found is not None and found.state == "delivered"


@pytest.mark.usefixtures("log")
def test_start_and_end_of_a_job_are_told_in_signed_events(
    module_client: Client, here: Receiver
) -> None:
    both: Any = ("job.started", "job.completed")
    plain = module_client.submit(job(here.url))
    tenant = module_client.submit(job(here.url, events=both, secret="tenant-a"))
    until(lambda: len(here.got) == 3)

    bodies = {}
    for posted in here.got:
        secret = DEFAULT if posted.id == event_id(plain.id, "job.completed") else TENANT
        bodies[posted.id] = Judge(secret).verify(posted.body, posted.headers)
    assert bodies[event_id(tenant.id, "job.started")]["data"]["state"] == "running"
    for handle in (plain, tenant):
        body = bodies[event_id(handle.id, "job.completed")]
        assert body["data"]["id"] == handle.id
        assert body["data"]["result"]["output"] == handle.result().output


@pytest.mark.usefixtures("log")
def test_an_event_can_be_seen_and_told_again(module_client: Client, here: Receiver) -> None:
    events = module_client.webhooks
    handle = module_client.submit(job(f"{here.url}?token=s3cr3t"))
    event = event_id(handle.id, "job.completed")
    until(lambda: delivered(module_client, event))

    found = events.get(event)
    assert found is not None
    assert (found.job, found.type, found.tries, found.next) == (handle.id, "job.completed", 1, None)
    assert found.url == f"{here.url}?token=s3cr3t"
    assert "s3cr3t" not in repr(found)
    assert [(each.status, each.error) for each in found.attempts] == [(204, None)]
    assert [each.id for each in events.list(job=handle.id)] == [event]
    assert event in [each.id for each in events.list(state="delivered")]
    assert event not in [each.id for each in events.list(state="dead")]

    assert events.replay(event) == 1
    until(lambda: len(here.of(event)) == 2 and delivered(module_client, event))
    first, second = here.of(event)
    assert first.body == second.body
    later = events.get(event)
    assert later is not None
    assert len(later.attempts) == 2
    assert events.replay("evt_none") == 0
    assert events.get("evt_none") is None


@pytest.mark.usefixtures("log")
def test_a_range_of_dead_letters_is_told_again_after_its_endpoint_is_enabled(
    module_client: Client, stoker: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    mended = False

    def answer(_: Posted) -> Reply:
        return Reply(200 if mended else 410)

    events = module_client.webhooks
    with receiver(answer) as gone:
        began = datetime.now(UTC) - timedelta(seconds=5)
        ids = []
        for _ in range(3):
            handle = module_client.submit(job(gone.url))
            ids.append(event_id(handle.id, "job.completed"))
            until(lambda: ids[-1] in [each.id for each in events.list(state="dead")])
        assert list(events.disabled()) == [gone.url]
        assert {each.why for each in events.list(state="dead")} == {"gone", "disabled"}
        assert gone.url in stoker("webhooks", "disabled").stdout

        mended = True
        assert stoker("webhooks", "enable", f"{gone.url}?x=1").returncode == 0
        assert stoker("webhooks", "enable", gone.url).returncode == 5
        since = began.strftime("%Y-%m-%dT%H:%M:%S")
        replayed = stoker("webhooks", "replay", "--since", since)
        assert replayed.stdout == "3 events are posted again\n", replayed.stderr
        until(lambda: all(delivered(module_client, event) for event in ids))
    assert events.disabled() == {}
    assert events.replay(since=began) == 0


@pytest.mark.usefixtures("log")
def test_the_command_line_shows_events_and_keeps_tokens_to_itself(
    module_client: Client,
    here: Receiver,
    stoker: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    handle = module_client.submit(job(f"{here.url}?token=s3cr3t"))
    event = event_id(handle.id, "job.completed")
    until(lambda: delivered(module_client, event))

    submitted = stoker("submit", "fill-mask", "--inputs", "a [MASK]", "--webhook", here.url)
    until(lambda: here.of(event_id(submitted.stdout.strip(), "job.completed")))
    listed = stoker("webhooks", "list", "--job", handle.id, "--json")
    shown = stoker("webhooks", "show", event)

    [line] = map(json.loads, listed.stdout.splitlines())
    assert (line["id"], line["state"], line["origin"]) == (event, "delivered", here.url[:-5])
    assert "s3cr3t" not in listed.stdout
    assert "attempt" in shown.stdout
    assert "204" in shown.stdout
    assert stoker("webhooks", "show", "evt_none").returncode == 5
    assert stoker("webhooks", "replay").returncode == 2
    assert stoker("webhooks", "check").returncode == 0


def test_secrets_are_made_listed_and_retired_on_the_command_line(
    stoker: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    first, second = (stoker("webhooks", "secret", "add", "shop").stdout.strip() for _ in "ab")
    listed = stoker("webhooks", "secret", "list").stdout

    assert first.startswith("whsec_")
    assert first not in listed
    assert second not in listed
    assert len(next(line for line in listed.splitlines() if line.startswith("shop")).split()) == 3
    assert "1 secrets of shop retired" in stoker("webhooks", "secret", "retire", "shop").stdout


def test_a_job_that_is_repeated_by_hand_tells_its_new_end(module_client: Client) -> None:
    url = "http://127.0.0.1:9/"
    handle = module_client.submit(TextClassification(inputs="bad", webhook=url))
    handle.wait(timeout=20)

    assert module_client.retry(handle.id) == "retrying"

    again = event_id(handle.id, "job.completed", 1)
    until(lambda: module_client.webhooks.get(again))
    assert len(module_client.webhooks.list(job=handle.id)) == 2


def test_no_log_line_quotes_an_endpoint_or_a_secret(log: Path) -> None:
    text = log.read_text()

    assert "the courier is ready; secrets: default, tenant-a" in text
    assert "s3cr3t" not in text
    assert "127.0.0.1" not in text
    assert "whsec_" not in text


@pytest.mark.usefixtures("log")
def test_the_example_of_a_receiver_believes_the_courier_and_nobody_else(
    module_client: Client,
) -> None:
    with subprocess.Popen(
        [sys.executable, "examples/webhook_receiver.py", "0", DEFAULT],
        cwd=ROOT,
        env=environment("redis://unused"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as example:
        assert example.stdout is not None
        try:
            url = example.stdout.readline().strip()
            forged = urllib.request.Request(url, data=b"{}", headers={"webhook-id": "evt_1"})
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(forged, timeout=20)
            handle = module_client.submit(job(url))
            until(lambda: delivered(module_client, event_id(handle.id, "job.completed")))
            assert example.stdout.readline().split() == ["job.completed", handle.id, "succeeded"]
        finally:
            example.kill()


def test_a_courier_imports_neither_celery_nor_a_model_library() -> None:
    code = (
        "import sys\n"
        "import stoker_workers.__main__, stoker_workers.webhooks.courier\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'scipy', 'celery', 'kombu'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr


def test_a_courier_with_a_broken_file_of_secrets_says_so(module_redis: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text('{"default": 7, "s3cr3t"')

    ended = subprocess.run(
        [sys.executable, "-m", "stoker_workers", "webhooks"],
        env=environment(module_redis, webhook_secrets=file),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert "the courier cannot start" in ended.stderr
    assert "s3cr3t" not in ended.stderr
