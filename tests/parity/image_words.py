"""Judges of the tasks that transformers 5 dropped: direct calls, as version 4.57's pipelines."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from PIL import Image

# What 4.57's pipelines generate where neither the caller nor the model says how much.
_MOST = 256


class _Judge:
    def __init__(self, auto: Any, folder: str) -> None:
        self.model = auto.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.look = transformers.AutoImageProcessor.from_pretrained(folder)

    def read(self, text: str, **given: Any) -> dict[str, Any]:
        tokens = self.tokenizer(text, return_tensors="pt", **given)
        if self.model.can_generate():
            tokens.pop("token_type_ids")
        return dict(tokens)

    def written(self, sequences: torch.Tensor) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
        return texts

    def by_default(self) -> dict[str, int]:
        # BLIP's own `generate()` forgets them.
        own = self.model.generation_config.max_new_tokens
        return {"max_new_tokens": _MOST if own is None else own}


class Captions(_Judge):
    """image-to-text."""

    def __init__(self, folder: str) -> None:
        super().__init__(transformers.AutoModelForImageTextToText, folder)

    def one(
        self,
        inputs: Image.Image,
        prompt: str | None = None,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        settings = {**self.by_default(), **(generate_kwargs or {})}
        if max_new_tokens is not None:
            settings["max_new_tokens"] = max_new_tokens
        seen = self.look(images=inputs, return_tensors="pt")
        text = {} if prompt is None else self.read(prompt)
        sequences = self.model.generate(seen["pixel_values"], **text, **settings)
        return [{"generated_text": each} for each in self.written(sequences)]


class Answers(_Judge):
    """visual-question-answering."""

    def __init__(self, folder: str) -> None:
        super().__init__(transformers.AutoModelForVisualQuestionAnswering, folder)

    def one(
        self,
        inputs: Mapping[str, Any],
        top_k: int = 5,
        padding: Any = False,
        truncation: Any = False,
    ) -> list[dict[str, Any]]:
        seen = self.look(images=inputs["image"], return_tensors="pt")
        text = self.read(inputs["question"], padding=padding, truncation=truncation)
        if self.model.can_generate():
            sequences = self.model.generate(**text, **seen, **self.by_default())
            return [{"answer": each.strip()} for each in self.written(sequences)]
        scores = self.model(**text, **seen).logits[0].sigmoid()
        best = scores.argsort(descending=True)[:top_k].tolist()
        names = self.model.config.id2label
        return [{"score": float(scores[each]), "answer": names[each]} for each in best]


def _for_many(one: Callable[..., Any]) -> Callable[..., Any]:
    """Take a list of inputs too."""

    def each_of(inputs: Any, **given: Any) -> Any:
        if isinstance(inputs, list):
            return [each_of(each, **given) for each in inputs]
        with torch.inference_mode():
            return one(inputs, **given)

    return each_of


JUDGES: dict[str, Callable[[str], Any]] = {
    "image-to-text": lambda folder: _for_many(Captions(folder).one),
    "visual-question-answering": lambda folder: _for_many(Answers(folder).one),
}
