"""What a job may come to in memory: a list of small files is no way around the limit of one."""

import io
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from stoker_tasks import limits
from stoker_tasks.errors import TooLarge
from stoker_tasks.job import Job
from stoker_tasks.wire import make_job
from stoker_workers.models import bounds, containers, media
from stoker_workers.models.adapters import documents
from stoker_workers.models.bounds import check_images, within_memory
from tests.support.worker import ROOT
from tests.tiny.media import picture


def bomb(side: int) -> bytes:
    """A picture of one colour, which packs into a few kilobytes whatever its size."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def images(*files: bytes) -> Job:
    return make_job("image-classification", {"inputs": list(files)})


def test_many_pictures_are_weighed_together() -> None:
    # 49 million pixels each, which is allowed.
    large = bomb(7_000)

    check_images(images(*[large] * 5), {})
    with pytest.raises(TooLarge, match="256,000,000 pixels together"):
        check_images(images(*[large] * 6), {})


def test_what_is_none_is_left_to_whoever_decodes_it() -> None:
    check_images(images(b"", b"nonsense", picture(3, 3, 1)[:50], picture(3, 3, 1)), {})


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("values of a job", limits.VALUES),
        ("how deep a job nests", limits.DEPTH),
        ("pixels of one image", media.MAX_PIXELS),
        ("pixels of all images", bounds.MAX_PIXELS_TOGETHER),
        ("one side of an image", media.MAX_RATIO),
        ("length of one sound", media.MAX_SECONDS),
        ("seconds to decode all films", int(containers.FILM_SECONDS)),
        ("seconds for tesseract", int(documents.OCR_SECONDS)),
        ("bytes of a job", bounds.MAX_ROWS_BYTES),
    ],
)
def test_the_documents_name_the_limits(what: str, limit: int) -> None:
    page = (ROOT / "docs/files.md").read_text(encoding="utf-8")

    (row,) = [line for line in page.splitlines() if line.startswith(f"| {what}")]

    assert f" {limit:,} " in row


@dataclass
class Row:
    inputs: dict[str, torch.Tensor]


def test_rows_are_gathered_as_long_as_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_ROWS_BYTES", 4 * (4000 + 1024))
    made = 0

    def rows(count: int) -> "list[Row]":
        nonlocal made
        made += count
        return [Row({"x": torch.zeros(1000)}) for _ in range(count)]

    gathered = within_memory(rows(2) for _ in range(2))
    assert [len(each) for each in gathered] == [2, 2]

    made = 0
    with pytest.raises(TooLarge, match="bytes of memory"):
        within_memory(rows(1) for _ in range(100))
    # The rest was not even made.
    assert made == 5
