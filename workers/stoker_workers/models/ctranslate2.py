"""A Whisper model of CTranslate2 becomes a folder that loads like any other model, converted once.

faster-whisper and others hand Whisper round in this form. The format is that of CTranslate2's
`python/ctranslate2/specs/model_spec.py`, version 6; the layers' names are those of its
`whisper_spec.py` and `transformer_spec.py`.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from transformers.utils import logging as transformers_logging

from stoker_tasks.errors import ModelLoadFailed
from stoker_workers.models.converted import make_folder

_VERSION: Final = 6
_SPEC: Final = "WhisperSpec"
# By the number that the file has for each type; quantised ones would need their scales.
_TYPES: Final[Mapping[int, "np.dtype[Any]"]] = {0: np.dtype("<f4"), 4: np.dtype("<f2")}

# All of OpenAI's sizes have heads of this width.
_HEAD: Final = 64
_TIMES: Final = 1501
_SECONDS_A_TIME: Final = 0.02

Tensors = dict[str, torch.Tensor]


def convert(source: Path, out_dir: Path) -> Path:
    """Convert an English-only Whisper model to safetensors, tokenizer and feature extractor.

    Args:
        source: The folder with `model.bin`, `config.json` and `tokenizer.json`.
        out_dir: The folder to make. It appears whole or not at all; if it is there already,
            nothing is done.

    Returns:
        `out_dir`.

    Raises:
        ModelLoadFailed: A file cannot be read, or holds no such model.
    """
    return make_folder(out_dir, lambda folder: _convert(source, folder))


def _convert(source: Path, folder: Path) -> None:
    transformers_logging.disable_progress_bar()
    try:
        weights = read_weights((source / "model.bin").read_bytes())
        settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
        vocabulary = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer = _tokenizer(vocabulary)
        model = _model(_named_as_transformers(weights), _Marks(vocabulary), settings)
    except ModelLoadFailed:
        raise
    # A broken file fails wherever its bytes stop making sense.
    except Exception as error:
        raise ModelLoadFailed(
            f"{source.name} cannot be read as a Whisper model of CTranslate2: "
            f"{type(error).__name__}: {error}"
        ) from error
    bins = model.config.num_mel_bins
    extractor = transformers.WhisperFeatureExtractor(feature_size=bins)
    model.save_pretrained(folder)
    transformers.WhisperProcessor(extractor, tokenizer).save_pretrained(folder)


def read_weights(data: bytes) -> dict[str, "np.ndarray[Any, Any]"]:
    """Read the tensors of a CTranslate2 file by their names, aliases included.

    Args:
        data: The file.

    Raises:
        ModelLoadFailed: It is of another version, of no Whisper model, or quantised.
        struct.error: It ends too early.
    """
    at = 0

    def number(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return int(value)

    def text() -> str:
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at].rstrip(b"\0").decode()

    version = number("I")
    if version != _VERSION:
        raise ModelLoadFailed(
            f"the CTranslate2 file has version {version}, and {_VERSION} is read here: convert the "
            "original model again"
        )
    spec, _revision = text(), number("I")
    if spec != _SPEC:
        raise ModelLoadFailed(f"the CTranslate2 file holds a {spec[:40]}, and only Whisper is read")
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if shape and kind not in _TYPES:
            raise ModelLoadFailed(
                "the CTranslate2 file is quantised: take one of float16 or float32"
            )
        if shape:
            flat = np.frombuffer(data, _TYPES[kind], size // _TYPES[kind].itemsize, at)
            weights[name] = flat.reshape(shape)
        at += size
    for _ in range(number("I")):
        alias, name = text(), text()
        weights[alias] = weights[name]
    return weights


class _Marks:
    """The tokens that are none of the text.

    Args:
        vocabulary: The content of `tokenizer.json`.
    """

    def __init__(self, vocabulary: Mapping[str, Any]) -> None:
        ids = {each["content"]: int(each["id"]) for each in vocabulary["added_tokens"]}
        self.end = ids["<|endoftext|>"]
        self.start = ids["<|startoftranscript|>"]
        self.before = ids["<|startofprev|>"]
        self.no_times = ids["<|notimestamps|>"]
        # The models of many languages have one word more before the marks.
        if self.end != 50_256:
            raise ModelLoadFailed("only the English Whisper models (NAME.en) are converted")


def _named_as_transformers(weights: Mapping[str, "np.ndarray[Any, Any]"]) -> Tensors:
    named: Tensors = {}

    def put(name: str, tensor: torch.Tensor, part: str) -> None:
        named[f"{name}.{part}"] = tensor

    def take(name: str) -> torch.Tensor:
        return torch.from_numpy(weights[name].copy())

    for ours, theirs, kind in _places(weights):
        if kind == "norm":
            put(ours, take(f"{theirs}/gamma"), "weight")
            put(ours, take(f"{theirs}/beta"), "bias")
        elif kind == "linear":
            put(ours, take(f"{theirs}/weight"), "weight")
            put(ours, take(f"{theirs}/bias"), "bias")
        else:
            # Projections that CTranslate2 keeps as one; the keys have no bias of their own.
            names = kind.split()
            parts = zip(
                names,
                take(f"{theirs}/weight").chunk(len(names)),
                take(f"{theirs}/bias").chunk(len(names)),
                strict=True,
            )
            for name, weight, bias in parts:
                put(f"{ours}.{name}", weight.clone(), "weight")
                if name != "k_proj":
                    put(f"{ours}.{name}", bias.clone(), "bias")
    for side in ("encoder", "decoder"):
        positions = take(f"{side}/position_encodings/encodings")
        put(f"model.{side}.embed_positions", positions, "weight")
    put("model.decoder.embed_tokens", take("decoder/embeddings/weight"), "weight")
    put("proj_out", named["model.decoder.embed_tokens.weight"], "weight")
    return named


def _places(weights: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Tell where each layer stands: in transformers, in CTranslate2, and as what."""
    for name in ("conv1", "conv2"):
        yield f"model.encoder.{name}", f"encoder/{name}", "linear"
    for side in ("encoder", "decoder"):
        yield f"model.{side}.layer_norm", f"{side}/layer_norm", "norm"
        for layer in range(_layers(weights, side)):
            ours, theirs = f"model.{side}.layers.{layer}", f"{side}/layer_{layer}"
            own = f"{theirs}/self_attention"
            yield f"{ours}.self_attn_layer_norm", f"{own}/layer_norm", "norm"
            yield f"{ours}.self_attn", f"{own}/linear_0", "q_proj k_proj v_proj"
            yield f"{ours}.self_attn.out_proj", f"{own}/linear_1", "linear"
            if side == "decoder":
                heard = f"{theirs}/attention"
                yield f"{ours}.encoder_attn_layer_norm", f"{heard}/layer_norm", "norm"
                yield f"{ours}.encoder_attn.q_proj", f"{heard}/linear_0", "linear"
                yield f"{ours}.encoder_attn", f"{heard}/linear_1", "k_proj v_proj"
                yield f"{ours}.encoder_attn.out_proj", f"{heard}/linear_2", "linear"
            yield f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm", "norm"
            yield f"{ours}.fc1", f"{theirs}/ffn/linear_0", "linear"
            yield f"{ours}.fc2", f"{theirs}/ffn/linear_1", "linear"


