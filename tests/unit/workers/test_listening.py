"""Models that sort sounds."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from stoker_tasks.errors import InvalidInput, ModelLoadFailed
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import differences, jobs_of, run_batched
from tests.tiny.fixture import TinyModel
from tests.tiny.media import sound, wave

TASK = "zero-shot-audio-classification"
CPU = find_device("cpu")


def test_a_sound_longer_than_the_model_hears_is_heard_alike_each_time(tiny: TinyModel) -> None:
    # CLAP draws a random part of it.
    model = load(ModelKey(TASK, tiny("clap")), CPU)
    given = {"candidate_labels": ["rain", "a dog barking"]}
    np.random.seed(3)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    jobs = jobs_of(TASK, [(sound(wave(5.0, 1)), given)] * 2 + [(sound(wave(4.0, 2)), given)])
    one, other, third = (output.value for output in run_batched(model, jobs)[0])
    assert not differences(one, other)
    assert differences(one, third)
    # Nobody else's draws are disturbed.
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[index]


def test_labels_longer_than_the_model_reads_are_refused(tiny: TinyModel) -> None:
    model = load(ModelKey(TASK, tiny("clap")), CPU)
    (job,) = jobs_of(TASK, [(sound(wave(0.2, 1)), {"candidate_labels": ["rain" * 100]})])
    with pytest.raises(InvalidInput, match="reads at most 128: shorten it"):
        model.preprocess(job, {})


def test_a_model_that_compares_nothing_with_texts(tiny: TinyModel, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("bert_encoder"), tmp_path / "model")
    shutil.copy(Path(tiny("clap")) / "preprocessor_config.json", folder)
    with pytest.raises(ModelLoadFailed, match="is a bert model, which does not compare sounds"):
        load(ModelKey(TASK, str(folder)), CPU)
