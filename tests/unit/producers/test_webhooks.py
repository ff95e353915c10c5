"""A receiver believes what the standard's own package has signed, and nothing else."""

import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook as Judge

from stoker import webhooks
from stoker.webhooks import VerificationError, verify
from stoker_tasks.signature import new_secret

SECRET = new_secret()
BODY = json.dumps({"type": "job.completed", "data": {"id": "ü"}})


def signed(
    secret: str = SECRET, late: float = 0.0, body: str = BODY, event: str = "evt_1"
) -> dict[str, str]:
    """Sign as the standard's own package does."""
    at = datetime.fromtimestamp(int(time.time() - late), UTC)
    return {
        "Webhook-Id": event,
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": Judge(secret).sign(event, at, body),
    }


def reason(payload: str | bytes, headers: dict[str, str], **options: float) -> str:
    with pytest.raises(VerificationError) as refused:
        verify(payload, headers, SECRET, **options)
    return refused.value.reason


def test_what_the_standards_package_signs_is_believed() -> None:
    for payload in (BODY, BODY.encode()):
        assert verify(payload, signed(), SECRET)["data"] == {"id": "ü"}
    assert webhooks.verify is verify


def test_the_standards_own_example_is_believed() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    assert verify('{"test": 2432232314}', headers, secret, None) == {"test": 2432232314}
    with pytest.raises(VerificationError, match="300 s ago"):
        verify('{"test": 2432232314}', headers, secret)


def test_while_a_secret_is_replaced_either_side_may_be_first() -> None:
    new = new_secret()
    both = signed(SECRET)
    both["Webhook-Signature"] += f" v1a,AAAA {signed(new)['Webhook-Signature']}"

    assert verify(BODY, both, SECRET)
    assert verify(BODY, both, new)
    assert verify(BODY, signed(SECRET), [new, SECRET])


def test_what_is_changed_or_signed_by_another_is_not_believed() -> None:
    assert reason(BODY + " ", signed()) == "no_match"
    assert reason(BODY, signed(new_secret())) == "no_match"
    assert reason(BODY, {**signed(), "Webhook-Id": "evt_2"}) == "no_match"
    later = {**signed(), "Webhook-Timestamp": str(int(time.time()) + 7)}
    assert reason(BODY, later) == "no_match"


@pytest.mark.parametrize(
    "signature", ["v1,", "v1", "v1,***", "v2,AAAA", " ", "v1," + "A" * 43 + "=", "v1,é"]
)
def test_what_is_no_signature_is_none(signature: str) -> None:
    assert reason(BODY, {**signed(), "Webhook-Signature": signature}) == "no_match"


def test_what_is_old_or_from_the_future_is_not_believed() -> None:
    assert reason(BODY, signed(late=310)) == "too_old"
    assert reason(BODY, signed(late=-310)) == "too_new"
    assert reason(BODY, signed(late=20), tolerance=10) == "too_old"
    assert verify(BODY, signed(late=200), SECRET)
    for text in ("", "soon", "1.5", "-1", "²", "9" * 30):
        headers = {**signed(), "Webhook-Timestamp": text}
        assert reason(BODY, headers) in {"wrong_timestamp", "missing_header"}


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_a_missing_header_is_named(name: str) -> None:
    headers = signed()
    del headers[name]

    assert reason(BODY, headers) == "missing_header"


def test_a_signed_body_that_is_no_event_is_told_apart() -> None:
    for body in ("[]", "nothing"):
        assert reason(body, signed(body=body)) == "not_json"


def test_what_is_no_secret_is_the_receivers_own_fault() -> None:
    for secrets in ("s3cr3t", [], ["whsec_AAAA"]):
        with pytest.raises(ValueError, match="secret") as wrong:
            verify(BODY, signed(), secrets)
        assert not isinstance(wrong.value, VerificationError)
        assert "s3cr3t" not in str(wrong.value)