def _layers(weights: Mapping[str, Any], side: str) -> int:
    return sum(
        name.startswith(f"{side}/layer_") and "ffn/layer_norm/beta" in name for name in weights
    )


def _model(tensors: Tensors, marks: _Marks, settings: Mapping[str, Any]) -> Any:
    words, width = tensors["model.decoder.embed_tokens.weight"].shape
    inner = tensors["model.encoder.layers.0.fc1.weight"].shape[0]
    layers = {
        side: len({name.split(".")[3] for name in tensors if f"{side}.layers." in name})
        for side in ("encoder", "decoder")
    }
    config = transformers.WhisperConfig(
        vocab_size=words,
        num_mel_bins=tensors["model.encoder.conv1.weight"].shape[1],
        d_model=width,
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=width // _HEAD,
        decoder_attention_heads=width // _HEAD,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        bos_token_id=marks.end,
        eos_token_id=marks.end,
        pad_token_id=marks.end,
        decoder_start_token_id=marks.start,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.to(tensors["proj_out.weight"].dtype).load_state_dict(tensors)
    made = model.generation_config
    # Otherwise loading drops the fields that only Whisper has.
    made._from_model_config = False
    for name, value in {
        "is_multilingual": False,
        "no_timestamps_token_id": marks.no_times,
        "prev_sot_token_id": marks.before,
        "alignment_heads": settings["alignment_heads"],
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "max_length": model.config.max_target_positions,
        "max_initial_timestamp_index": 50,
        "bos_token_id": marks.end,
        "eos_token_id": marks.end,
        "pad_token_id": marks.end,
        "decoder_start_token_id": marks.start,
    }.items():
        setattr(made, name, value)
    return model


def _tokenizer(vocabulary: Mapping[str, Any]) -> Any:
    model, added = vocabulary["model"], vocabulary["added_tokens"]
    merges = [tuple(each.split(" ") if isinstance(each, str) else each) for each in model["merges"]]
    words = model["vocab"] | {each["content"]: each["id"] for each in added}
    tokenizer = transformers.WhisperTokenizer(vocab=words, merges=merges, pad_token="<|endoftext|>")
    marks = [transformers.AddedToken(each["content"], special=True) for each in added]
    # These stand in a text that is asked for with its times.
    times = [
        transformers.AddedToken(f"<|{at * _SECONDS_A_TIME:.2f}|>", special=False)
        for at in range(_TIMES)
    ]
    tokenizer.add_tokens([*marks, *times])
    return tokenizer
