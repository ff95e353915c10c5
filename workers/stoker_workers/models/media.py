"""The bytes of a job's files become images and sounds in memory, within limits."""

import io
from collections.abc import Mapping
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

# What the formats have in common: they are read by code inside Pillow, and start no other program.
IMAGE_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_RATES: Final = range(1_000, 400_000)
_MAX_CHANNELS: Final = 64
_BLOCK: Final = 1 << 16

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
        InvalidInput: It is not an image, or is broken.
        TooLarge: It has more than `MAX_PIXELS` pixels.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        # Before a single pixel is decoded.
        if image.width * image.height <= MAX_PIXELS:
            upright: Image.Image = ImageOps.exif_transpose(image)
            return upright.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass
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


def decode_sound(data: bytes, rate: int) -> Sound:
    """Decode a sound to one channel of float32 at a model's sampling rate.

    Args:
        data: A file in a format of libsndfile (WAV, FLAC, OGG, MP3, AIFF …) or, where PyAV is
            installed, of FFmpeg (M4A, AAC, Opus, WebM, WMA …).
        rate: Samples per second that the model wants.

    Raises:
        InvalidInput: It is not a sound, is broken or empty.
        TooLarge: It is longer than `MAX_SECONDS`.
    """
    try:
        mono, given = _samples(data)
    except soundfile.LibsndfileError:
        mono, given = decode_samples(data, MAX_SECONDS)
        _check_rate(given, 1)
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"the sound cannot be read ({type(error).__name__}): send a whole file as WAV, FLAC, "
            "OGG or MP3"
        ) from None
    if len(mono) > MAX_SECONDS * given:
        raise TooLarge(
            f"the sound is longer than {MAX_SECONDS} seconds: cut it into several jobs",
            {"limit": MAX_SECONDS},
        )
    if not len(mono):
        raise InvalidInput("the sound is empty: it has no samples")
    if given != rate:
        common = gcd(given, rate)
        mono = resample_poly(mono, rate // common, given // common)
    return np.ascontiguousarray(mono, dtype=np.float32)


def _samples(data: bytes) -> tuple[Sound, int]:
    """Read a file with libsndfile, mixing its channels as they come."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        rate = int(file.samplerate)
        _check_rate(rate, int(file.channels))
        # One more than allowed tells, whatever the header claims.
        blocks = file.blocks(_BLOCK, frames=MAX_SECONDS * rate + 1, dtype="float32", always_2d=True)
        parts = [block.mean(axis=1) for block in blocks]
    return np.concatenate([np.zeros(0, np.float32), *parts]), rate


def _check_rate(rate: int, channels: int) -> None:
    if rate not in _RATES or channels > _MAX_CHANNELS:
        raise InvalidInput(
            f"the sound has {rate} samples a second in {channels} channels: send one of "
            f"{_RATES.start} to {_RATES.stop} in at most {_MAX_CHANNELS}"
        )
