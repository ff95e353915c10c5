"""Files become a pipeline instance: model, tokenizer and processors, on their device."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import transformers
from transformers.utils import logging as transformers_logging

from stoker_config.models_file import Loading
from stoker_tasks.errors import ModelLoadFailed, StokerError
from stoker_tasks.parts import PARTS, install_words
from stoker_workers.engine.forward import is_device_fault, is_out_of_memory
from stoker_workers.models.device import Device
from stoker_workers.models.files import Files
from stoker_workers.models.quantization import quantization_config

logger = logging.getLogger(__name__)

# A pipeline class says by its `_load_` flags what it needs.
_PROCESSORS: Final = {
    "tokenizer": transformers.AutoTokenizer,
    "image_processor": transformers.AutoImageProcessor,
    "video_processor": transformers.AutoVideoProcessor,
    "feature_extractor": transformers.AutoFeatureExtractor,
    "processor": transformers.AutoProcessor,
}
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
        parts: Roles of further models that `extras` reads.
        settings: What is set of processors, by their roles, whatever their files say.
        refused: Why models of a type are not served, by their `model_type`.
        extras: Gives what else the pipeline takes, from the model, its files and its device.
    """

    pipeline: Any
    models: tuple[Any, ...]
    headless: bool = False
    optional: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    extras: Callable[[Any, Files, Device], Mapping[str, Any]] | None = None

    @property
    def roles(self) -> Sequence[str]:
        """The parts that may come from checkpoints of their own."""
        read = [role for role in _PROCESSORS if self.flag(role) is not False]
        return [*dict.fromkeys((*read, *self.optional, *self.parts, "adapter"))]

    def flag(self, role: str) -> bool | None:
        """Tell whether the pipeline needs a processor: None if it can do without."""
        flag: bool | None = getattr(self.pipeline, f"_load_{role}", False)
        return flag


def load_pipeline(task: str, recipe: Recipe, files: Files, device: Device, loading: Loading) -> Any:
    """Load a model with its pre- and postprocessors.

    Args:
        task: The task's name.
        recipe: The task's components.
        files: Where they are.
        device: Where to put the model.
        loading: How an operator wants it loaded.

    Returns:
        An instance of the recipe's pipeline class.

    Raises:
        ModelLoadFailed: The files cannot be loaded, or make no model for this task.
        RuntimeError: The device is lost to this process.
    """
    # Its warnings quote texts and targets of callers.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return _Load(task, recipe, files, device, loading).pipeline()
    except StokerError:
        raise
    # Any library may be at work here, and whatever it raises, the model is not usable.
    except Exception as error:
        if is_device_fault(error):
            raise
        failure = _explain(error, files.model, device)
        logger.exception("%s", failure)
    device.release_memory()
    # What was raised may hide it: transformers does what converts weights in words of its own.
    device.check()
    raise failure


