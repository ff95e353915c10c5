"""Connections to S3: a real server, none at all, and what a message may say."""

import sys

import pytest

from stoker_config.s3 import connect_s3, reaching
from stoker_config.settings import Settings
from stoker_tasks.errors import StorageUnavailable
from tests.support.s3 import S3


def test_what_is_put_is_got(s3: S3) -> None:
    client = s3.client()

    client.put_object(Bucket=s3.bucket, Key="one", Body=b"bytes")

    assert client.get_object(Bucket=s3.bucket, Key="one")["Body"].read() == b"bytes"


def test_a_missing_bucket_is_an_error_that_may_be_retried(s3: S3) -> None:
    with pytest.raises(StorageUnavailable) as refused, reaching("nowhere"):
        s3.client().put_object(Bucket="nowhere", Key="one", Body=b"")

    assert refused.value.retryable
    assert refused.value.details == {"bucket": "nowhere", "code": "NoSuchBucket"}


def test_an_absent_server_is_an_error_that_may_be_retried(s3: S3) -> None:
    # Nothing listens there.
    settings = Settings.model_validate(s3.settings(s3_endpoint="http://127.0.0.1:9"))
    client = connect_s3(settings)

    with (
        pytest.raises(StorageUnavailable, match="could not be reached") as refused,
        reaching("results"),
    ):
        client.head_bucket(Bucket="results")

    assert refused.value.details["code"] == "EndpointConnectionError"


def test_missing_credentials_are_an_error_that_names_them(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    client = connect_s3(Settings.model_validate(s3.settings()))

    with pytest.raises(StorageUnavailable, match="NoCredentialsError"), reaching(s3.bucket):
        client.head_bucket(Bucket=s3.bucket)


def test_without_boto3_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3.session", None)

    with pytest.raises(ValueError, match=r"pip install 'stoker\[s3\]'"):
        connect_s3(Settings())


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(ValueError, match="S3 cannot be set up"):
        connect_s3(Settings.model_validate({"s3_endpoint": "minio:9000"}))
