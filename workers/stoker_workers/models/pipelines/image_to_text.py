"""The pipeline that says what an image shows, as transformers 4.57 had it."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from PIL import Image
from transformers import GenerationConfig, Pipeline

_LENGTHS: Final = ("max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams")


class ImageToTextPipeline(Pipeline):
    """image-to-text: captions, and the reading of what is written in an image."""

    _pipeline_calls_generate = True
    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = True
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def _sanitize_parameters(
        self,
        prompt: str | None = None,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        forward = dict(generate_kwargs or {})
        if max_new_tokens is not None:
            if "max_new_tokens" in forward:
                raise ValueError("max_new_tokens is given twice: leave out the one of the two")
            forward["max_new_tokens"] = max_new_tokens
        return {} if prompt is None else {"prompt": prompt}, forward, {}

    def preprocess(self, image: Image.Image, prompt: str | None = None) -> dict[str, Any]:
        """Turn an image, and what its caption begins with, into the model's inputs.

        Raises:
            ValueError: The model takes no prompt.
        """
        kind = self.model.config.model_type
        header = {"header_text": prompt} if prompt is not None and kind == "pix2struct" else {}
        seen = self.image_processor(images=image, return_tensors="pt", **header).to(self.dtype)
        if prompt is None or header:
            return dict(seen)
        if kind == "vision-encoder-decoder":
            raise ValueError(f"a {kind} model takes no prompt: leave it out")
        if kind == "git":
            begin = [self.tokenizer.cls_token_id]
            tokens = self.tokenizer(text=prompt, add_special_tokens=False).input_ids
            return {**seen, "input_ids": torch.tensor([begin + tokens])}
        text = self.tokenizer(prompt, return_tensors="pt")
        # BERT's tokenizers make them, and no `generate()` takes them.
        text.pop("token_type_ids", None)
        return {**seen, **text}

    def _forward(self, inputs: dict[str, Any], **settings: Any) -> torch.Tensor:
        inputs = dict(inputs)
        main = inputs.pop(self.model.main_input_name)
        made: torch.Tensor = self.model.generate(main, **inputs, **whole_settings(self, settings))
        return made

    def postprocess(self, sequences: torch.Tensor) -> list[dict[str, str]]:
        """Turn tokens into captions."""
        return [
            {"generated_text": self.tokenizer.decode(each, skip_special_tokens=True)}
            for each in sequences
        ]


def whole_settings(pipeline: Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give all settings of `generate()`: a call's, the model's own and the pipeline's."""
    settings: dict[str, Any] = pipeline._prepare_generate_kwargs(dict(given))
    if pipeline.model.config.model_type != "blip":
        return settings
    # Its `generate()` calls that of a part, which has other settings of its own.
    own = pipeline.model.generation_config.to_diff_dict()
    own = {name: each for name, each in own.items() if name in _LENGTHS and name not in settings}
    if "max_new_tokens" in settings:
        own.pop("max_length", None)
    return {**own, **settings}
