"""A file is named in one way, and a URL in a way that every parser reads alike."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stoker_tasks.errors import InvalidInput
from stoker_tasks.media import Media
from stoker_tasks.wire import make_job

SIGNATURE = "s1gn4ture"


@pytest.mark.parametrize(
    "url",
    [
        "https://files.test/a.png",
        "https://files.test",
        "http://files.test:8080?x=1&y=%20",
        "HTTPS://Files.test/ü",
        "https://bücher.test/a.png",
        "http://10.0.0.1/",
        "http://[2001:db8::1]:80/a",
        "s3://bucket/key",
        "s3://my.bucket-1/a folder/ü?#.png",
    ],
)
def test_a_url_is_taken_as_it_is(url: str) -> None:
    assert Media(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "files.test/a.png",
        "/etc/hosts",
        "file:///etc/hosts",
        "ftp://files.test/a",
        "https://",
        "https:///a",
        "https://user:password@files.test/a",
        "https://user@files.test/a",
        "https://files.test\\@inside.test/a",
        "https://files.test#@inside.test/",
        "https://files.test/a b",
        "https://files.test/a\r\nHost: inside.test",
        "https://files.test/\x00",
        "https://files.test:port/",
        "https://files.test/" + "a" * 8192,
        "s3://bucket",
        "s3://bucket/",
        "s3://Bucket_/key",
        "s3:///key",
        "s3://bucket/" + "a" * 1025,
        "s3://bucket/a\nb",
    ],
)
def test_whatever_may_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="url must be https://HOST/"):
        Media(url=url)


@pytest.mark.parametrize(
    "given",
    [{}, {"uri": "a", "base64": "YQ=="}, {"uri": "a", "url": "https://h.test"}, "a.png", {"x": 1}],
)
def test_a_file_is_named_in_one_way(given: Any) -> None:
    with pytest.raises(ValidationError):
        Media.model_validate(given)


def test_bytes_and_paths_are_taken_in_python(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")

    assert Media.model_validate(b"abc") == Media.model_validate(file) == Media(base64="YWJj")


def test_a_url_is_not_shown() -> None:
    media = Media(url=f"https://files.test/?signature={SIGNATURE}")
    job = make_job("image-classification", {"inputs": media})

    assert SIGNATURE not in f"{media!r} {media} {job!r} {job}"


def test_what_is_wrong_is_told_without_quoting_it() -> None:
    url = f"https://user:{SIGNATURE}@files.test/"
    with pytest.raises(InvalidInput, match="without a user") as caught:
        make_job("image-classification", {"inputs": [{"url": url}]})

    assert SIGNATURE not in caught.value.message
    assert caught.value.details["fields"] == ["inputs"]
