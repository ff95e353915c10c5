"""Cases of tasks with models that read a text in one pass."""

from tests.parity.cases.case import ENDLESS, LONG, MIDDLE, SHORT, Case

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
)
