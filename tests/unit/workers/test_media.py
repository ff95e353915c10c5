import io

import numpy as np
import pytest
from PIL import Image
from transformers.image_utils import load_image

from stoker_tasks.errors import InputFetchFailed, InvalidInput, TooLarge
from stoker_tasks.media import Media
from stoker_workers.models import media
from stoker_workers.models.media import decode_image, decode_sound, read_bytes
from tests.tiny.media import picture, sound, wave


def test_bytes_inline_and_from_the_store() -> None:
    assert read_bytes(Media.model_validate(b"abc"), {}) == b"abc"
    assert read_bytes(Media(uri="artifact:1"), {"artifact:1": b"abc"}) == b"abc"


def test_an_artifact_that_is_gone() -> None:
    with pytest.raises(InputFetchFailed, match="expired"):
        read_bytes(Media(uri="artifact:1"), {})


def test_what_is_not_base64() -> None:
    with pytest.raises(InvalidInput, match="base64"):
        read_bytes(Media(base64="#"), {})


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_images_are_decoded_as_the_pipelines_do(form: str) -> None:
    data = picture(30, 20, 1, form)
    wanted = load_image(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(decode_image(data)), np.asarray(wanted))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    image = Image.new(mode if mode != "I;16" else "I;16", (4, 3))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert decode_image(buffer.getvalue()).mode == "RGB"


def test_a_turned_photo_is_upright() -> None:
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue()).size == (20, 30)


@pytest.mark.parametrize("data", [b"", b"not an image", picture(30, 20, 1)[:60], b"%!PS-Adobe-3.0"])
def test_what_is_not_an_image(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        decode_image(data)


@pytest.mark.parametrize("side", [9_000, 12_000, 20_000])
def test_a_picture_that_is_too_large_is_not_decoded(side: int) -> None:
    # One colour packs into a few kilobytes, whatever its size.
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    with pytest.raises(TooLarge, match="64,000,000 pixels"):
        decode_image(buffer.getvalue())


def test_a_sound_at_the_models_rate_is_untouched() -> None:
    samples = wave(0.3, 1)
    assert np.array_equal(decode_sound(sound(samples), 16_000), samples)


@pytest.mark.parametrize(
    ("form", "error"), [("WAV", 1e-6), ("FLAC", 1e-4), ("OGG", 0.2), ("MP3", 0.9)]
)
def test_formats(form: str, error: float) -> None:
    samples = wave(0.5, 1)
    decoded = decode_sound(sound(samples, form=form), 16_000)
    assert decoded.dtype == np.float32
    assert abs(len(decoded) - len(samples)) < 3000
    assert np.abs(decoded[: len(samples)] - samples[: len(decoded)]).max() < error


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled(rate: int) -> None:
    time = np.arange(rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    decoded = decode_sound(sound(tone, rate), 16_000)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert decoded.shape == (16_000,)
    assert np.abs(decoded - wanted)[500:-500].max() < 0.01


def test_channels_become_one() -> None:
    both = np.stack([wave(0.2, 1), wave(0.2, 2)], axis=1)
    assert np.allclose(decode_sound(sound(both), 16_000), both.mean(axis=1))


@pytest.mark.parametrize("data", [b"", b"not a sound", sound(wave(0.2, 1))[:20]])
def test_what_is_not_a_sound(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        decode_sound(data, 16_000)


def test_a_sound_without_samples() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        decode_sound(sound(np.zeros(0, np.float32)), 16_000)


def test_a_strange_rate_would_blow_up_when_resampled() -> None:
    with pytest.raises(InvalidInput, match="samples a second"):
        decode_sound(sound(wave(0.2, 1), 10), 16_000)


def test_a_sound_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_SECONDS", 1)
    assert len(decode_sound(sound(wave(1.0, 1)), 16_000)) == 16_000
    with pytest.raises(TooLarge, match="longer than 1 seconds"):
        decode_sound(sound(wave(1.01, 1)), 16_000)
