"""The pipeline that answers questions about an image, as transformers 4.57 had it."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import GenerationConfig, Pipeline

from stoker_workers.models.pipelines.image_to_text import whole_settings


class VisualQuestionAnsweringPipeline(Pipeline):
    """visual-question-answering: chooses among the answers that a model knows, or writes one."""

    _pipeline_calls_generate = True
    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = True
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        padding: Any = None,
        truncation: Any = None,
        **_: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {"padding": padding, "truncation": truncation}
        return (
            {name: each for name, each in preprocess.items() if each is not None},
            {},
            {} if top_k is None else {"top_k": top_k},
        )

    def preprocess(
        self, inputs: Mapping[str, Any], padding: Any = False, truncation: Any = False
    ) -> dict[str, Any]:
        """Turn an image and its question into the model's inputs."""
        text = self.tokenizer(
            inputs["question"], return_tensors="pt", padding=padding, truncation=truncation
        )
        seen = self.image_processor(images=inputs["image"], return_tensors="pt").to(self.dtype)
        return {**text, **seen}

    def _forward(self, inputs: dict[str, Any], **settings: Any) -> Any:
        if not self.model.can_generate():
            return self.model(**inputs)
        # BERT's tokenizers make them, and no `generate()` takes them.
        inputs = {name: each for name, each in inputs.items() if name != "token_type_ids"}
        return self.model.generate(**inputs, **whole_settings(self, settings))

    def postprocess(self, output: Any, top_k: int = 5) -> list[dict[str, Any]]:
        """Turn tokens, or the scores of all answers, into answers."""
        if self.model.can_generate():
            texts = (self.tokenizer.decode(each, skip_special_tokens=True) for each in output)
            return [{"answer": text.strip()} for text in texts]
        config = self.model.config
        likely: torch.Tensor = output["logits"].sigmoid()[0]
        scores, answers = likely.topk(min(top_k, config.num_labels))
        return [
            {"score": score, "answer": config.id2label[answer]}
            for score, answer in zip(scores.tolist(), answers.tolist(), strict=True)
        ]
