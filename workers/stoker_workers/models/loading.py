"""Files become a pipeline instance: model, tokenizer and processors, on their device."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import transformers
from transformers.utils import logging as transformers_logging

from stoker_tasks.errors import ModelLoadFailed, StokerError
from stoker_workers.engine.forward import is_out_of_memory
from stoker_workers.models.device import Device

logger = logging.getLogger(__name__)

# A pipeline class says by these flags what it needs.
_PROCESSORS: Final = (
    ("tokenizer", "_load_tokenizer", transformers.AutoTokenizer),
    ("image_processor", "_load_image_processor", transformers.AutoImageProcessor),
    ("feature_extractor", "_load_feature_extractor", transformers.AutoFeatureExtractor),
    ("processor", "_load_processor", transformers.AutoProcessor),
)
_MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a task's components are.

    Attributes:
        pipeline: The pipeline class, which serves as pre- and postprocessor.
        models: The auto classes that can load a model for the task, in order of preference.
        headless: Whether the task reads the bare model: weights of a head that the files lack are
            then of no account.
        optional: Roles of processors that are loaded where the files have them.
        extras: Gives what else the pipeline takes, from the model, its folder and its device.
    """

    pipeline: Any
    models: tuple[Any, ...]
    headless: bool = False
    optional: tuple[str, ...] = ()
    extras: Callable[[Any, Path, Device], Mapping[str, Any]] | None = None


def load_pipeline(task: str, recipe: Recipe, folder: Path, name: str, device: Device) -> Any:
    """Load a model with its pre- and postprocessors.

    Args:
        task: The task's name.
        recipe: The task's components.
        folder: The model's files.
        name: The model's name, for messages.
        device: Where to put the model.

    Returns:
        An instance of the recipe's pipeline class.

    Raises:
        ModelLoadFailed: The files cannot be loaded, or make no model for this task.
    """
    # Its warnings quote texts and targets of callers.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return _load(task, recipe, folder, name, device)
    except StokerError:
        raise
    # Any library may be at work here, and whatever it raises, the model is not usable.
    except Exception as error:
        failure = _explain(error, name, device)
        logger.exception("%s", failure)
    device.release_memory()
    raise failure


def _load(task: str, recipe: Recipe, folder: Path, name: str, device: Device) -> Any:
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    model = _load_model(task, recipe, config, folder, name, device)
    processors = {
        role: auto.from_pretrained(folder, trust_remote_code=False)
        for role, flag, auto in _PROCESSORS
        if getattr(recipe.pipeline, flag)
    }
    for role, _, auto in _PROCESSORS:
        if role in recipe.optional and (found := _if_there(auto, folder)) is not None:
            processors[role] = found
    for each in processors.values():
        tokenizer = getattr(each, "tokenizer", None)
        if isinstance(each, transformers.PreTrainedTokenizerBase):
            tokenizer = each
        if tokenizer is not None:
            _ensure_pad_token(tokenizer, model)
    extras = recipe.extras(model, folder, device) if recipe.extras else {}
    return recipe.pipeline(model=model, task=task, device=device.torch, **processors, **extras)


def _if_there(auto: Any, folder: Path) -> Any:
    """Load a processor if the files have one that works here."""
    try:
        return auto.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError):
        return None


def _load_model(
    task: str, recipe: Recipe, config: Any, folder: Path, name: str, device: Device
) -> Any:
    auto = _auto_class(task, recipe, config, name)
    model, info = auto.from_pretrained(
        folder,
        config=config,
        dtype=device.dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    missing = sorted(info["missing_keys"])
    if missing and not recipe.headless:
        # The pipeline would run it with random numbers in their place.
        raise ModelLoadFailed(
            f"{name} has no weights for {', '.join(missing[:3])}: it was not trained for {task}; "
            "give a checkpoint that was",
            {"missing": missing[:20]},
        )
    return model.to(device.torch).eval()


def _auto_class(task: str, recipe: Recipe, config: Any, name: str) -> Any:
    able = [auto for auto in recipe.models if type(config) in auto._model_mapping]
    if not able:
        raise ModelLoadFailed(
            f"{name} is a {config.model_type} model, which cannot do {task}: give another model",
            {"model_type": config.model_type, "task": task},
        )
    named = set(config.architectures or ())

    def is_named(auto: Any) -> bool:
        classes = auto._model_mapping[type(config)]
        classes = classes if isinstance(classes, (list, tuple)) else (classes,)
        return any(cls.__name__ in named for cls in classes)

    return next(filter(is_named, able), able[0])


def _ensure_pad_token(tokenizer: Any, model: Any) -> None:
    if tokenizer.pad_token_id is None:
        # A decoder that classifies reads the last token that is not padding, so that padding must
        # not be what the tokenizer puts at the end of each text.
        last = tokenizer("a")["input_ids"][-1]
        tokens = (tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token)
        fit = [each for each in tokens if each and tokenizer.convert_tokens_to_ids(each) != last]
        tokenizer.pad_token = next(iter(fit), None)
    try:
        config = model.config.get_text_config()
    except ValueError:
        # A model with one text model to read and another to write: each has its own padding.
        return
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id


def _explain(error: Exception, name: str, device: Device) -> ModelLoadFailed:
    if is_out_of_memory(error):
        return ModelLoadFailed(
            f"{name} does not fit into the memory of {device.name}: use a smaller model, a larger "
            "device, or fewer warm models"
        )
    reason = " ".join(str(error).split())[:_MAX_REASON]
    return ModelLoadFailed(f"{name} could not be loaded: {type(error).__name__}: {reason}")
