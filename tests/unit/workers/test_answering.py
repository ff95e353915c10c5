"""Questions about texts, tables and pages: what is refused, and what tesseract reads."""

import base64
import io
import shutil
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont

from stoker_tasks.errors import InvalidInput, TooLarge, Unserved
from stoker_tasks.result import Success
from stoker_tasks.wire import make_job
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.served import ServedModels
from stoker_workers.engine.window import Budget
from stoker_workers.models.adapters import documents
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.doubles.line import Told, delivery
from tests.doubles.store import payloads
from tests.parity.batched import differences, jobs_of, pipeline_alone, run_batched
from tests.parity.cases.case import ENDLESS, ENDLESS_TABLE, MIDDLE
from tests.support.until import until
from tests.tiny.fixture import TinyModel

SEES = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")


def loaded(task: str, folder: str) -> Adapter:
    return load(ModelKey(task, folder), find_device("cpu"))


def answer(model: Adapter, task: str, inputs: Any, **parameters: Any) -> Any:
    [output], _ = run_batched(model, jobs_of(task, [(inputs, parameters)]))
    return output.value


def written(text: str) -> bytes:
    """A page with large letters."""
    image = Image.new("RGB", (900, 200), "white")
    font = ImageFont.load_default(size=60)
    ImageDraw.Draw(image).text((40, 60), text, fill="black", font=font)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"doc_stride": 40, "max_seq_len": 30}, "doc_stride is 40, and beside the question"),
        ({"doc_stride": 20, "max_seq_len": 30}, "room for 20 tokens"),
        ({"max_seq_len": 6}, "which leaves none of the 6 of a chunk"),
        ({"max_seq_len": 400}, "or set max_seq_len"),
    ],
)
def test_chunks_that_make_no_sense_are_refused(
    tiny: TinyModel, parameters: dict[str, Any], reason: str
) -> None:
    model = loaded("question-answering", tiny("bert_answerer"))
    asked = {"question": "who moved to berlin ?", "context": ENDLESS}

    with pytest.raises(InvalidInput, match=reason):
        answer(model, "question-answering", asked, **parameters)


def test_a_long_question_leaves_chunks_that_fit(tiny: TinyModel) -> None:
    model = loaded("question-answering", tiny("bert_answerer"))
    asked = {"question": "the fox " * 14, "context": ENDLESS}

    assert answer(model, "question-answering", asked, max_seq_len=40)["answer"] in ENDLESS


def test_a_table_is_cut_only_if_that_is_asked_for(tiny: TinyModel) -> None:
    model = loaded("table-question-answering", tiny("tapas"))
    asked = {"table": ENDLESS_TABLE, "query": "Who?"}

    with pytest.raises(InvalidInput, match="reads at most 64: shorten it, or set truncation"):
        answer(model, "table-question-answering", asked)
    with pytest.raises(InvalidInput, match="reads at most 64"):
        answer(model, "table-question-answering", asked, truncation="do_not_truncate")
    assert "cells" in answer(model, "table-question-answering", asked, truncation=True)


@pytest.mark.parametrize(
    "table",
    [
        {"age": [36, 42]},
        {},
        {"age": []},
        [],
        [{}],
        [{"age": 36}],
        "age",
        {"age": ["36"], "name": "Bob"},
        {"age": ["36"], "name": ["Bob", "Alice"]},
        [{"age": "36"}, {"age": "42", "name": "Bob"}],
    ],
)
def test_a_table_has_a_text_in_each_cell(table: Any) -> None:
    with pytest.raises(InvalidInput, match="a table has lists of strings by column"):
        make_job("table-question-answering", {"inputs": {"table": table, "query": "Who?"}})


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"word_boxes": [["Paris", [0, 0, 1001, 10]]]},
        {"word_boxes": [["Paris", [20, 0, 10, 10]]]},
        {"word_boxes": [["Paris", [0, 0, 10]]]},
        {"image": "page.png"},
    ],
)
def test_a_page_is_shown_by_words_in_their_places_or_by_an_image(shown: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="in thousandths of the page"):
        make_job("document-question-answering", {"inputs": {"question": "Where?", **shown}})


