"""The part of a speech model that turns its spectrograms into sound, from files of its own."""

from collections.abc import Mapping
from typing import Any, Final

import transformers
from transformers.pipelines.text_to_audio import DEFAULT_VOCODER_ID

from stoker_tasks.errors import ModelLoadFailed, UnknownModel
from stoker_workers.models.device import Device
from stoker_workers.models.files import Files
from stoker_workers.models.source import locate

ROLE: Final = "vocoder"
FOLDER: Final = "vocoder"


def vocoder_for(model: Any, files: Files, device: Device) -> Mapping[str, Any]:
    """Load the vocoder of a model that needs one.

    Args:
        model: The model.
        files: Its files. The vocoder is the component that is given, or else in a folder `vocoder`
            beside the model's own files, or else the one that transformers takes.
        device: Where to put it.

    Returns:
        The pipeline's argument, or nothing for a model that makes sounds by itself.

    Raises:
        ModelLoadFailed: It was not found.
    """
    if type(model.config) not in transformers.AutoModelForTextToSpectrogram._model_mapping:
        return {}
    own = files.own.path / FOLDER
    given = files.parts[ROLE].path if ROLE in files.parts else None
    try:
        found = given or (own if own.is_dir() else locate(DEFAULT_VOCODER_ID).path)
    except (UnknownModel, ModelLoadFailed) as error:
        raise ModelLoadFailed(
            f"a {model.config.model_type} model makes spectrograms and needs a vocoder: put one "
            f"into the folder {FOLDER!r} beside its files, name one as components.vocoder, or let "
            f"the worker read {DEFAULT_VOCODER_ID} ({error.message})"
        ) from None
    vocoder = transformers.SpeechT5HifiGan.from_pretrained(found, use_safetensors=True)
    return {"vocoder": vocoder.to(device=device.torch, dtype=model.dtype).eval()}
