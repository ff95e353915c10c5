"""What an operator may say of a model's loading, and a job of its parts."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from stoker_config.models_file import Loading, ModelEntry, read_models_file
from stoker_tasks.errors import InvalidInput, ModelLoadFailed, UnknownModel
from stoker_tasks.job import Job
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.warm import WarmModels
from stoker_workers.models.catalog import load, load_in_steps
from stoker_workers.models.device import find_device
from stoker_workers.models.extensions import extended
from stoker_workers.models.weights import expected_memory, taken_memory
from tests.doubles.model import FakeModel
from tests.parity.batched import differences, pipeline_alone, run_batched
from tests.support.own_code import with_own_code
from tests.tiny import gguf_file
from tests.tiny.fixture import TinyModel

CPU = find_device("cpu")
CLASSIFY = "text-classification"
TEXT = "the movie was wonderful"


@pytest.fixture
def folder(tiny: TinyModel, tmp_path: Path) -> Path:
    """A model's folder that a test may spoil."""
    return Path(shutil.copytree(tiny("bert_classifier"), tmp_path / "model"))


def entry_of(folder: object, **loading: Any) -> ModelEntry:
    return ModelEntry(model=str(folder), loading=Loading(**loading))


def load_as(task: str, folder: object, **loading: Any) -> Any:
    return load(ModelKey(task, str(folder)), CPU, entry_of(folder, **loading))


def classify(model: WarmModel, inputs: str = TEXT) -> Any:
    job = make_job(CLASSIFY, {"inputs": inputs, "parameters": {"top_k": None}})
    prepared = model.preprocess(job, {})
    return model.postprocess(job, prepared, model.forward(prepared.chunks)).value


# -- parts -----------------------------------------------------------------------------------


def test_a_tokenizer_of_another_checkpoint(folder: Path, tiny: TinyModel) -> None:
    for file in (*folder.glob("tokenizer*"), *folder.glob("vocab*")):
        file.unlink()
    parts = (("tokenizer", tiny("bert_classifier")),)
    model = load(ModelKey(CLASSIFY, str(folder), components=parts), CPU)
    alone = pipeline_alone(CLASSIFY, tiny("bert_classifier"))
    assert not differences(classify(model), alone(TEXT, top_k=None))
    assert model.name == f"{folder}@local+tokenizer={parts[0][1]}@local"


def test_a_part_that_the_task_does_not_have(folder: Path) -> None:
    key = ModelKey(CLASSIFY, str(folder), components=(("image_processor", str(folder)),))
    with pytest.raises(InvalidInput, match=r"has no image_processor; .* adapter, tokenizer$"):
        load(key, CPU)


def test_a_part_that_is_not_there(folder: Path) -> None:
    key = ModelKey(CLASSIFY, str(folder), components=(("tokenizer", "/no/such/folder"),))
    with pytest.raises(UnknownModel):
        load(key, CPU)


def test_a_vocoder_of_another_checkpoint(tiny: TinyModel, tmp_path: Path) -> None:
    whole = shutil.copytree(tiny("speecht5"), tmp_path / "model")
    vocoder = shutil.move(whole / "vocoder", tmp_path / "vocoder")
    key = ModelKey("text-to-audio", str(whole), components=(("vocoder", str(vocoder)),))
    model: Any = load(key, CPU)
    assert isinstance(model._pipeline.vocoder, transformers.SpeechT5HifiGan)


# peft asks transformers for something under its old name.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_an_adapter_changes_the_answers_as_peft_says(folder: Path, tmp_path: Path) -> None:
    import peft

    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    config = peft.LoraConfig(target_modules=["query", "value"], r=4, init_lora_weights=False)
    laid = peft.get_peft_model(base, config).eval()
    adapter = tmp_path / "adapter"
    laid.save_pretrained(str(adapter))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        wanted = laid(**tokenizer(TEXT, return_tensors="pt")).logits.softmax(-1)[0]

    plain = load(ModelKey(CLASSIFY, str(folder)), CPU)
    with_it = load(ModelKey(CLASSIFY, str(folder), components=(("adapter", str(adapter)),)), CPU)

    scores = {each["label"]: each["score"] for each in classify(with_it)}
    assert [scores[label] for label in base.config.id2label.values()] == pytest.approx(
        wanted.tolist(), abs=1e-5
    )
    assert differences(classify(plain), classify(with_it))


# -- weights ---------------------------------------------------------------------------------


