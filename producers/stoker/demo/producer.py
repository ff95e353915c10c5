"""The demo's producer, a process of its own: submits, watches, measures, answers.

    python -m stoker.demo.producer FOLDER MODEL CHAT_MODEL

MODEL embeds; CHAT_MODEL is a folder that may not be there yet. The IDs of all jobs and the answers
are left in FOLDER.
"""

import hashlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stoker import (
    Client,
    Failure,
    FeatureExtraction,
    JobHandle,
    StokerError,
    Success,
    TextGeneration,
)
from stoker.demo.answers import FIRST, IDS, Answers, JobIds, answer
from stoker.demo.corpus import Paragraph, load_corpus, summarize
from stoker.demo.fetched import fetch_array
from stoker.demo.questions import MUST_SAY, PROMPT, QUESTIONS, Question
from stoker.demo.report import Measures, measure
from stoker_tasks.text import FeatureExtractionParameters
from stoker_tasks.writing import ChatMessage, TextGenerationParameters

_POOLING: Final = FeatureExtractionParameters(pooling="mean", normalize=True, truncation=True)
_EXCERPT: Final = 200
# Enough for a sentence.
_NEW_TOKENS: Final = 24


def main(arguments: Sequence[str]) -> int:
    """Run the demo's jobs; the exit status is 1 if an answer is wrong."""
    folder, model, chat_model = Path(arguments[0]), arguments[1], Path(arguments[2])
    console = Console()
    corpus = load_corpus()
    summary = summarize(corpus)
    console.print(
        f"Corpus: {summary.texts} paragraphs of the Python language reference, median "
        f"{summary.median_words} words, longest {summary.longest_words}, "
        f"sha256 {summary.sha256[:16]}",
        highlight=False,
        soft_wrap=True,
    )
    with Client() as client:
        began = time.monotonic()
        jobs = [paragraph_job(paragraph, model) for paragraph in corpus]
        jobs += [question_job(question, model) for question in QUESTIONS]
        handles = client.submit_many(jobs)
        results = watch(client, handles, console)
        measures = measure([result.timing for result in results], time.monotonic() - began)
        chat_handle, chat = _chat(client, chat_model, console)
        fetched = fetch_array(client, model, corpus)
    ids = [handle.id for handle in handles]
    known = JobIds(ids[: len(corpus)], ids[len(corpus) :], chat_handle.id)
    (folder / IDS).write_text(json.dumps(asdict(known)), encoding="utf-8")
    answers = answer(results[: len(corpus)], results[len(corpus) :], chat)
    (folder / FIRST).write_text(answers.to_json(), encoding="utf-8")
    _show(console, measures, answers)
    said = f"\nFetched by a presigned URL: {fetched}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    return 0 if answers.right else 1


def watch(client: Client, handles: Sequence[JobHandle], console: Console) -> list[Success]:
    """Wait for jobs behind a progress bar.

    Args:
        client: The client that submitted them.
        handles: The jobs.
        console: Where the bar is drawn.

    Returns:
        Their results, in the order of the handles.

    Raises:
        StokerError: One of them failed.
    """
    results: dict[str, Success] = {}
    batches: set[str] = set()
    progress = Progress(
        TextColumn("Embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} jobs/s"),
        TextColumn("mean batch {task.fields[batch]:.1f}"),
        TimeElapsedColumn(),
        console=console,
    )
    with progress:
        bar = progress.add_task("", total=len(handles), rate=0.0, batch=0.0)
        began = time.monotonic()
        for handle, result in client.as_completed(handles):
            if isinstance(result, Failure):
                raise result.to_error()
            results[handle.id] = result
            batches.add(result.timing.batch)
            progress.update(
                bar,
                completed=len(results),
                rate=len(results) / (time.monotonic() - began),
                batch=len(results) / len(batches),
            )
    return [results[handle.id] for handle in handles]


def paragraph_job(paragraph: Paragraph, model: str) -> FeatureExtraction:
    """Give the job of one text.

    All that an answer needs travels with the result: whoever knows the IDs needs no corpus.
    """
    return FeatureExtraction(
        inputs=paragraph.text,
        model=model,
        parameters=_POOLING,
        metadata={
            "topic": paragraph.topic,
            "excerpt": paragraph.text[:_EXCERPT],
            "digest": hashlib.sha256(paragraph.text.encode()).hexdigest()[:16],
        },
    )


def question_job(question: Question, model: str) -> FeatureExtraction:
    """Give the job of one question."""
    return FeatureExtraction(
        inputs=question.text,
        model=model,
        parameters=_POOLING,
        metadata={"question": question.text, "topic": question.topic},
    )


def chat_job(model: str) -> TextGeneration:
    """Give the job of the chat prompt."""
    return TextGeneration(
        inputs=[ChatMessage(role="user", content=PROMPT)],
        model=model,
        parameters=TextGenerationParameters(max_new_tokens=_NEW_TOKENS, do_sample=False),
    )


def _chat(client: Client, model: Path, console: Console) -> tuple[JobHandle, Success]:
    with console.status("Asking the chat model, once its weights are converted …"):
        while not model.is_dir():
            time.sleep(0.2)
        handle = client.submit(chat_job(str(model)))
        return handle, handle.result()


def _show(console: Console, measures: Measures, answers: Answers) -> None:
    console.print(measures.table())
    for each in answers.questions:
        console.print(f"\n{_mark(each.right)} {each.question}  (expected: {each.expected})")
        for found in each.found:
            topics = ", ".join(dict.fromkeys(found.topics))
            console.print(f"    {found.score:.3f}  {topics}: ", end="", highlight=False)
            console.print(found.excerpt[:60] + " …", markup=False, highlight=False)
    console.print(f"\n{_mark(MUST_SAY in answers.chat)} {PROMPT}  (expected: {MUST_SAY})")
    console.print(f"    {answers.chat}", markup=False, highlight=False)


def _mark(right: bool) -> str:
    return "[green]right[/]" if right else "[red]WRONG[/]"


if __name__ == "__main__":
    # An end that unwinds, so that the progress bar gives the terminal its cursor back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main(sys.argv[1:]))
    except StokerError as error:
        sys.exit(f"A job failed ({error.type}): {error.message}")
