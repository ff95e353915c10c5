import io
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from transformers.image_utils import load_image

from stoker_tasks.errors import InputFetchFailed, InvalidInput, TooLarge
from stoker_tasks.media import Media
from stoker_workers.models import media
from stoker_workers.models.media import decode_image, decode_sound, decode_sounds, read_bytes
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


@pytest.mark.parametrize("size", [(1, 101), (101, 1), (20, 30_000)])
def test_a_picture_of_an_absurd_shape(size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    with pytest.raises(InvalidInput, match="100 times the other"):
        decode_image(buffer.getvalue())


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM"])
def test_a_picture_without_pixels(form: str) -> None:
    data = bytearray(picture(30, 20, 1, form))
    at = {"PNG": 16, "BMP": 18, "PPM": 3}[form]
    data[at : at + 2] = b"00" if form == "PPM" else b"\0\0"
    if form == "PNG":
        data[16:20] = bytes(4)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(InvalidInput, match=r"cannot be read|no pixels"):
        decode_image(bytes(data))


def test_a_picture_with_a_huge_text_beside_it() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "a" * 50_000_000, zip=True)
    buffer = io.BytesIO()
    Image.new("1", (4, 3)).save(buffer, "PNG", pnginfo=notes)
    assert len(buffer.getvalue()) < 100_000

    with pytest.raises(InvalidInput, match="cannot be read"):
        decode_image(buffer.getvalue())


def test_of_an_animation_the_first_picture_is_decoded() -> None:
    frames = [Image.new("L", (30, 20), at) for at in range(0, 250, 5)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])

    assert np.array_equal(np.asarray(decode_image(buffer.getvalue())), np.zeros((20, 30, 3)))


def flac_that_claims(samples: int) -> bytes:
    """A short sound whose head names another length."""
    data = bytearray(sound(wave(0.3, 1), form="FLAC"))
    # STREAMINFO follows the mark and its own head; the number has the last 36 of its bits 64-127.
    (head,) = struct.unpack_from(">Q", data, 8 + 10)
    struct.pack_into(">Q", data, 8 + 10, (head & ~(2**36 - 1)) | samples)
    return bytes(data)


@pytest.mark.parametrize("claimed", [2**36 - 1, 16_000 * media.MAX_SECONDS * 10])
def test_a_sound_that_claims_to_be_endless_takes_what_it_is(claimed: int) -> None:
    tracemalloc.start()
    try:
        with suppress(InvalidInput):
            assert len(decode_sound(flac_that_claims(claimed), 16_000)) <= 4_800
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_many_sounds_are_weighed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_SECONDS", 1)
    half = sound(wave(0.5, 1))
    decoded = []

    def files(count: int) -> Iterator[bytes]:
        for _ in range(count):
            decoded.append(1)
            yield half

    assert len(decode_sounds(files(2), 16_000)) == 2
    with pytest.raises(TooLarge, match="longer than 1 seconds together"):
        decode_sounds(files(100), 16_000)
    # The rest was left as it is.
    assert len(decoded) == 2 + 3


def test_hours_in_few_bytes_are_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_SAMPLES", 100_000)
    silence = sound(np.zeros((2_000_000, 8), np.float32), form="FLAC")
    assert len(silence) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="longer than 6 seconds"):
            decode_sound(silence, 16_000)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