def test_number_format_and_attention(folder: Path) -> None:
    model = load_as(CLASSIFY, folder, dtype="bfloat16", attention="eager")._model
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("device_map", ["auto", "sequential"])
def test_a_model_is_placed_by_accelerate(
    device_map: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = tmp_path / "models.toml"
    lines = ["[models.spread]", f'model = "{folder}"', f'loading.device_map = "{device_map}"']
    listing.write_text("\n".join(lines))
    entry = read_models_file(listing).models["spread"]
    key = ModelKey(CLASSIFY, str(folder), listed="spread")
    plain = load(ModelKey(CLASSIFY, str(folder)), CPU)

    whole = load(key, CPU, entry)
    # A machine with too little memory leaves a part of the model in its file.
    memory = SimpleNamespace(available=int(0.9 * taken_memory(plain._model)))
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    spread = load(key, CPU, entry)

    assert set(spread._model.hf_device_map.values()) == {"cpu", "disk"}
    assert taken_memory(spread._model) < taken_memory(whole._model) == taken_memory(plain._model)
    for model in (whole, spread):
        assert not differences(classify(model), classify(plain))


def test_without_accelerate_no_model_is_placed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker_workers.models.loading.find_spec", lambda name: None)
    with pytest.raises(ModelLoadFailed, match=r"loading\.device_map .*pip install accelerate"):
        load_as(CLASSIFY, folder, device_map="auto")


@pytest.mark.parametrize("quantization", ["torchao-int8", "bitsandbytes-8bit", "bitsandbytes-4bit"])
def test_quantised_weights_take_less_and_answer(
    quantization: str, tiny: TinyModel, tmp_path: Path
) -> None:
    # Four bits come in blocks of 64 numbers.
    folder = tmp_path / "wide"
    config = transformers.AutoConfig.from_pretrained(tiny("llama_chat"))
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny("llama_chat")).save_pretrained(folder)
    plain = load_as("text-generation", folder)
    small = load_as("text-generation", folder, quantization=quantization)
    assert taken_memory(small._model) < taken_memory(plain._model)
    job = make_job(
        "text-generation", {"inputs": "the quick brown", "parameters": {"max_new_tokens": 3}}
    )
    [output], _ = run_batched(small, [job])
    assert output.value[0]["generated_text"].startswith("the quick brown")


def test_a_quantiser_that_is_missing_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "stoker_workers.models.quantization.find_spec"
    monkeypatch.setattr(place, lambda name: None)
    with pytest.raises(ModelLoadFailed, match="pip install bitsandbytes accelerate"):
        load_as(CLASSIFY, folder, quantization="bitsandbytes-8bit")


def test_weights_of_a_gguf_file_are_converted_once(tmp_path: Path) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    gguf_file.write(folder / "small.gguf")
    entry = entry_of(folder, gguf_file="small.gguf")
    key = ModelKey("text-generation", str(folder))

    model = load(key, CPU, entry, cache_dir=cache)
    [made] = (cache / "gguf").iterdir()
    again = load(key, CPU, entry, cache_dir=cache)

    assert list((cache / "gguf").iterdir()) == [made]
    job = make_job("text-generation", {"inputs": "a b", "parameters": {"max_new_tokens": 4}})
    outputs = [run_batched(each, [job])[0][0].value for each in (model, again)]
    assert outputs[0] == outputs[1]
    assert outputs[0][0]["generated_text"].startswith("a b")


def test_a_gguf_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"has no file small\.gguf"):
        load_as("text-generation", tmp_path, gguf_file="small.gguf")


def test_pickles_are_read_where_an_operator_allows_them(folder: Path, tiny: TinyModel) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelLoadFailed, match="allow_pickle"):
        load_as(CLASSIFY, folder)
    allowed = load_as(CLASSIFY, folder, allow_pickle=True)
    alone = pipeline_alone(CLASSIFY, tiny("bert_classifier"))
    assert not differences(classify(allowed), alone(TEXT, top_k=None))


def test_a_pickle_that_runs_code_is_refused_though_pickles_are_allowed(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (folder / "it-ran",))

    torch.save({"classifier.weight": Evil()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelLoadFailed):
        load_as(CLASSIFY, folder, allow_pickle=True)
    assert not (folder / "it-ran").exists()


def test_what_a_model_will_take_is_known_before_it_is_loaded(tiny: TinyModel) -> None:
    for name, loading in (("bert_classifier", Loading()), ("gpt2", Loading(dtype="bfloat16"))):
        folder = Path(tiny(name))
        task = CLASSIFY if name == "bert_classifier" else "text-generation"
        loaded = load(ModelKey(task, str(folder)), CPU, ModelEntry(model=name, loading=loading))
        taken = taken_memory(loaded._model)
        # Buffers, such as positions, are in no file.
        assert taken * 0.9 <= expected_memory(folder, loading, CPU) <= taken


def test_a_model_larger_than_its_limit_is_not_loaded(folder: Path) -> None:
    entry = ModelEntry(model=str(folder), memory=1000)
    with pytest.raises(ModelLoadFailed, match="and the models file allows it 0"):
        # Nor is any memory asked for.
        next(load_in_steps(ModelKey(CLASSIFY, str(folder), listed="small"), CPU, entry))


# -- code ------------------------------------------------------------------------------------


def test_code_of_a_model_is_run_where_an_operator_allows_it(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path))
    folder = with_own_code(tiny("bert_classifier"), tmp_path / "abacus")

    with pytest.raises(ModelLoadFailed, match=r"loading\.trust_remote_code"):
        load_as(CLASSIFY, folder)
    trusted = load_as(CLASSIFY, folder, trust_remote_code=True)

    assert type(trusted._model).__name__ == "AbacusModel"
    alone = pipeline_alone(CLASSIFY, tiny("bert_classifier"))
    assert not differences(classify(trusted), alone(TEXT, top_k=None))


