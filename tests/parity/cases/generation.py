"""Cases of tasks with models that generate text."""

from tests.parity.cases.case import ENDLESS, LONG, MIDDLE, SHORT, Case

CHAT = [{"role": "user", "content": "What is the capital of France?"}]
PREFILLED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where does Alice live?"},
    {"role": "assistant", "content": "Alice lives"},
]
GREEDY = {"do_sample": False, "max_new_tokens": 12}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
PARIS = {"title": "Paris", "text": "Paris is the capital of France."}

CASES = (
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
        "text-generation-beside-the-chat",
        "text-generation",
        "llama_chat",
        [
            (CHAT, {**GREEDY, "tools": [WEATHER]}),
            (CHAT, {**GREEDY, "documents": [PARIS, {"title": "Bonn", "text": "On the Rhine."}]}),
            ([PREFILLED, CHAT], {**GREEDY, "tools": [WEATHER, WEATHER], "documents": [PARIS]}),
            (CHAT, GREEDY),
        ],
        forwards=1,
    ),
    Case(
        "text-generation-long-prompts",
        "text-generation",
        "llama_chat",
        [
            (ENDLESS, {**GREEDY, "handle_long_generation": "hole"}),
            (ENDLESS, {**GREEDY, "handle_long_generation": "hole", "prefix": "Once "}),
            (
                ENDLESS,
                {**GREEDY, "tokenizer_encode_kwargs": {"truncation": True, "max_length": 40}},
            ),
            (
                [CHAT, PREFILLED],
                {**GREEDY, "tokenizer_encode_kwargs": {"truncation": True, "max_length": 30}},
            ),
        ],
        forwards=1,
    ),
    Case(
        "text-generation-max-length",
        "text-generation",
        "llama_chat",
        [
            (SHORT, {"do_sample": False, "max_length": len(SHORT) + 9}),
            (LONG, {"do_sample": False, "max_length": len(LONG) + 14}),
            (SHORT, {"do_sample": False, "max_length": len(SHORT) + 11, "prefix": "Once "}),
            (MIDDLE, {**GREEDY, "max_length": 2}),
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
)
