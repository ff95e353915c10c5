"""Films, and sounds in containers, are read within limits, and open no other file."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stoker_tasks.errors import InvalidInput, TooLarge, Unserved
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models import containers
from stoker_workers.models.adapters import film as film_adapter
from stoker_workers.models.adapters import multimodal
from stoker_workers.models.catalog import load
from stoker_workers.models.containers import decode_film, decode_samples
from stoker_workers.models.device import find_device
from stoker_workers.models.media import decode_sound
from tests.tiny.fixture import TinyModel
from tests.tiny.media import film, picture, sound, wave


def frames_of(data: bytes) -> list[Any]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def compressed(samples: Any, form: str, codec: str, rate: int = 48_000) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        both = np.stack([samples, samples]).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def shown(task: str, data: bytes) -> Any:
    if task == "video-classification":
        return data
    return [{"role": "user", "content": [{"type": "video", "video": data}]}]


def test_the_wanted_frames_are_those_of_the_film() -> None:
    data = film(9, 32, 48, 1)
    all_of_them = frames_of(data)
    for wanted in ([0], [0, 3, 8], [2, 2, 5]):
        found = decode_film(data, wanted)
        assert np.array_equal(found, [all_of_them[number] for number in wanted])


def test_the_last_frame_stands_in_for_those_that_a_film_lacks() -> None:
    data = film(3, 32, 32, 1)
    found = decode_film(data, [1, 2, 5, 9])
    assert np.array_equal(found, [frames_of(data)[number] for number in (1, 2, 2, 2)])


def test_an_animation_is_a_film() -> None:
    assert decode_film(picture(20, 10, 1, "GIF"), [0, 1])[1].shape == (10, 20, 3)


@pytest.mark.parametrize(
    "data", [b"", b"not a film", film(3, 32, 32, 1)[:200], sound(wave(0.1, 1))]
)
def test_what_is_not_a_film(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="the film cannot be read"):
        decode_film(data, [0])


def test_a_file_that_names_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(film(3, 32, 32, 1))
    script = f"ffconcat version 1.0\nfile {tmp_path}/film.mp4\n".encode()
    # FFmpeg by itself would open it.
    with av.open(io.BytesIO(script), options={"safe": "0"}) as container:
        assert container.streams.video
    with pytest.raises(InvalidInput, match="the film cannot be read"):
        decode_film(script, [0])


def test_a_film_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = film(4, 320, 320, 1)
    with pytest.raises(TooLarge, match="frame 30,000 is asked for"):
        decode_film(data, [0, 30_000])
    monkeypatch.setattr(containers, "MAX_PIXELS", 3 * 320 * 320)
    assert len(decode_film(data, [0, 1, 2])) == 3
    with pytest.raises(TooLarge, match="scale it down"):
        decode_film(data, [0, 1, 2, 3])


def test_a_frame_that_only_claims_its_size_takes_no_memory() -> None:
    # A GIF of 60,000 by 60,000 pixels, of which there is none.
    header = b"GIF89a" + (60_000).to_bytes(2, "little") * 2 + b"\x80\x00\x00" + b"\x00" * 6
    frame = b"," + b"\x00" * 4 + (60_000).to_bytes(2, "little") * 2 + b"\x00\x02\x02L\x01\x00;"
    with pytest.raises((InvalidInput, TooLarge)):
        decode_film(header + frame, [0])


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "aac"), ("adts", "aac"), ("webm", "libopus"), ("mp3", "libmp3lame")]
)
def test_compressed_sounds(form: str, codec: str) -> None:
    time = np.arange(48_000) / 48_000
    heard = decode_sound(compressed(0.5 * np.sin(2 * np.pi * 440 * time), form, codec), 16_000)
    assert heard.dtype == np.float32
    assert abs(len(heard) - 16_000) < 1_600
    # As loud as it was, and of the same pitch.
    middle = heard[4_000:12_000]
    assert 0.45 < np.abs(middle).max() < 0.55
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 220


def test_a_compressed_sound_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    data = compressed(wave(1.5, 1, 48_000), "mp4", "aac")
    monkeypatch.setattr("stoker_workers.models.media.MAX_SECONDS", 1)
    with pytest.raises(TooLarge, match="longer than 1 seconds"):
        decode_sound(data, 16_000)


def test_of_many_samples_a_second_no_more_are_decoded_than_may_be() -> None:
    data = compressed(wave(1.5, 1, 48_000), "mp4", "aac")
    samples, rate = decode_samples(data, 7_200, most=10_000)
    assert rate == 48_000
    # It ends with the frame that goes beyond.
    assert 10_000 < len(samples) < 12_000


@pytest.mark.parametrize(
    ("task", "model"), [("video-classification", "videomae"), ("image-text-to-text", "llava")]
)
def test_films_that_take_too_long_together(
    task: str, model: str, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in (film_adapter, multimodal):
        monkeypatch.setattr(where, "FILM_SECONDS", 0.0)
    job = make_job(task, {"inputs": shown(task, film(4, 32, 32, 1))})
    with pytest.raises(TooLarge, match=r"films were not decoded within .*: send fewer"):
        load(ModelKey(task, tiny(model)), find_device("cpu")).preprocess(job, {})


@pytest.mark.parametrize(
    ("task", "model"), [("video-classification", "videomae"), ("image-text-to-text", "llava")]
)
def test_films_for_one_model_are_decoded_at_the_same_time(
    task: str, model: str, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def decode(data: bytes, wanted: list[int], end_by: float) -> list[Any]:
        both.wait(20)
        return decode_film(data, wanted, end_by)

    for where in (film_adapter, multimodal):
        monkeypatch.setattr(where, "decode_film", decode)
    job = make_job(task, {"inputs": shown(task, film(4, 32, 32, 1))})
    reader = load(ModelKey(task, tiny(model)), find_device("cpu"))

    assert reader.is_slow(job)
    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(lambda each: reader.preprocess(each, {}), [job, job])
    assert [each.length for each in one.chunks] == [each.length for each in two.chunks]


def test_a_chat_about_an_image_is_not_slow(tiny: TinyModel) -> None:
    reader = load(ModelKey("image-text-to-text", tiny("llava")), find_device("cpu"))
    said = [{"type": "image", "image": picture(32, 32, 1)}, {"type": "text", "text": "what?"}]
    chat = [{"role": "user", "content": said}]
    many: list[Any] = [chat, chat, "hello", {"text": "what?", "images": picture(32, 32, 1)}]
    for inputs in many:
        assert not reader.is_slow(make_job("image-text-to-text", {"inputs": inputs}))
    with_film = [*many[:1], shown("image-text-to-text", film(2, 32, 32, 1))]
    assert reader.is_slow(make_job("image-text-to-text", {"inputs": with_film}))
    films = {"text": "what?", "videos": [film(2, 32, 32, 1)]}
    assert reader.is_slow(make_job("any-to-any", {"inputs": films}))


def test_a_worker_without_a_decoder_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "find_spec", lambda module: None)
    with pytest.raises(Unserved, match="needs av, which is not installed: pip install av there"):
        decode_film(film(1, 32, 32, 1), [0])


def test_a_model_of_so_many_frames_refuses_others(tiny: TinyModel) -> None:
    model = load(ModelKey("video-classification", tiny("videomae")), find_device("cpu"))
    job = make_job(
        "video-classification",
        {"inputs": film(3, 32, 32, 1), "parameters": {"num_frames": 6}},
    )
    with pytest.raises(InvalidInput, match="looks at 4 frames: leave num_frames out"):
        model.preprocess(job, {})
