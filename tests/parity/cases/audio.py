"""Cases of tasks with models that listen."""

from tests.parity.cases.case import Case
from tests.tiny.media import sound, wave

SPEAK = {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 10}}

CASES = (
    Case(
        "speech-by-frames",
        "automatic-speech-recognition",
        "wav2vec2_layer",
        [
            (sound(wave(0.5, 1)), {}),
            (sound(wave(1.3, 2)), {"return_timestamps": "char"}),
            ([sound(wave(0.9, 3)), sound(wave(0.31, 4))], {"return_timestamps": "word"}),
            (sound(wave(2.1, 5)), {"chunk_length_s": 0.8, "stride_length_s": [0.2, 0.1]}),
        ],
        forwards=1,
    ),
    Case(
        "speech-by-frames-group-norm",
        "automatic-speech-recognition",
        "wav2vec2_group",
        [
            (sound(wave(0.5, 1)), {}),
            (sound(wave(0.5, 4)), {"return_timestamps": "char"}),
            (sound(wave(1.3, 2)), {"return_timestamps": "char"}),
            (sound(wave(0.9, 3)), {"return_timestamps": "word"}),
        ],
        forwards=3,
    ),
    Case(
        "speech-whisper",
        "automatic-speech-recognition",
        "whisper",
        [
            (sound(wave(0.5, 1)), SPEAK),
            (sound(wave(1.7, 2)), SPEAK),
            ([sound(wave(0.9, 3)), sound(wave(0.31, 4))], SPEAK),
            (sound(wave(3.1, 5)), {**SPEAK, "chunk_length_s": 1.5, "stride_length_s": 0.2}),
        ],
        forwards=1,
    ),
    Case(
        "speech-whisper-beams",
        "automatic-speech-recognition",
        "whisper",
        [(sound(wave(0.4 * seed, seed)), {}) for seed in (1, 2, 4)],
        forwards=1,
    ),
    Case(
        "speech-whisper-segments",
        "automatic-speech-recognition",
        "whisper",
        [
            (sound(wave(0.6 * seed, seed)), {**SPEAK, "return_timestamps": True})
            for seed in (1, 2, 3)
        ],
        forwards=1,
    ),
    Case(
        "speech-whisper-language",
        "automatic-speech-recognition",
        "whisper",
        [(sound(wave(0.6 * seed, seed)), {**SPEAK, "return_language": True}) for seed in (1, 2, 3)],
        forwards=1,
    ),
    Case(
        "speech-whisper-words",
        "automatic-speech-recognition",
        "whisper",
        [
            (sound(wave(0.6 * seed, seed)), {**SPEAK, "return_timestamps": "word"})
            for seed in (1, 2, 3)
        ],
        forwards=3,
    ),
    Case(
        "speech-whisper-long",
        "automatic-speech-recognition",
        "whisper",
        [
            (sound(wave(1.5 * seed, seed)), {**SPEAK, "return_timestamps": True})
            for seed in (1, 2, 3)
        ],
        forwards=3,
    ),
)