@dataclass(frozen=True, slots=True)
class _Load:
    """One load of one model; its fields are the arguments of `load_pipeline`."""

    task: str
    recipe: Recipe
    files: Files
    device: Device
    loading: Loading

    def pipeline(self) -> Any:
        config = self._config()
        model = self._model(config)
        parts = self._processors()
        for each in parts.values():
            tokenizer = getattr(each, "tokenizer", None)
            if isinstance(each, transformers.PreTrainedTokenizerBase):
                tokenizer = each
            if tokenizer is not None:
                _ensure_pad_token(tokenizer, model)
        if self.recipe.extras is not None:
            parts.update(self.recipe.extras(model, self.files, self.device))
        # One that accelerate has placed says itself where its inputs go.
        placed = getattr(model, "hf_device_map", None) is not None
        device = None if placed else self.device.torch
        return self.recipe.pipeline(model=model, task=self.task, device=device, **parts)

    def _config(self) -> Any:
        folder, trusted = self.files.own.path, self.files.trusts("model")
        if not trusted:
            _refuse_code(folder, self.files.model)
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
        if why := self.recipe.refused.get(config.model_type):
            raise ModelLoadFailed(
                f"{self.files.model} is a {config.model_type} model, which is not served: {why}",
                {"model_type": config.model_type, "task": self.task},
            )
        return config

    def _model(self, config: Any) -> Any:
        auto = self._auto_class(config)
        model, info = auto.from_pretrained(
            self.files.own.path,
            config=config,
            dtype=self.loading.dtype or self.device.dtype,
            # None takes safetensors where there are any.
            use_safetensors=None if self.loading.allow_pickle else True,
            trust_remote_code=self.files.trusts("model"),
            output_loading_info=True,
            **self._options(),
        )
        missing = sorted(info["missing_keys"])
        if "adapter" in self.files.parts:
            brought = self._lay_adapter(model)
            missing = [key for key in missing if not any(part in key for part in brought)]
        if missing and not self.recipe.headless:
            # The pipeline would run it with random numbers in their place.
            raise ModelLoadFailed(
                f"{self.files.model} has no weights for {', '.join(missing[:3])}: it was not "
                f"trained for {self.task}; give a checkpoint that was",
                {"missing": missing[:20]},
            )
        # A task that reads the bare model may be asked for such a head all the same.
        model.missing_weights = missing
        if getattr(model, "hf_device_map", None) is None:
            model.to(self.device.torch)
        return model.eval()

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.loading.attention is not None:
            options["attn_implementation"] = self.loading.attention
        if self.loading.quantization is not None:
            options["quantization_config"] = quantization_config(self.loading.quantization)
            # bitsandbytes makes weights smaller while it puts them where they stay.
            if self.loading.quantization.startswith("bitsandbytes"):
                options["device_map"] = {"": self.device.name}
        if self.loading.device_map is not None:
            if find_spec("accelerate") is None:
                raise ModelLoadFailed(f"loading.device_map {install_words(['accelerate'])}")
            options["device_map"] = self.loading.device_map
        return options

    def _auto_class(self, config: Any) -> Any:
        if self.files.trusts("model"):
            own_code = getattr(config, "auto_map", None) or {}
            for auto in self.recipe.models:
                if auto.__name__ in own_code:
                    return auto
        able = [auto for auto in self.recipe.models if type(config) in auto._model_mapping]
        if not able:
            raise ModelLoadFailed(
                f"{self.files.model} is a {config.model_type} model, which cannot do {self.task}: "
                "give another model",
                {"model_type": config.model_type, "task": self.task},
            )
        named = set(config.architectures or ())

        def is_named(auto: Any) -> bool:
            classes = auto._model_mapping[type(config)]
            classes = classes if isinstance(classes, (list, tuple)) else (classes,)
            return any(cls.__name__ in named for cls in classes)

        return next(filter(is_named, able), able[0])

    def _processors(self) -> dict[str, Any]:
        parts = {}
        for role, auto in _PROCESSORS.items():
            needed = self.recipe.flag(role) or role in self.files.parts
            if not needed and role not in self.recipe.optional:
                continue
            try:
                parts[role] = auto.from_pretrained(
                    self.files.folder(role),
                    trust_remote_code=self.files.trusts(role),
                    **self.recipe.settings.get(role, {}),
                )
            except (OSError, ValueError, ImportError, KeyError):
                if needed:
                    raise
        return parts

    def _lay_adapter(self, model: Any) -> Sequence[str]:
        """Lay an adapter over a model; gives the names of the modules that it brings whole."""
        if find_spec("peft") is None:
            raise ModelLoadFailed(f"components.adapter {install_words(['peft'])}")
        folder = self.files.folder("adapter")
        model.load_adapter(str(folder))
        facts = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return facts.get("modules_to_save") or ()


def _refuse_code(folder: Path, name: str) -> None:
    """Say early and clearly that a model's own code is not run, where it cannot do without."""
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if facts.get("auto_map") and facts.get("model_type") not in transformers.CONFIG_MAPPING:
        raise ModelLoadFailed(
            f"{name} comes with Python code of its own, which is not run unless an operator allows "
            "it for this model in the models file (loading.trust_remote_code)",
            {"model_type": facts.get("model_type")},
        )


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
    if isinstance(error, ImportError):
        missing = [each for each in PARTS if each.lower() in reason.lower() and not find_spec(each)]
        if missing:
            return ModelLoadFailed(f"{name} {install_words(missing)}", {"missing": missing})
    return ModelLoadFailed(f"{name} could not be loaded: {type(error).__name__}: {reason}")
