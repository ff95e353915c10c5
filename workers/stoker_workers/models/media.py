"""The bytes of a job's files become images and sounds in memory, within limits."""

import io
from collections.abc import Iterable, Mapping
from math import gcd
from typing import Any, Final

import numpy as np
import soundfile
from PIL import Image, ImageOps
from scipy.signal import resample_poly

from stoker_tasks.errors import InputFetchFailed, InvalidInput, TooLarge
from stoker_tasks.media import Media
from stoker_workers.models.containers import decode_samples

# A few kilobytes can claim to be a picture of any size, or hours of silence.
MAX_PIXELS: Final = 64_000_000
MAX_SECONDS: Final = 2 * 60 * 60
# One that is a thousand times as wide as high would grow when it is made as high as a model likes.
MAX_RATIO: Final = 100
# Two hours of what is usual, and less of what has been sampled more often.
MAX_SAMPLES: Final = MAX_SECONDS * 48_000

# What the formats have in common: they are read by code inside Pillow, and start no other program.
IMAGE_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_RATES: Final = range(1_000, 400_000)
_MAX_CHANNELS: Final = 64
# Samples that are read at once: channels become one before the next are read.
_BLOCK: Final = 1 << 18

Sound = np.ndarray[Any, np.dtype[np.float32]]


def read_bytes(media: Media, fetched: Mapping[str, bytes]) -> bytes:
    """Give the bytes of a file.

    Args:
        media: Where they are.
        fetched: The bytes of files that the message only names, by URI or URL.

    Raises:
        InvalidInput: The inline bytes are not base64.
        InputFetchFailed: The artifact store did not give them.
    """
    try:
        inline = media.inline_bytes()
    except ValueError as error:
        raise InvalidInput(f"inputs: {error}") from None
    if inline is not None:
        return inline
    name = media.uri or media.url or ""
    if name not in fetched:
        raise InputFetchFailed(
            "the artifact that inputs names is not in the store: it may have expired; send the "
            "job again with the file's bytes"
        )
    return fetched[name]


def decode_image(data: bytes) -> Image.Image:
    """Decode an image as the pipelines do: upright by its EXIF orientation, in RGB.

    Args:
        data: A file in one of `IMAGE_FORMATS`; of an animation, the first picture.

    Raises:
        InvalidInput: It is not an image, is broken, or has an absurd shape.
        TooLarge: It has more than `MAX_PIXELS` pixels.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        # Before a single pixel is decoded.
        _check_shape(image.width, image.height)
        if image.width * image.height <= MAX_PIXELS:
            upright: Image.Image = ImageOps.exif_transpose(image)
            return upright.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass
    except InvalidInput:
        raise
    # Pillow's decoders raise whatever a broken file makes them stumble over.
    except Exception as error:  # noqa: BLE001
        raise InvalidInput(
            f"the image cannot be read ({type(error).__name__}): send a whole file in one of the "
            f"formats {', '.join(IMAGE_FORMATS)}"
        ) from None
    raise TooLarge(
        f"the image has more than {MAX_PIXELS:,} pixels: scale it down; models look at far fewer",
        {"limit": MAX_PIXELS},
    )


def _check_shape(width: int, height: int) -> None:
    short, long = sorted((width, height))
    if not short:
        raise InvalidInput("the image is empty: it has no pixels")
    if long > MAX_RATIO * short:
        raise InvalidInput(
            f"the image is {width} by {height} pixels, one side more than {MAX_RATIO} times the "
            "other: cut it into several",
            {"limit": MAX_RATIO},
        )


def decode_sound(data: bytes, rate: int) -> Sound:
    """Decode a sound to one channel of float32 at a model's sampling rate.

    Args:
        data: A file in a format of libsndfile (WAV, FLAC, OGG, MP3, AIFF …) or, where PyAV is
            installed, of FFmpeg (M4A, AAC, Opus, WebM, WMA …).
        rate: Samples per second that the model wants.

    Raises:
        InvalidInput: It is not a sound, is broken or empty.
        TooLarge: It is longer than `MAX_SECONDS`, or has more than `MAX_SAMPLES`.
    """
    try:
        mono, given = _samples(data)
    except soundfile.LibsndfileError:
        mono, given = decode_samples(data, MAX_SECONDS, MAX_SAMPLES)
        _check_rate(given, 1)
        _check_length(len(mono), given)
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"the sound cannot be read ({type(error).__name__}): send a whole file as WAV, FLAC, "
            "OGG or MP3"
        ) from None
    if not len(mono):
        raise InvalidInput("the sound is empty: it has no samples")
    if given != rate:
        common = gcd(given, rate)
        mono = resample_poly(mono, rate // common, given // common)
    return np.ascontiguousarray(mono, dtype=np.float32)


def decode_sounds(files: Iterable[bytes], rate: int) -> list[Sound]:
    """Decode all sounds of one job; see `decode_sound`.

    Raises:
        TooLarge: They are longer than `MAX_SECONDS` together.
    """
    sounds: list[Sound] = []
    for data in files:
        sounds.append(decode_sound(data, rate))
        if sum(map(len, sounds)) > MAX_SECONDS * rate:
            raise TooLarge(
                f"the job's sounds are longer than {MAX_SECONDS} seconds together: send several "
                "jobs",
                {"limit": MAX_SECONDS},
            )
    return sounds


def _samples(data: bytes) -> tuple[Sound, int]:
    """Read a file with libsndfile, mixing its channels as they come."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        rate = int(file.samplerate)
        _check_rate(rate, int(file.channels))
        parts, length = [np.zeros(0, np.float32)], 0
        # Whatever their number is by the file's head: only what is there counts.
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            length += len(block)
            _check_length(length, rate)
            parts.append(block.mean(axis=1))
    return np.concatenate(parts), rate


def _check_rate(rate: int, channels: int) -> None:
    if rate not in _RATES or channels > _MAX_CHANNELS:
        raise InvalidInput(
            f"the sound has {rate} samples a second in {channels} channels: send one of "
            f"{_RATES.start} to {_RATES.stop} in at most {_MAX_CHANNELS}"
        )


def _check_length(samples: int, rate: int) -> None:
    limit = min(MAX_SECONDS, MAX_SAMPLES // rate)
    if samples > limit * rate:
        raise TooLarge(
            f"the sound is longer than {limit} seconds, the most at its {rate} samples a second: "
            "cut it into several jobs",
            {"limit": limit},
        )
