"""Records what transformers 4.57 answers, for the tasks that version 5 dropped.

In an environment with this repository's packages, and then in one with `transformers==4.57.6`
(and the same torch, sentencepiece and soundfile):

    python -m tests.parity.record build FOLDER
    python -m tests.parity.record record FOLDER
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.parity.cases import CASES
from tests.parity.cases.case import Case, for_pipeline

GOLDENS = Path(__file__).with_name("goldens.json")


def key_of(inputs: Any, parameters: Any) -> str:
    """Name a call of a pipeline."""
    return hashlib.sha256(repr((inputs, sorted(parameters.items()))).encode()).hexdigest()[:16]


def build(folder: Path) -> None:
    """Build the tiny checkpoints of the cases that are to be recorded."""
    from tests.tiny import fixture

    folder.mkdir(parents=True, exist_ok=True)
    for name in {case.model for case in CASES if case.judge == "golden"}:
        fixture.build(name, folder / name)
        settings = folder / name / "tokenizer_config.json"
        # Version 4 wants a mapping here.
        read = json.loads(settings.read_text(encoding="utf-8"))
        read.pop("extra_special_tokens", None)
        settings.write_text(json.dumps(read), encoding="utf-8")


def record(folder: Path) -> None:
    """Write the answers to all calls, one at a time."""
    torch.set_num_threads(1)
    cases = [case for case in CASES if case.judge == "golden"]
    recorded = {
        "command": f"python -m tests.parity.record, transformers {transformers.__version__}",
        "cases": {case.name: _answers(case, str(folder / case.model)) for case in cases},
    }
    GOLDENS.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _answers(case: Case, folder: str) -> dict[str, Any]:
    answers = {}
    for inputs, parameters in case.calls:
        task, given = _named(case.task, folder, dict(parameters))
        alone = transformers.pipeline(task, model=folder, device="cpu", dtype=torch.float32)
        # Tokens are tensors, scores are numpy's.
        answer = json.dumps(
            alone(for_pipeline(inputs), **given), default=lambda each: each.tolist()
        )
        answers[key_of(inputs, parameters)] = json.loads(answer)
    return answers


def _named(task: str, folder: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """To a model without tokens for languages, 4.57 names them in the task."""
    if task == "translation" and re.fullmatch("[a-z]{2}", given.get("src_lang", "")):
        return f"translation_{given.pop('src_lang')}_to_{given.pop('tgt_lang')}", given
    return task, given


if __name__ == "__main__":
    {"build": build, "record": record}[sys.argv[1]](Path(sys.argv[2]))
