"""Cases of tasks with models that look at images and use words."""

from tests.parity.cases.case import ENDLESS, Case
from tests.tiny.media import picture

GREEDY = {"do_sample": False}
SHORT = "What is this?"
LONG = "What is the capital of the country with the quick brown fox in the summer?"

CASES = (
    Case(
        "image-to-text",
        "image-to-text",
        "blip_captioner",
        [
            (picture(40, 30, 1), {"max_new_tokens": 8, "generate_kwargs": GREEDY}),
            (picture(64, 64, 2, "JPEG"), {"max_new_tokens": 11, "generate_kwargs": GREEDY}),
            (
                [picture(90, 50, 3), picture(20, 70, 4)],
                {"generate_kwargs": {**GREEDY, "max_new_tokens": 9}},
            ),
        ],
        forwards=1,
    ),
    Case(
        "image-to-text-with-prompts",
        "image-to-text",
        "blip_captioner",
        [
            (picture(40, 30, 1), {"max_new_tokens": 8, "prompt": "the dog"}),
            (picture(64, 64, 2), {"max_new_tokens": 8, "prompt": "the cat"}),
            (picture(90, 50, 3), {"max_new_tokens": 8, "prompt": "this example is about"}),
        ],
        forwards=2,
    ),
    Case(
        "image-to-text-beams",
        "image-to-text",
        "vit_gpt2",
        [
            (
                picture(30 * seed, 40, seed),
                {"max_new_tokens": 7, "generate_kwargs": {"num_beams": 3}},
            )
            for seed in (1, 2, 3)
        ],
        forwards=1,
    ),
    Case(
        "image-to-text-sequences",
        "image-to-text",
        "vit_gpt2",
        [
            (
                picture(30 * seed, 40, seed),
                {
                    "max_new_tokens": 7,
                    "generate_kwargs": {"num_beams": 3, "num_return_sequences": 2},
                },
            )
            for seed in (1, 2, 3)
        ],
        forwards=1,
    ),
    Case(
        "visual-question-answering",
        "visual-question-answering",
        "vilt",
        [
            ({"image": picture(40, 30, 1), "question": SHORT}, {"top_k": 1}),
            ({"image": picture(64, 64, 2), "question": LONG}, {}),
            (
                [
                    {"image": picture(90, 50, 3), "question": "Is the dog brown?"},
                    {"image": picture(30, 80, 4), "question": "How many?"},
                ],
                {"top_k": 9, "padding": "max_length"},
            ),
            ({"image": picture(50, 50, 5), "question": ENDLESS}, {"truncation": True}),
        ],
        forwards=1,
    ),
    Case(
        "visual-question-answering-written",
        "visual-question-answering",
        "blip_answerer",
        [
            ({"image": picture(40, 30, 1), "question": "What is Bob?"}, {}),
            ({"image": picture(64, 64, 2), "question": LONG}, {}),
            ({"image": picture(90, 50, 3), "question": "What is Alice?"}, {}),
            ({"image": picture(30, 50, 4), "question": "Is the lazy dog near Paris?"}, {}),
        ],
        forwards=3,
    ),
)