@pytest.mark.parametrize("name", ["lang", "tesseract_config"])
@pytest.mark.parametrize("value", ["-c debug_file=x", "../eng", "--user-words x", "eng;ls"])
def test_tesseract_is_given_no_other_settings(name: str, value: str) -> None:
    fields = {"inputs": {"question": "?", "word_boxes": []}, "parameters": {name: value}}

    with pytest.raises(InvalidInput, match=rf"parameters\.{name}"):
        make_job("document-question-answering", fields)


@SEES
@pytest.mark.parametrize("name", ["layoutlm", "layoutlmv3"])
def test_tesseract_reads_a_page_whose_words_are_not_given(tiny: TinyModel, name: str) -> None:
    task, folder = "document-question-answering", tiny(name)
    page = written("Invoice 2041 for Alice")
    settings = {"top_k": 2, "lang": "eng", "tesseract_config": "--psm 6"}

    found = answer(loaded(task, folder), task, {"question": "Who?", "image": page}, **settings)

    alone = pipeline_alone(task, folder)
    wanted = alone({"question": "Who?", "image": Image.open(io.BytesIO(page))}, **settings)
    assert not differences(found, wanted)
    assert {word for each in found for word in each["answer"].split()} <= {
        "Invoice",
        "2041",
        "for",
        "Alice",
    }


@SEES
def test_a_page_that_tesseract_reads_holds_up_no_other(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded("document-question-answering", tiny("layoutlm"))
    read, go = documents._ocr, threading.Event()

    def slowly(*args: Any) -> Any:
        assert go.wait(30)
        return read(*args)

    monkeypatch.setattr(documents, "_ocr", slowly)
    page = {"base64": base64.b64encode(written("Alice")).decode()}
    words = [["Alice", [10, 10, 90, 30]]]
    there: Future[WarmModel] = Future()
    there.set_result(model)
    told = Told()

    def get(key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        return there

    flow = Flow(ServedModels(get), payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    for name, shown in (("page", {"image": page}), ("words", {"word_boxes": words})):
        made = delivery(name, "stoker.document_question_answering")
        inputs = {"question": "Who?", **shown}
        flow.accept(replace(made, kwargs={"inputs": inputs, "model": "layoutlm"}))
    until(lambda: "words" in told.outcomes, 30)
    assert "page" not in told.outcomes
    go.set()
    until(lambda: "page" in told.outcomes, 30)

    assert flow.stop(10)
    for each in told.outcomes.values():
        assert isinstance(each, Success)
        assert each.output[0]["answer"] == "Alice"


@SEES
def test_a_page_that_says_nothing_is_refused(tiny: TinyModel) -> None:
    task = "document-question-answering"
    model = loaded(task, tiny("layoutlm"))

    with pytest.raises(InvalidInput, match="the page has no words"):
        answer(model, task, {"question": "Who?", "image": written("")})
    with pytest.raises(InvalidInput, match="is the language xyz installed"):
        answer(model, task, {"question": "Who?", "image": written("Alice")}, lang="xyz")


@SEES
def test_a_page_that_takes_tesseract_too_long_is_given_up(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = "document-question-answering"
    model = loaded(task, tiny("layoutlm"))
    others = psutil.Process().children()
    # In a hundredth of a second it has not even loaded its language.
    monkeypatch.setattr(documents, "OCR_SECONDS", 0.01)

    with pytest.raises(
        TooLarge, match=r"did not read the job's pages within 0\.01 s: .* word_boxes"
    ):
        answer(model, task, {"question": "Who?", "image": written("Alice")})

    assert psutil.Process().children() == others


def test_without_tesseract_words_have_to_be_given(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = "document-question-answering"
    model = loaded(task, tiny("layoutlm"))
    monkeypatch.setenv("PATH", "")
    words = [["Alice", [10, 10, 90, 30]]]

    with pytest.raises(Unserved, match="apt install tesseract-ocr") as refused:
        answer(model, task, {"question": "Who?", "image": written("Alice")})
    shown = {"question": "Who?", "image": written("Alice"), "word_boxes": words}
    [found] = answer(model, task, shown)

    assert "send word_boxes" in refused.value.message
    assert found["answer"] == "Alice"


def test_a_model_that_reads_pictures_needs_one(tiny: TinyModel) -> None:
    task = "document-question-answering"
    model = loaded(task, tiny("donut"))

    with pytest.raises(InvalidInput, match="reads the picture of a page: give image"):
        answer(model, task, {"question": "Who?", "word_boxes": [[MIDDLE, [0, 0, 9, 9]]]})
