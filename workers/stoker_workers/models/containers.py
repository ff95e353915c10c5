"""Films, and sounds that libsndfile does not know, read by PyAV out of files of many formats."""

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from math import inf
from typing import Any, Final

import numpy as np

from stoker_tasks.errors import InvalidInput, TooLarge, Unserved
from stoker_tasks.parts import install_words

# FFmpeg's names of those formats that hold films and sounds themselves: playlists and scripts of
# its own name other files, which it would open.
_FORMATS: Final = (
    "aac,ac3,aiff,amr,asf,avi,caf,flac,flv,gif,m4v,matroska,mov,mp3,mpeg,mpegts,ogg,wav,webm"
)
_CLOSED: Final = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}

# A film is decoded from its beginning up to the last frame that a model looks at.
MAX_FRAMES: Final = 20_000
# Of all frames that a model looks at, as three bytes each: 16 of the size 4K.
MAX_PIXELS: Final = 160_000_000

# For the films of one job: frames that hardly differ take few bytes, and their time all the same.
FILM_SECONDS: Final = 120.0

Frame = np.ndarray[Any, np.dtype[np.uint8]]
Samples = np.ndarray[Any, np.dtype[np.float32]]


def decode_film(data: bytes, wanted: Sequence[int], end_by: float = inf) -> list[Frame]:
    """Decode the frames of a film that a model looks at.

    Args:
        data: A file: MP4, MOV, WebM, MKV, AVI, MPEG, GIF …
        wanted: The frames' numbers from 0, rising. Of a film that is shorter, its last frame stands
            in for those that it lacks.
        end_by: When the job's `FILM_SECONDS` are over, in monotonic seconds.

    Returns:
        The frames, each with the axes height, width and RGB.

    Raises:
        InvalidInput: It is not a film, is broken or has no frame.
        TooLarge: More than `MAX_FRAMES` frames would be decoded, the wanted ones have more than
            `MAX_PIXELS` pixels, or it is not done in time.
        Unserved: This worker lacks PyAV.
    """
    if wanted[-1] >= MAX_FRAMES:
        raise TooLarge(
            f"a model may look at the first {MAX_FRAMES:,} frames of a film, and frame "
            f"{wanted[-1]:,} is asked for: set a smaller num_frames or frame_sampling_rate",
            {"limit": MAX_FRAMES},
        )
    kept: dict[int, Frame] = {}
    last: Any = None
    asked = frozenset(wanted)
    with _opened(data, "film", "MP4, WebM, MKV, AVI or GIF") as container:
        stream = container.streams.video[0]
        # FFmpeg refuses frames beyond it before it takes memory for them.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        _check_size(stream.codec_context, len(asked))
        for number, last in enumerate(container.decode(stream)):
            if number in asked:
                _check_size(last, len(asked))
                kept[number] = last.to_ndarray(format="rgb24")
            if number >= wanted[-1]:
                break
            if time.monotonic() > end_by:
                raise TooLarge(
                    f"the job's films were not decoded within {FILM_SECONDS:g} s: send fewer, "
                    "scale them down, or set a smaller num_frames or frame_sampling_rate",
                    {"limit": FILM_SECONDS},
                )
        if last is None:
            raise InvalidInput("the film is empty: it has no frames")
        end = last.to_ndarray(format="rgb24")
    return [kept.get(number, end) for number in wanted]


def count_frames(data: bytes) -> int:
    """Count the frames of a film, up to `MAX_FRAMES`, without decoding them.

    Raises:
        InvalidInput: It is not a film, or is broken.
    """
    count = 0
    with _opened(data, "film", "MP4, WebM, MKV, AVI or GIF") as container:
        for packet in container.demux(container.streams.video[0]):
            count += bool(packet.size)
            if count == MAX_FRAMES:
                break
    return count


def decode_samples(data: bytes, seconds: int, most: int) -> tuple[Samples, int]:
    """Decode the sound of a file, with its channels mixed.

    Args:
        data: A file: MP4, M4A, AAC, Opus, WebM, WMA …
        seconds: Decode no more than a little beyond this,
        most: and no more samples than a few beyond this.

    Returns:
        The samples, and how many there are a second.

    Raises:
        InvalidInput: It is not a sound, or is broken.
        Unserved: This worker lacks PyAV.
    """
    parts: list[Any] = []
    rate, length = 0, 0
    with _opened(data, "sound", "WAV, FLAC, OGG, MP3, M4A, AAC, Opus or WebM") as container:
        import av

        stream = container.streams.audio[0]
        rate = int(stream.codec_context.sample_rate)
        even = av.AudioResampler(format="fltp", rate=rate)
        for frame in container.decode(stream):
            for each in even.resample(frame):
                # One axis of channels and one of time.
                parts.append(each.to_ndarray().mean(axis=0, dtype=np.float32))
                length += len(parts[-1])
            if length > min(seconds * rate, most):
                break
    return np.concatenate([np.zeros(0, np.float32), *parts]), rate


@contextmanager
def _opened(data: bytes, what: str, formats: str) -> Iterator[Any]:
    if find_spec("av") is None:
        raise Unserved(
            f"this worker cannot read the {what}: it {install_words(['av'])} there",
            {"missing": ["av"]},
        )
    # Not before it is needed: a worker for texts need not have it.
    import av

    try:
        with av.open(io.BytesIO(data), options=_CLOSED) as container:
            yield container
    # FFmpeg has an error for everything; a file without the stream is an IndexError.
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise InvalidInput(
            f"the {what} cannot be read ({type(error).__name__}): send a whole file as {formats}"
        ) from None


def _check_size(of: Any, frames: int) -> None:
    if of.width * of.height * frames > MAX_PIXELS:
        raise TooLarge(
            f"the {frames} frames of the film that the model looks at have more than "
            f"{MAX_PIXELS:,} pixels in all: scale it down; models look at far fewer",
            {"limit": MAX_PIXELS},
        )
