"""The artifact store in a bucket: what is kept, for how long, how it is asked for and shown."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from stoker_config.artifacts import new_uri
from stoker_config.artifacts_redis import RedisArtifacts
from stoker_config.artifacts_s3 import DAYS, KEEP_DAYS, S3Artifacts
from stoker_config.clock import DAY
from stoker_config.settings import Settings
from stoker_config.sizes import MIB
from stoker_config.stores import open_store
from stoker_tasks.errors import Gone, NoUrl, StorageUnavailable, TooLarge
from tests.support.s3 import S3
from tests.support.worker import ROOT


def store(s3: S3, **others: Any) -> S3Artifacts:
    return S3Artifacts(Settings.model_validate(s3.settings(**others)))


def stored(s3: S3, uri: str, prefix: str = "stoker/") -> dict[str, Any]:
    """Give what the bucket says of an object."""
    where = {"Bucket": s3.bucket, "Key": prefix + uri.removeprefix("artifact:")}
    head: dict[str, Any] = s3.client().head_object(**where)
    tags = s3.client().get_object_tagging(**where)["TagSet"]
    return {**head, "tags": {each["Key"]: each["Value"] for each in tags}}


def fetched(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_bytes_come_back_and_the_missing_are_left_out(s3: S3) -> None:
    artifacts = store(s3)
    data = {artifacts.put(each): each for each in (b"", b"one", bytes(range(256)))}

    assert artifacts.get([*data, new_uri(), "artifact:../../secret"]) == data
    assert artifacts.get([]) == {}


def test_what_is_large_is_sent_in_parts(s3: S3) -> None:
    artifacts = store(s3, s3_multipart=5 * MIB)
    data = bytes(range(256)) * (17 * MIB // 256)

    uri = artifacts.put(data, mime_type="image/png", expires=60)

    # S3 marks what came in parts by their number.
    assert stored(s3, uri)["ETag"].endswith('-3"')
    assert stored(s3, uri)["tags"] == {"stoker-days": "1"}
    assert artifacts.get([uri]) == {uri: data}


def test_an_object_says_how_long_it_is_wanted(s3: S3) -> None:
    artifacts = store(s3, s3_prefix="team/", artifact_expires=2 * DAY)
    before = int(time.time())

    default = stored(s3, artifacts.put(b"x"), "team/")
    long = stored(s3, artifacts.put(b"x", expires=20 * DAY, mime_type="audio/wav"), "team/")
    bare = stored(s3, store(s3, s3_tags=False).put(b"x"))

    assert default["tags"] == {"stoker-days": "3"}
    assert 0 <= int(default["Metadata"]["stoker-expires"]) - before - 2 * DAY <= 60
    assert long["tags"] == {"stoker-days": "30"}
    assert long["ContentType"] == "audio/wav"
    assert bare["tags"] == {}


def test_what_has_expired_is_not_read_though_it_is_still_there(s3: S3) -> None:
    artifacts = store(s3)
    uri = artifacts.put(b"x", expires=1)
    while time.time() < float(stored(s3, uri)["Metadata"]["stoker-expires"]):
        time.sleep(0.05)

    assert artifacts.get([uri]) == {}
    with pytest.raises(Gone):
        artifacts.presign(uri)


def test_what_is_deleted_is_gone_at_once(s3: S3) -> None:
    artifacts = store(s3)
    kept, *others = [artifacts.put(b"x") for _ in range(3)]

    artifacts.delete([*others, new_uri()])

    assert artifacts.get([kept, *others]) == {kept: b"x"}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"s3_sse": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {"s3_sse": "aws:kms", "s3_kms_key": "arn:aws:kms:us-east-1:123456789012:key/one"},
            {
                "ServerSideEncryption": "aws:kms",
                "SSEKMSKeyId": "arn:aws:kms:us-east-1:123456789012:key/one",
            },
        ),
    ],
)
def test_encryption_at_rest_is_asked_for(
    s3: S3, settings: dict[str, str], wanted: dict[str, str]
) -> None:
    found = stored(s3, store(s3, **settings).put(b"x"))

    assert wanted.items() <= found.items()


def test_anybody_reads_by_a_presigned_url_and_nobody_without(s3: S3) -> None:
    artifacts = store(s3)
    uri = artifacts.put(b"picture", mime_type="image/png", expires=30)

    url = artifacts.presign(uri)

    assert fetched(url) == (b"picture", "image/png")
    # Not for longer than the artifact is there.
    [left] = re.findall(r"X-Amz-Expires=(\d+)&", url)
    assert 0 < int(left) <= 30
    assert "X-Amz-Expires=7&" in artifacts.presign(uri, 7)
    for absent in (new_uri(), "artifact:../../secret"):
        with pytest.raises(Gone):
            artifacts.presign(absent)


def test_urls_may_name_another_server_than_workers_use(s3: S3) -> None:
    public = s3.endpoint.replace("127.0.0.1", "localhost")
    artifacts = store(s3, s3_public_endpoint=public)

    url = artifacts.presign(artifacts.put(b"x"))

    assert url.startswith(f"{public}/{s3.bucket}/stoker/")
    assert fetched(url)[0] == b"x"


def test_one_may_be_too_large(s3: S3) -> None:
    with pytest.raises(TooLarge, match=r"11 bytes .*\(STOKER_S3_LIMIT\)") as refused:
        store(s3, s3_limit=10).put(b"x" * 11)

    assert refused.value.details == {"size": 11, "limit": 10}


def test_a_missing_bucket_is_found_before_any_job_is(s3: S3) -> None:
    store(s3).check()
    # Whoever is away may come back: its jobs may be retried, and no worker refuses to start.
    absent = store(s3, s3_endpoint="http://127.0.0.1:9")
    absent.check()

    with pytest.raises(ValueError, match="no S3 bucket nowhere: make it, or correct"):
        store(s3, s3_bucket="nowhere").check()
    for call in (
        lambda: absent.put(b"x"),
        lambda: absent.get([new_uri()]),
        lambda: absent.delete([new_uri()]),
        lambda: absent.presign(new_uri()),
    ):
        with pytest.raises(StorageUnavailable) as refused:
            call()
        assert refused.value.retryable


# -- beside Redis --------------------------------------------------------------------------------


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_what_redis_took_before_is_found_and_deleted_still(s3: S3, server: Any) -> None:
    older = open_store(Settings(), server)
    assert isinstance(older, RedisArtifacts)
    both = open_store(Settings.model_validate(s3.settings()), server)
    in_redis, in_s3 = older.put(b"old"), both.put(b"new")

    assert both.get([in_redis, in_s3]) == {in_redis: b"old", in_s3: b"new"}
    assert older.get([in_s3]) == {}
    assert fetched(both.presign(in_s3))[0] == b"new"
    with pytest.raises(NoUrl, match=r"Client\.artifact"):
        both.presign(in_redis)

    both.delete([in_redis, in_s3])
    assert both.get([in_redis, in_s3]) == {}
    with pytest.raises(Gone):
        both.presign(in_redis)


# -- what the documents say ----------------------------------------------------------------------


def test_the_bucket_takes_the_documented_rules_and_they_match_each_tag(s3: S3) -> None:
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    [rules] = [each for each in blocks if "Rules" in each]

    s3.client().put_bucket_lifecycle_configuration(
        Bucket=s3.bucket, LifecycleConfiguration=json.loads(rules)
    )

    taken = s3.client().get_bucket_lifecycle_configuration(Bucket=s3.bucket)["Rules"]
    by_tag = {
        each["Filter"]["Tag"]["Value"]: each["Expiration"]["Days"]
        for each in taken
        if "Tag" in each["Filter"]
    }
    assert {each["Filter"]["Tag"]["Key"] for each in taken if "Tag" in each["Filter"]} == {DAYS}
    assert by_tag == {str(days): days for days in KEEP_DAYS}
