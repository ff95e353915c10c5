"""Cases of tasks with models that sort sounds."""

from tests.parity.cases.case import Case
from tests.tiny.media import sound, wave

CASES = (
    Case(
        "audio-classification",
        "audio-classification",
        "wav2vec2_sorter_layer",
        [
            (sound(wave(0.5, 1)), {"top_k": 1}),
            (sound(wave(1.3, 2)), {"function_to_apply": "sigmoid"}),
            ([sound(wave(0.9, 3)), sound(wave(0.31, 4))], {"top_k": 9}),
            (sound(wave(0.7, 5)), {"top_k": None, "function_to_apply": "none"}),
        ],
        forwards=1,
    ),
    Case(
        "audio-classification-group-norm",
        "audio-classification",
        "wav2vec2_sorter_group",
        [
            (sound(wave(0.5, 1)), {}),
            (sound(wave(0.5, 4)), {"top_k": 2}),
            (sound(wave(1.3, 2)), {}),
            (sound(wave(0.9, 3)), {"function_to_apply": "sigmoid"}),
        ],
        forwards=3,
    ),
    Case(
        "audio-classification-spectrogram",
        "audio-classification",
        "spectrogram_sorter",
        [
            (sound(wave(0.4, 1)), {}),
            (sound(wave(0.7, 4)), {"top_k": 2}),
            (sound(wave(2.3, 2)), {"function_to_apply": "sigmoid"}),
        ],
        forwards=1,
    ),
    Case(
        "zero-shot-audio-classification",
        "zero-shot-audio-classification",
        "clap",
        [
            (sound(wave(0.5, 1)), {"candidate_labels": ["rain", "a dog barking"]}),
            (
                [sound(wave(0.9, 2)), sound(wave(0.3, 3))],
                {"candidate_labels": ["a bell", "wind", "somebody who laughs out loud"]},
            ),
            (
                sound(wave(0.7, 4)),
                {"candidate_labels": ["music"], "hypothesis_template": "I hear {} over there."},
            ),
            (
                sound(wave(0.8, 5)),
                {"candidate_labels": ["rain", "music"], "hypothesis_template": "{}"},
            ),
        ],
        forwards=1,
    ),
)