def test_code_of_a_part_that_a_job_names_is_not_run(
    folder: Path, tiny: TinyModel, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    part.mkdir()
    (part / "evil.py").write_text("raise SystemExit('it ran')")
    facts = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (part / "tokenizer_config.json").write_text(json.dumps(facts))
    key = ModelKey(CLASSIFY, str(folder), components=(("tokenizer", str(part)),))
    with pytest.raises(ModelLoadFailed):
        load(key, CPU, entry_of(folder, trust_remote_code=True))


# -- extensions ------------------------------------------------------------------------------

PACKAGE = """
import transformers


class Shouting(transformers.TextClassificationPipeline):
    def postprocess(self, *args, **kwargs):
        found = super().postprocess(*args, **kwargs)
        return [{**each, "label": each["label"].upper()} for each in found]


def lower(job):
    return job.model_copy(update={"inputs": job.inputs.lower()})


def rounded(job, output):
    return [{**each, "score": round(each["score"], 1), "of": job.inputs} for each in output]
"""
ENTRY_POINTS = """
[stoker.pipelines]
shouting = polite_words:Shouting
no_pipeline = polite_words:lower
[stoker.preprocess]
lower = polite_words:lower
[stoker.postprocess]
rounded = polite_words:rounded
gone = polite_words:gone
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers extensions."""
    site = tmp_path / "site"
    facts = site / "polite_words-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "polite_words.py").write_text(PACKAGE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: polite-words\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.usefixtures("package")
def test_a_pipeline_class_of_another_package(tiny: TinyModel) -> None:
    model = load_as(CLASSIFY, tiny("bert_classifier"), pipeline="shouting")
    assert {each["label"] for each in classify(model)} == {"NEGATIVE", "NEUTRAL", "POSITIVE"}


@pytest.mark.usefixtures("package")
def test_pre_and_postprocessing_of_another_package(tiny: TinyModel) -> None:
    plain = load_as(CLASSIFY, tiny("bert_classifier"))
    model = extended(plain, Loading(preprocess="lower", postprocess="rounded"))
    assert model.name == plain.name
    wanted = [{**each, "score": round(each["score"], 1), "of": TEXT} for each in classify(plain)]
    assert classify(model, TEXT.upper()) == wanted


@pytest.mark.usefixtures("package")
def test_a_job_is_as_slow_as_what_its_task_is_to_see() -> None:
    class Loud(FakeModel):
        def is_slow(self, job: Job) -> bool:
            return str(job.inputs).isupper()

    model = extended(Loud(), Loading(preprocess="lower"))
    assert not model.is_slow(make_job(CLASSIFY, {"inputs": TEXT.upper()}))


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("loading", "words"),
    [
        ({"pipeline": "polite"}, r"offers polite under stoker\.pipelines; there is: no_pipeline,"),
        ({"pipeline": "no_pipeline"}, "derive it from TextClassificationPipeline"),
        ({"postprocess": "gone"}, "cannot be imported: AttributeError"),
    ],
)
def test_an_extension_that_is_not_there(
    loading: dict[str, str], words: str, tiny: TinyModel
) -> None:
    def load_extended() -> None:
        model = load_as(CLASSIFY, tiny("bert_classifier"), **loading)
        extended(model, Loading.model_validate(loading))

    with pytest.raises(ModelLoadFailed, match=words):
        load_extended()


# -- memory ----------------------------------------------------------------------------------


def test_real_models_stay_within_their_memory(tiny: TinyModel) -> None:
    keys = [
        ModelKey(CLASSIFY, tiny("bert_classifier")),
        ModelKey("token-classification", tiny("bert_tagger")),
    ]
    sizes = [taken_memory(load(key, CPU)._model) for key in keys]

    def load_it(key: ModelKey, progress: Progress) -> Course:
        return load_in_steps(key, CPU, progress=progress)

    both = WarmModels(load_it, 9, memory=sum(sizes))
    one = WarmModels(load_it, 9, memory=max(sizes), release=CPU.release_memory)
    for key in keys:
        for models in (both, one):
            models.get(key).result(30)
            models.get(key).result(0)
    assert both.loaded() == keys
    assert one.loaded() == keys[1:]
    assert [state.memory for state in both.states()] == sizes
    assert [state.memory for state in one.states()] == sizes[1:]

    none = WarmModels(load_it, 9, memory=1000)
    error = none.get(keys[0]).exception(30)
    assert isinstance(error, ModelLoadFailed)
    assert "STOKER_MODEL_MEMORY" in error.message
