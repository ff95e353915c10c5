"""Images, sounds and films as files, for models that look or listen."""

import io
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image, ImageDraw

RATE = 16_000


def picture(width: int, height: int, seed: int, form: str = "PNG") -> bytes:
    """Six rectangles of any colour, as a file."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(random.integers(0, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        colour = tuple(random.integers(0, 255, 3).tolist())
        draw.rectangle((x, y, x + width // 2, y + height // 2), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def wave(seconds: float, seed: int, rate: int = RATE) -> "np.ndarray[Any, Any]":
    """A tone that changes its pitch and loudness every twentieth of a second, with noise."""
    random = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    step = (time * 20).astype(int)
    pitch, loudness = random.uniform(100, 4000, 400), random.uniform(0.05, 0.6, 400)
    tone = loudness[step] * np.sin(2 * np.pi * pitch[step] * time)
    samples: np.ndarray[Any, Any] = tone + 0.02 * random.standard_normal(len(time))
    return samples.astype(np.float32)


def sound(samples: "np.ndarray[Any, Any]", rate: int = RATE, form: str = "WAV") -> bytes:
    """Samples as a file, without a loss."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype="FLOAT" if form == "WAV" else None)
    return buffer.getvalue()


def film(frames: int, width: int, height: int, seed: int) -> bytes:
    """Pictures, one after the other, as an MP4 file."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = Image.open(io.BytesIO(picture(width, height, 100 * seed + number)))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return buffer.getvalue()
