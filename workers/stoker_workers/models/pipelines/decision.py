"""How a model with a decision head is loaded, so that none of its weights gets lost unnoticed."""

from pathlib import Path
from typing import Any, Final

import transformers
from transformers.decision import DecisionConfig

from stoker_tasks.errors import ModelLoadFailed

# A head in files of its own, beside the weights of a language model.
_HEAD_FILES: Final = transformers.JevConfig.extra_config_files


class DecisionModel:
    """An auto class for the models that score options themselves."""

    _model_mapping = transformers.AutoModelForDecision._model_mapping

    @classmethod
    def from_pretrained(cls, folder: Path, *, config: Any, **options: Any) -> Any:
        """Load a model and what is known of its weights."""
        model_class = cls._model_mapping[type(config)]
        # That of the mixin takes the pair of both for a model.
        load = transformers.PreTrainedModel.from_pretrained.__func__
        model, info = load(model_class, folder, config=config, **options)
        model.decision_config = DecisionConfig.from_pretrained(folder)
        return model, info


def check_head(folder: Path, name: str) -> None:
    """Refuse a language model whose head would be left out.

    Raises:
        ModelLoadFailed: The folder has a head beside the model's weights.
    """
    if any((folder / each).is_file() for each in _HEAD_FILES):
        raise ModelLoadFailed(
            f"{name} has its decision head in files beside the weights, and would be read without "
            "it: load it once with transformers' JevForDecision, and serve what its "
            "save_pretrained() writes"
        )
