"""Cases of tasks with models that rewrite a text."""

from tests.parity.cases.case import ENDLESS, LONG, MIDDLE, SHORT, Case

GREEDY = {"num_beams": 1, "max_new_tokens": 12}
NLLB = {**GREEDY, "src_lang": "eng_Latn", "tgt_lang": "deu_Latn"}

CASES = (
    Case(
        "summarization",
        "summarization",
        "t5_rewriter",
        [
            (SHORT, GREEDY),
            (LONG, {**GREEDY, "max_new_tokens": 15}),
            (
                [MIDDLE, SHORT],
                {**GREEDY, "max_new_tokens": 9, "clean_up_tokenization_spaces": True},
            ),
            (ENDLESS, {**GREEDY, "truncation": True, "max_new_tokens": 8}),
            (MIDDLE, {**GREEDY, "return_tensors": True}),
        ],
        forwards=1,
        judge="golden",
    ),
    Case(
        "summarization-beams-of-the-checkpoint",
        "summarization",
        "t5_rewriter",
        [
            (SHORT, {"max_new_tokens": 12}),
            (LONG, {"max_new_tokens": 12, "return_tensors": True}),
            ([MIDDLE, "Food."], {"max_new_tokens": 12, "clean_up_tokenization_spaces": True}),
        ],
        forwards=1,
        judge="golden",
    ),
    Case(
        "text2text-generation",
        "text2text-generation",
        "t5_rewriter",
        [
            (SHORT, {**GREEDY, "stop_sequence": "l"}),
            (LONG, {**GREEDY, "stop_sequence": "l", "max_new_tokens": 14}),
            ([MIDDLE, "Food."], {**GREEDY, "stop_sequence": "lo", "truncation": True}),
        ],
        forwards=1,
        judge="golden",
    ),
    Case(
        "text2text-generation-as-it-comes",
        "text2text-generation",
        "t5_rewriter",
        [(SHORT, {}), (LONG, {"truncation": True}), ([MIDDLE, "Food."], {})],
        forwards=1,
        judge="golden",
    ),
    Case(
        "text2text-generation-several-each",
        "text2text-generation",
        "t5_rewriter",
        [
            (each, {"max_new_tokens": 10, "num_beams": 3, "num_return_sequences": 2})
            for each in (SHORT, LONG, [MIDDLE, SHORT])
        ],
        forwards=1,
        judge="golden",
    ),
    Case(
        "text2text-generation-with-a-forced-end",
        "text2text-generation",
        "bart_rewriter",
        [
            (SHORT, {**GREEDY, "return_tensors": True}),
            (LONG, {**GREEDY, "max_new_tokens": 9, "return_tensors": True}),
            ([MIDDLE, "Food."], {**GREEDY, "return_tensors": True}),
            (MIDDLE, {**GREEDY, "max_new_tokens": 9}),
        ],
        forwards=2,
        judge="golden",
    ),
    Case(
        "text2text-generation-by-length",
        "text2text-generation",
        "bart_rewriter",
        [
            (each, {"num_beams": 2, "max_length": length, "min_length": least})
            for each, length, least in ((SHORT, 9, 4), (LONG, 9, 4), (MIDDLE, 7, 4), (SHORT, 9, 6))
        ],
        forwards=3,
        judge="direct",
    ),
    Case(
        "translation",
        "translation",
        "nllb_translator",
        [
            (SHORT, NLLB),
            (LONG, {**NLLB, "src_lang": "fra_Latn", "max_new_tokens": 15}),
            ([MIDDLE, "Food."], {**NLLB, "src_lang": "zul_Latn", "truncation": True}),
            (LONG, {**NLLB, "tgt_lang": "fra_Latn"}),
        ],
        forwards=2,
        judge="direct",
    ),
    Case(
        "translation-of-one-pair",
        "translation",
        "marian_translator",
        [
            (SHORT, GREEDY),
            (LONG, {**GREEDY, "max_new_tokens": 15}),
            ([MIDDLE, "Food."], {**GREEDY, "clean_up_tokenization_spaces": True}),
        ],
        forwards=1,
        judge="golden",
    ),
    Case(
        "translation-by-prompt",
        "translation",
        "t5_rewriter",
        [
            (SHORT, {"max_new_tokens": 12}),
            (LONG, {"max_new_tokens": 12, "src_lang": "en", "tgt_lang": "de"}),
            ([MIDDLE, "Food."], {"max_new_tokens": 12, "src_lang": "en", "tgt_lang": "fr"}),
        ],
        forwards=2,
        judge="golden",
    ),
)
