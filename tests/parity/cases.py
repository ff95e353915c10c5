"""Jobs of different callers that may share a forward pass, for each task."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import soundfile
from PIL import Image

from tests.tiny.media import picture, sound, wave

Call = tuple[Any, Mapping[str, Any]]

SHORT = "The food was terrible."
MIDDLE = "Bob moved to Berlin with his brother Charles in the summer."
LONG = (
    "This movie was wonderful, the actors were great and the music was lovely. "
    "Alice lives in Paris."
)
ENDLESS = " ".join([LONG] * 6)
CHAT = [{"role": "user", "content": "What is the capital of France?"}]
PREFILLED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where does Alice live?"},
    {"role": "assistant", "content": "Alice lives"},
]
GREEDY = {"do_sample": False, "max_new_tokens": 12}
SPEAK = {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 10}}


@dataclass(frozen=True)
class Case:
    """Calls that are to be batched.

    Attributes:
        name: The test's name.
        task: The task's name.
        model: The tiny checkpoint.
        calls: Inputs and parameters of each job.
        forwards: How many forward passes they take together.
    """

    name: str
    task: str
    model: str
    calls: Sequence[Call]
    forwards: int

    def __str__(self) -> str:
        return self.name


def for_pipeline(inputs: Any) -> Any:
    """Give inputs as the pipeline takes them: the bytes of files decoded."""
    if isinstance(inputs, list) and isinstance(inputs[0], bytes):
        return [for_pipeline(each) for each in inputs]
    if not isinstance(inputs, bytes):
        return inputs
    if inputs.startswith(b"RIFF"):
        return soundfile.read(io.BytesIO(inputs), dtype="float32")[0]
    return Image.open(io.BytesIO(inputs))


CASES = (
    Case(
        "text-classification",
        "text-classification",
        "bert_classifier",
        [
            (SHORT, {}),
            (LONG, {"top_k": 2}),
            ([SHORT, LONG, MIDDLE], {"function_to_apply": "sigmoid"}),
            ({"text": SHORT, "text_pair": MIDDLE}, {}),
            ([MIDDLE], {"top_k": None, "function_to_apply": "none"}),
            (ENDLESS, {"truncation": True, "top_k": 1}),
            ([SHORT, {"text": MIDDLE, "text_pair": LONG}], {"truncation": True, "max_length": 9}),
        ],
        forwards=1,
    ),
    Case(
        "text-classification-decoder",
        "text-classification",
        "llama_classifier",
        [
            (SHORT, {}),
            (LONG, {"top_k": 3}),
            ([MIDDLE, SHORT], {"function_to_apply": "sigmoid", "top_k": None}),
        ],
        forwards=1,
    ),
    Case(
        "token-classification",
        "token-classification",
        "bert_tagger",
        [
            (SHORT, {}),
            (LONG, {"aggregation_strategy": "simple", "ignore_labels": ["I-LOC"]}),
            ([MIDDLE, SHORT], {"aggregation_strategy": "max", "ignore_labels": []}),
            (MIDDLE.split(), {"is_split_into_words": True, "aggregation_strategy": "first"}),
            (
                [SHORT.split(), LONG.split()],
                {"is_split_into_words": True, "delimiter": "-", "aggregation_strategy": "average"},
            ),
            (ENDLESS, {"stride": 8, "aggregation_strategy": "simple"}),
            (ENDLESS, {"truncation": True, "ignore_labels": ["B-PER"]}),
        ],
        forwards=1,
    ),
    Case(
        "fill-mask",
        "fill-mask",
        "bert_filler",
        [
            ("The food was [MASK].", {"top_k": 1}),
            ("Bob moved to [MASK] with his brother Charles in the summer.", {}),
            (
                ["Alice lives in [MASK] since March, and works there."],
                {"targets": ["paris", "zzz"]},
            ),
            ("The [MASK] was [MASK] and the service was even worse.", {"top_k": 3}),
            (["A [MASK] fox.", "The quick brown [MASK] jumps over the dog."], {"targets": "bank"}),
            ("[MASK] " + ENDLESS, {"tokenizer_kwargs": {"truncation": True}, "top_k": 2}),
        ],
        forwards=1,
    ),
    Case(
        "fill-mask-offset-positions",
        "fill-mask",
        "roberta_filler",
        [
            ("a <mask>", {}),
            ("The food was <mask> today.", {"top_k": 2}),
            ("Bob moved to <mask> in summer.", {"targets": ["a", "b", "c"]}),
        ],
        forwards=1,
    ),
    Case(
        "feature-extraction",
        "feature-extraction",
        "bert_encoder",
        [
            (SHORT, {}),
            (LONG, {"truncation": False}),
            ([MIDDLE, SHORT], {}),
            (ENDLESS, {"truncation": True}),
            (LONG, {"tokenize_kwargs": {"truncation": True, "max_length": 5}}),
        ],
        forwards=1,
    ),
    Case(
        "zero-shot-classification",
        "zero-shot-classification",
        "bert_nli",
        [
            (SHORT, {"candidate_labels": "politics, sports"}),
            (LONG, {"candidate_labels": ["travel", "science", "cooking"], "multi_label": True}),
            ([MIDDLE, SHORT], {"candidate_labels": ["movie"], "hypothesis_template": "On {}!"}),
            (ENDLESS, {"candidate_labels": ["food", "music"], "truncation": True}),
        ],
        forwards=1,
    ),
    Case(
        "zero-shot-classification-encoder-decoder",
        "zero-shot-classification",
        "bart_nli",
        [
            (SHORT, {"candidate_labels": "politics, sports"}),
            ("Food.", {"candidate_labels": ["a", "b", "c"], "hypothesis_template": "{}"}),
            (MIDDLE, {"candidate_labels": ["movie"], "multi_label": True}),
        ],
        forwards=1,
    ),
    Case(
        "text-generation",
        "text-generation",
        "llama_chat",
        [
            (SHORT, {**GREEDY, "max_new_tokens": 8}),
            (LONG, {**GREEDY, "return_full_text": False, "max_new_tokens": 15}),
            (CHAT, {**GREEDY, "skip_special_tokens": False}),
            ([PREFILLED, CHAT], {**GREEDY, "max_new_tokens": 9}),
            (PREFILLED, {**GREEDY, "continue_final_message": False}),
            ([SHORT, "A"], {**GREEDY, "prefix": "Once ", "add_special_tokens": True}),
            (ENDLESS, {**GREEDY, "truncation": True, "clean_up_tokenization_spaces": True}),
        ],
        forwards=1,
    ),
    Case(
        "text-generation-repetition-penalty",
        "text-generation",
        "llama_chat",
        [
            (SHORT, {**GREEDY, "repetition_penalty": 1.8}),
            (LONG, {**GREEDY, "repetition_penalty": 1.8}),
            (CHAT, {**GREEDY, "repetition_penalty": 1.8}),
        ],
        forwards=1,
    ),
    Case(
        "text-generation-stop-strings",
        "text-generation",
        "llama_chat",
        [
            (each, {**GREEDY, "stop_sequence": ["e", "a", "o"], "skip_special_tokens": skip})
            for each, skip in ((SHORT, False), (LONG, True), (MIDDLE, False), (CHAT, False))
        ],
        forwards=1,
    ),
    Case(
        "text-generation-beams",
        "text-generation",
        "llama_chat",
        [
            (each, {**GREEDY, "num_beams": 3, "num_return_sequences": 2, "return_full_text": full})
            for each, full in ((SHORT, False), ([LONG, MIDDLE], True), (CHAT, True))
        ],
        forwards=1,
    ),
    Case(
        "text-generation-ngrams",
        "text-generation",
        "gpt2",
        [
            (SHORT, {**GREEDY, "no_repeat_ngram_size": 2}),
            (SHORT, {**GREEDY, "no_repeat_ngram_size": 2, "return_full_text": False}),
            (MIDDLE, {**GREEDY, "no_repeat_ngram_size": 2}),
        ],
        forwards=2,
    ),
    Case(
        "text-generation-without-pad-token",
        "text-generation",
        "gpt2",
        [
            (SHORT, GREEDY),
            (LONG, {**GREEDY, "return_full_text": False}),
            ("", GREEDY),
            ([MIDDLE, "A"], {**GREEDY, "skip_special_tokens": False}),
        ],
        forwards=1,
    ),
    Case(
        "image-classification",
        "image-classification",
        "vit_classifier",
        [
            (picture(40, 30, 1), {"top_k": 1}),
            (picture(64, 64, 2, "JPEG"), {"function_to_apply": "sigmoid"}),
            ([picture(90, 50, 3), picture(20, 70, 4)], {"top_k": 3, "function_to_apply": "none"}),
        ],
        forwards=1,
    ),
    Case(
        "image-classification-of-any-size",
        "image-classification",
        "resnet_classifier",
        [
            (picture(40, 30, 1), {"top_k": 1}),
            (picture(40, 30, 5), {"top_k": 2}),
            (picture(64, 64, 2), {"function_to_apply": "sigmoid"}),
            (picture(30, 40, 3), {"top_k": 9}),
        ],
        forwards=3,
    ),
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
