"""The models file is checked as a whole, and its errors name the key."""

from pathlib import Path

import pytest

from stoker_config.models_file import read_models_file
from stoker_config.settings import Settings
from stoker_config.sizes import GIB, in_words
from tests.support.worker import ROOT

WHOLE = """
only = true

[models.sentiment]
model = "org/bert"
tasks = "sentiment-analysis"
revision = "v1"
pools = ["default", "gpu"]
default = true
preload = true
pin = true
memory = "1.5 GiB"
batch_rows = 8
batch_tokens = 512
components = { tokenizer = "org/tokens@t1" }

[models.sentiment.loading]
dtype = "bfloat16"
attention = "sdpa"
quantization = "torchao-int8"
allow_pickle = true
trust_remote_code = true

[models.chat]
model = "org/chat"
pools = ["gpu"]
"""


def read(folder: Path, text: str) -> object:
    file = folder / "models.toml"
    file.write_text(text)
    return read_models_file(file)


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(WHOLE)
    found = read_models_file(tmp_path / "models.toml")

    sentiment = found.models["sentiment"]
    assert found.only
    assert sentiment.tasks == ("text-classification",)
    assert sentiment.memory == 1.5 * GIB
    assert sentiment.components.given() == {"tokenizer": "org/tokens@t1"}
    assert sentiment.loading.trust_remote_code
    assert not found.models["chat"].loading.trust_remote_code
    assert list(found.of_pool("default")) == ["sentiment"]
    assert list(found.of_pool("gpu")) == ["sentiment", "chat"]


def test_no_file_lists_nothing() -> None:
    assert Settings.model_validate({"models_file": ""}).models_file is None
    assert not read_models_file(None).models


def test_the_shipped_file_is_valid_with_and_without_its_examples(tmp_path: Path) -> None:
    shipped = (ROOT / "config/models.toml").read_text()
    read(tmp_path, shipped)
    # An example is a line that begins with "#" and no space.
    examples = "\n".join(
        line[1:] if line[:1] == "#" and line[1:2] not in ("", " ") else line
        for line in shipped.splitlines()
    )
    found = read_models_file_of(tmp_path, examples)
    assert len(found) >= 3


def read_models_file_of(folder: Path, text: str) -> dict[str, object]:
    (folder / "models.toml").write_text(text)
    return dict(read_models_file(folder / "models.toml").models)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("only = yes", "is not TOML: .* line 1"),
        ("[models.a]", r"models\.a\.model: Field required"),
        ('[models."a/b"]\nmodel = "x"', r"models\.a/b: String should match"),
        ('[models.a]\nmodel = "x"\nmodle = 1', r"models\.a\.modle: there is no such key"),
        ('[models.a]\nmodel = "x"\ntasks = ["juggling"]', r"models\.a\.tasks: no task has the"),
        ('[models.a]\nmodel = "x"\npools = ["A B"]', r"models\.a\.pools: .*a pool's name has"),
        ('[models.a]\nmodel = "x"\nmemory = "much"', r"models\.a\.memory: must be a number of"),
        ('[models.a]\nmodel = "x"\nbatch_rows = 0', r"models\.a\.batch_rows: .*greater than"),
        (
            '[models.a]\nmodel = "x"\nloading = { dtype = "int3" }',
            r"models\.a\.loading\.dtype: Input should be 'auto', 'float32'",
        ),
        (
            '[models.a]\nmodel = "x"\nloading = { gguf_file = "../a.gguf" }',
            r"models\.a\.loading\.gguf_file",
        ),
        (
            '[models.a]\nmodel = "x"\ncomponents = { lens = "y" }',
            r"models\.a\.components\.lens: there is no such key",
        ),
        (
            "".join(
                f'[models.{name}]\nmodel = "x"\ntasks = ["ner"]\ndefault = true\npools = {pools}\n'
                for name, pools in (("a", "[]"), ("b", '["gpu"]'))
            ),
            r"models\.b\.default: a is the default for token-classification already",
        ),
    ],
)
def test_an_error_names_the_file_and_the_key(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"the models file .*models\.toml.*{words}"):
        read(tmp_path, text)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"no/such\.toml: No such file"):
        read_models_file(Path("no/such.toml"))


@pytest.mark.parametrize(
    ("given", "meant"), [("0.5", 0.5), ("12GiB", 12 * GIB), ("1000", 1000), (7, 7)]
)
def test_memory_is_bytes_or_a_share(given: object, meant: float) -> None:
    assert Settings.model_validate({"model_memory": given}).model_memory == meant


@pytest.mark.parametrize("given", ["-1", "0", "much", "3 apples"])
def test_other_amounts_of_memory_are_refused(given: str) -> None:
    with pytest.raises(ValueError, match="model_memory"):
        Settings.model_validate({"model_memory": given})


def test_memory_in_words() -> None:
    assert [in_words(size) for size in (70_000, 20 * GIB)] == ["0.1 MiB", "20,480 MiB"]
