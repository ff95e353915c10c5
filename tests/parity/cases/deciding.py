"""Cases of the task that decides."""

from tests.parity.cases.case import LONG, MIDDLE, SHORT, Call, Case
from tests.tiny.media import picture

REFUND = {"type": "noul", "instructions": "Is a refund requested?"}
MEANT = {"type": "noul", "criteria": {"true": "praise", "false": None}}
TONE = {
    "type": "choice",
    "instructions": "What is the tone?",
    "criteria": {"calm": "polite", "angry": None, "sad": "in tears"},
}
URGENT = {
    "type": "score",
    "instructions": "How urgent?",
    "criteria": ["can wait", "this week", "today", "now"],
}

CALLS: list[Call] = [
    ({"state": SHORT, "questions": {"refund": REFUND}}, {}),
    ({"state": {"mail": LONG}, "questions": {"tone": TONE, "urgent": URGENT}}, {}),
    (
        [
            {"state": MIDDLE, "questions": {"tone": TONE}},
            {"state": [SHORT, LONG], "questions": {"a": MEANT, "b": REFUND, "c": URGENT}},
        ],
        {},
    ),
]

CASES = (
    Case("decision", "decision", "llama_decider", CALLS, forwards=1),
    Case("decision-by-a-head", "decision", "jev_decider", CALLS, forwards=1),
    Case(
        "decision-with-images",
        "decision",
        "llava",
        [
            (
                {
                    "state": "it is img-1 here",
                    "questions": {"tone": TONE},
                    "assets": {"img-1": picture(40, 30, 1)},
                },
                {},
            ),
            ({"state": SHORT, "questions": {"tone": TONE}}, {}),
            (
                {
                    "state": {"photo": "img-1"},
                    "questions": {"urgent": URGENT},
                    "assets": {"img-1": picture(50, 50, 2)},
                },
                {},
            ),
        ],
        forwards=3,
    ),
)
