"""Cases of tasks with models that answer questions."""

from tests.parity.cases.case import ENDLESS, ENDLESS_TABLE, LONG, MIDDLE, SHORT, Case
from tests.tiny.media import picture

MOVED = {"question": "Who moved?", "context": MIDDLE}
FOOD = {"question": "What was terrible about the food?", "context": SHORT}
LIVES = {"question": "Where does Alice live?", "context": LONG}
ALL = {"question": "Who lives in Paris?", "context": ENDLESS}

PEOPLE = {
    "name": ["Alice", "Bob", "Charles"],
    "age": ["36", "42", "57"],
    "city": ["Paris", "Berlin", "Paris"],
}
RIVERS = [{"river": "Spree", "city": "Berlin"}, {"river": "Seine", "city": "Paris"}]

INVOICE = ["invoice", "number", "2041", "total", "350", "dollars"]


def page(words: list[str], **shown: bytes) -> dict[str, object]:
    boxes = [
        [word, [20 + 40 * (n % 8), 20 + 60 * (n // 8), 50 + 40 * (n % 8), 60 + 60 * (n // 8)]]
        for n, word in enumerate(words)
    ]
    return {"word_boxes": boxes, **shown}


BILL = {"question": "What is the total?", **page(INVOICE)}
LETTER = {"question": "Where does she live now?", **page(LONG.split())}
BOOK = {"question": "Who lives in Paris?", **page((LONG + " " + MIDDLE).split() * 2)}
SHOWN = {"question": "What?", **page(["Paris"], image=picture(80, 100, 3))}

CASES = (
    Case(
        "question-answering",
        "question-answering",
        "bert_answerer",
        [
            (MOVED, {}),
            (FOOD, {"top_k": 3, "max_answer_len": 4}),
            ([LIVES, MOVED], {"align_to_words": False}),
            (ALL, {"top_k": 4, "doc_stride": 9, "max_seq_len": 33}),
            ([FOOD], {"handle_impossible_answer": True, "top_k": 2}),
            (ALL, {"handle_impossible_answer": True, "max_answer_len": 2}),
        ],
        forwards=1,
        judge="golden",
    ),
    Case(
        "table-question-answering",
        "table-question-answering",
        "tapas",
        [
            ({"table": PEOPLE, "query": "Where does Bob live?"}, {}),
            ([{"table": RIVERS, "query": "Which river is in Paris?"}], {"sequential": False}),
            ({"table": PEOPLE, "query": ["What is the age of Charles?", "Who?"]}, {}),
            ({"table": ENDLESS_TABLE, "query": "Where does Alice live?"}, {"truncation": True}),
            (
                [{"table": RIVERS, "query": "Where?"}, {"table": PEOPLE, "query": "Who?"}],
                {"truncation": "drop_rows_to_fit"},
            ),
        ],
        forwards=1,
    ),
    Case(
        "table-question-answering-in-turn",
        "table-question-answering",
        "tapas",
        [
            (
                {"table": PEOPLE, "query": ["Where does Bob live?", "And Alice?", "Who is 57?"]},
                {"sequential": True},
            ),
            ({"table": RIVERS, "query": "Which river is in Paris?"}, {"sequential": True}),
            ({"table": RIVERS, "query": "Which river is in Paris?"}, {}),
        ],
        forwards=3,
    ),
    Case(
        "document-question-answering",
        "document-question-answering",
        "layoutlm",
        [
            (BILL, {}),
            (LETTER, {"top_k": 3, "max_answer_len": 4}),
            ([BILL, LETTER], {"handle_impossible_answer": True, "top_k": 2}),
            (BOOK, {"max_seq_len": 40, "doc_stride": 10, "top_k": 2}),
        ],
        forwards=1,
    ),
    Case(
        "document-question-answering-by-letters",
        "document-question-answering",
        "layoutlmv3",
        [
            (BILL, {}),
            (SHOWN, {"top_k": 3}),
            (LETTER, {"handle_impossible_answer": True, "top_k": 2, "doc_stride": 20}),
        ],
        forwards=1,
    ),
    Case(
        "document-question-answering-by-picture",
        "document-question-answering",
        "donut",
        [
            ({"question": "What is it?", "image": picture(80, 100, 1)}, {}),
            ({"question": "Who was it?", "image": picture(64, 64, 2)}, {}),
            ({"question": "Where is it", "image": picture(120, 90, 4, "JPEG")}, {"top_k": 2}),
            ({"question": "And how many dollars?", "image": picture(90, 90, 5)}, {}),
        ],
        forwards=2,
    ),
)
