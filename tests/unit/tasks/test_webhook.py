"""Who is told of a job, of what, and under which signature."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook as Judge

from stoker_tasks import signature
from stoker_tasks.errors import InvalidInput, OutOfMemory
from stoker_tasks.event import INLINE_BYTES, event_id, listener_of, wish
from stoker_tasks.result import Failure, Success
from stoker_tasks.text import TextClassification
from stoker_tasks.webhook import Webhook, origin_of
from stoker_tasks.wire import make_job, to_kwargs

URL = "https://example.org/hook?token=s3cr3t"


def job_with(webhook: Any) -> TextClassification:
    job = make_job("text-classification", {"inputs": "x", "webhook": webhook})
    assert isinstance(job, TextClassification)
    return job


def test_a_string_stands_for_the_url_and_only_what_is_set_travels() -> None:
    kwargs = to_kwargs(job_with(URL))

    assert kwargs["webhook"] == {"url": URL}
    assert job_with(kwargs["webhook"]) == job_with(URL)


def test_a_webhook_is_shown_by_no_repr() -> None:
    assert "s3cr3t" not in repr(job_with(URL))
    assert "s3cr3t" not in repr(Webhook(url=URL))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.org/", "http:// or https://"),
        ("example.org/hook", "http:// or https://"),
        ("https://", "names a host"),
        ("https://s3cr3t:s3cr3t@example.org/", "without a user name or password"),
        ("https://example.org/s3cr3t#x", "without a fragment"),
        ("https://example.org:99999/", "its port is none"),
        ("https://[::1/", "its host"),
        ("https://example.org/a b", "without spaces"),
        ("https://exämple.org/", "ASCII"),
        ("https://example.org/" + "x" * 2048, "webhook.url"),
    ],
)
def test_a_wrong_url_is_refused_by_name_and_not_quoted(url: str, why: str) -> None:
    with pytest.raises(InvalidInput, match="webhook") as refused:
        job_with(url)

    assert why in refused.value.message
    assert "s3cr3t" not in refused.value.message


@pytest.mark.parametrize(
    "wrong",
    [{"events": []}, {"events": ["job.finished"]}, {"secret": "No Name"}, {"method": "PUT"}],
)
def test_other_wrong_fields_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"webhook.{next(iter(wrong))}"):
        job_with({"url": URL, **wrong})


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.org/a", "https://example.org:443"),
        ("http://example.org", "http://example.org:80"),
        ("http://[2001:db8::1]:8080/", "http://[2001:db8::1]:8080"),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_an_event_is_the_same_for_each_delivery_of_its_job_and_no_other() -> None:
    ids = {event_id(job, type, again) for job in "ab" for type in EVENTS for again in (0, 1)}

    assert len(ids) == 8
    assert event_id("a", "job.completed") == event_id("a", "job.completed", 0)
    assert all("." not in each for each in ids)


EVENTS: Any = ("job.started", "job.completed")


def test_an_event_tells_the_result_inline_while_it_is_small() -> None:
    listener = listener_of({"webhook": {"url": URL}, "metadata": {"order": "7"}}, {})
    assert listener is not None
    success = Success(output="y", task="t", model="m@local", metadata={"order": "7"})

    small = listener.completed("j", success)
    large = listener.completed("j", success.model_copy(update={"output": "y" * INLINE_BYTES}))

    assert small is not None
    assert large is not None
    body = json.loads(small.body)
    assert body["type"] == "job.completed"
    assert datetime.fromisoformat(body["timestamp"]).tzinfo == UTC
    data = body["data"]
    assert data == {
        "id": "j",
        "state": "succeeded",
        "terminal": True,
        "result": data["result"],
        "metadata": {"order": "7"},
    }
    assert data["result"]["output"] == "y"
    kept = json.loads(large.body)["data"]
    assert kept["result"] is None
    assert kept["result_bytes"] > INLINE_BYTES
    assert small.id == large.id


def test_half_a_surrogate_pair_is_told_as_an_escape() -> None:
    half = {"order": "\ud800"}
    listener = listener_of({"webhook": {"url": URL}, "metadata": half}, {})
    assert listener is not None

    event = listener.completed("j", Failure.of(InvalidInput("ü\ud800")))

    assert event is not None
    body = json.loads(event.body.encode())
    assert body["data"]["metadata"] == half


def test_an_event_tells_a_failure_with_its_type() -> None:
    listener = listener_of({"webhook": {"url": URL}}, {})
    assert listener is not None

    event = listener.completed("j", Failure.of(OutOfMemory("too much", {"bytes": 1})))

    assert event is not None
    data = json.loads(event.body)["data"]
    assert (data["state"], data["result"]["error"]) == ("failed", "out_of_memory")


def test_only_what_was_asked_for_is_told() -> None:
    kwargs = {"webhook": {"url": URL, "events": ["job.started"]}}
    listener = listener_of(kwargs, {"stoker-round": 1})
    assert listener is not None

    started = listener.started("j")

    assert started is not None
    assert started.id == event_id("j", "job.started", 1)
    assert listener.completed("j", Failure.of(InvalidInput("x"))) is None
    assert listener_of(**json.loads(wish(kwargs, {"stoker-round": 1, "other": 2}))) == listener


@pytest.mark.parametrize("webhook", [None, 7, {"url": "nowhere"}, {"url": URL, "x": 1}])
def test_a_webhook_that_cannot_be_told_is_nobody(webhook: Any) -> None:
    assert listener_of({"webhook": webhook}, {}) is None


def test_each_secret_signs_as_the_standards_own_package_does() -> None:
    new, old = signature.new_secret(), signature.new_secret()
    now, body = datetime.now(UTC), '{"a": "ü"}'
    keys = [signature.key_of(new), signature.key_of(old)]

    headers = signature.headers(keys, "evt_1", int(now.timestamp()), body.encode())

    for secret in (new, old):
        assert Judge(secret).verify(body, headers) == {"a": "ü"}
    assert headers["webhook-signature"].split()[0] == Judge(new).sign("evt_1", now, body)


@pytest.mark.parametrize(
    "secret",
    [
        "s3cr3t",
        base64.b64encode(b"s" * 32).decode(),
        "whsec_***",
        "whsec_" + base64.b64encode(b"s" * 23).decode(),
        "whsec_" + base64.b64encode(b"s" * 65).decode(),
    ],
)
def test_what_is_no_secret_is_refused_and_not_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes") as refused:
        signature.key_of(secret)

    assert secret not in str(refused.value)


def test_a_webhook_never_changes() -> None:
    with pytest.raises(ValidationError):
        Webhook(url=URL).url = "https://example.org"
