"""Cases of tasks with models that talk about images and sounds."""

from typing import Any

from tests.parity.cases.case import Case
from tests.parity.cases.generation import WEATHER
from tests.tiny.media import picture, sound, wave

SHORT = "What is this?"
LONG = "Describe what you see on the picture, and how many foxes there are in all."


def greedy(tokens: int, **more: Any) -> dict[str, Any]:
    return {"max_new_tokens": tokens, "generate_kwargs": {"do_sample": False}, **more}


def ask(kind: str, *parts: bytes | str) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": kind, kind: part}
        for part in parts
    ]
    return [{"role": "user", "content": content}]


def prefill(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


ONE, TWO, THREE = picture(40, 30, 1), picture(64, 64, 2, "JPEG"), picture(90, 50, 3)

CASES = (
    Case(
        "image-text-to-text",
        "image-text-to-text",
        "llava",
        [
            (ask("image", ONE, SHORT), greedy(8)),
            (ask("image", TWO, LONG), greedy(11, return_full_text=False)),
            ([ask("image", THREE, SHORT), ask("image", ONE, TWO, LONG)], greedy(9)),
            (
                [*ask("image", TWO, SHORT), prefill("I see")],
                greedy(10, skip_special_tokens=False, clean_up_tokenization_spaces=True),
            ),
            (
                [*ask("image", TWO, SHORT), prefill("I see")],
                greedy(10, continue_final_message=False),
            ),
            ({"text": "USER: <image>\nName it.", "images": THREE}, greedy(12)),
            (ask("image", ONE, SHORT), greedy(9, tools=[WEATHER])),
        ],
        forwards=1,
    ),
    Case(
        "image-text-to-text-without-images",
        "image-text-to-text",
        "llava",
        [
            ([{"role": "user", "content": SHORT}], greedy(8)),
            ([{"role": "user", "content": LONG}], greedy(8, return_full_text=False)),
            ("Once upon a time", greedy(8)),
        ],
        forwards=1,
    ),
    Case(
        "image-text-to-text-stop-strings",
        "image-text-to-text",
        "llava",
        [
            (ask("image", each, text), greedy(12, stop_sequence=["e", "a", "o"]))
            for each, text in ((ONE, SHORT), (TWO, LONG), (THREE, SHORT))
        ],
        forwards=1,
    ),
    Case(
        "image-text-to-text-beams",
        "image-text-to-text",
        "llava",
        [
            (
                ask("image", each, text),
                {
                    "max_new_tokens": 6,
                    "generate_kwargs": {"num_beams": 3, "num_return_sequences": 2},
                    "return_full_text": False,
                },
            )
            for each, text in ((ONE, SHORT), (TWO, LONG), (THREE, SHORT))
        ],
        forwards=1,
    ),
    Case(
        "image-text-to-text-in-a-way-of-its-own",
        "image-text-to-text",
        "blip_talker",
        [
            ({"text": "the dog", "images": ONE}, greedy(6)),
            ({"text": "the quick brown fox", "images": TWO}, greedy(6)),
            ({"text": "the cat", "images": THREE}, greedy(6, return_full_text=False)),
        ],
        forwards=3,
    ),
    Case(
        "any-to-any",
        "any-to-any",
        "qwen2_audio",
        [
            (ask("audio", sound(wave(0.5, 1)), SHORT), greedy(8)),
            (ask("audio", sound(wave(1.3, 2)), LONG), greedy(11, return_full_text=False)),
            (
                [ask("audio", sound(wave(0.9, 3)), SHORT), ask("audio", sound(wave(1.9, 4)), LONG)],
                greedy(9, generation_mode="text", return_full_text=True),
            ),
            ([*ask("audio", sound(wave(0.7, 5)), SHORT), prefill("I hear")], greedy(10)),
            (ask("audio", sound(wave(0.8, 7)), SHORT), greedy(9, tools=[WEATHER])),
            ({"text": "<|AUDIO|> Name it.", "audio": sound(wave(0.6, 6))}, greedy(8)),
        ],
        forwards=1,
    ),
)

# They run where torchvision is: with_torchvision.py.
SEEN = (
    Case(
        "any-to-any-images",
        "any-to-any",
        "llava",
        [
            (ask("image", ONE, SHORT), greedy(8)),
            (ask("image", TWO, LONG), greedy(11, return_full_text=False)),
            ([ask("image", THREE, SHORT), ask("image", ONE, TWO, LONG)], greedy(9)),
        ],
        forwards=1,
    ),
    Case(
        "image-text-to-text-of-any-size",
        "image-text-to-text",
        "qwen2_vl",
        [
            (ask("image", ONE, SHORT), greedy(8)),
            (ask("image", TWO, LONG), greedy(11, return_full_text=False)),
            ([ask("image", THREE, SHORT), ask("image", ONE, TWO, LONG)], greedy(9)),
        ],
        forwards=1,
    ),
    Case(
        "any-to-any-by-a-model-that-paints",
        "any-to-any",
        "janus",
        [
            (ask("image", ONE, SHORT), greedy(8)),
            (ask("image", TWO, LONG), greedy(9, return_full_text=False)),
        ],
        forwards=2,
    ),
)
