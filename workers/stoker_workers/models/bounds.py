"""What one job may come to in memory: told by the heads of its images, and row by row.

A few kilobytes can claim to be a picture of any size, and a list can hold many of those that are
just small enough.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

from PIL import Image

from stoker_tasks.errors import TooLarge
from stoker_tasks.job import Job
from stoker_tasks.media import media_in
from stoker_workers.models.media import IMAGE_FORMATS, MAX_PIXELS, read_bytes

# Of all images of a job: in RGB three times as many bytes.
MAX_PIXELS_TOGETHER: Final = 4 * MAX_PIXELS
# Bytes of all rows of a job, and what a row takes beside its tensors.
MAX_ROWS_BYTES: Final = 2 * 1024**3
_ROW_BYTES: Final = 1024


def check_images(job: Job, fetched: Mapping[str, bytes]) -> None:
    """Refuse a job whose images are too large together, before any of them is decoded.

    Each by itself is checked where it is decoded.

    Args:
        job: The job.
        fetched: The bytes of files that its message only names.

    Raises:
        TooLarge: They have too many pixels together.
    """
    files = media_in(job.inputs)
    if len(files) < 2:
        return
    pixels = 0
    for each in files:
        pixels += _pixels(read_bytes(each, fetched))
        if pixels > MAX_PIXELS_TOGETHER:
            raise TooLarge(
                f"the job's images have more than {MAX_PIXELS_TOGETHER:,} pixels together: scale "
                "them down, or send several jobs",
                {"limit": MAX_PIXELS_TOGETHER},
            )


def within_memory(inputs: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """Gather a job's rows, as long as they fit.

    Args:
        inputs: For each input its rows of the forward pass, whose `inputs` are tensors.

    Returns:
        For each input its rows.

    Raises:
        TooLarge: They take too much memory together.
    """
    held, gathered = 0, list[list[Any]]()
    for rows in inputs:
        gathered.append([])
        for row in rows:
            held += _ROW_BYTES + sum(tensor.nbytes for tensor in row.inputs.values())
            if held > MAX_ROWS_BYTES:
                raise TooLarge(
                    f"the job takes more than {MAX_ROWS_BYTES} bytes of memory once it is "
                    "prepared: send its inputs in several jobs",
                    {"limit": MAX_ROWS_BYTES},
                )
            gathered[-1].append(row)
    return gathered


def _pixels(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            return image.width * image.height
    # No image, or a broken one: whoever decodes it says so, of this file alone.
    except Exception:  # noqa: BLE001
        return 0
