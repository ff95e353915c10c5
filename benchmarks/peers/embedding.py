"""MiniLM with mean pooling, in the ways in which users of transformers run it."""

import time
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer, FeatureExtractionPipeline, pipeline
from transformers.modeling_outputs import ModelOutput


class _Pooling(FeatureExtractionPipeline):
    """The pipeline, with the mean taken in its forward pass.

    Its own output keeps the rows of the padding, and a mean over those would be wrong.
    """

    def _forward(self, model_inputs: Any) -> Any:
        outputs = self.model(**model_inputs)
        return ModelOutput(pooled=_mean(outputs[0], model_inputs["attention_mask"]))

    def postprocess(self, model_outputs: Any, return_tensors: bool = False) -> Any:
        return model_outputs["pooled"][0].tolist()


class Embedder:
    """A loaded model on one thread.

    Args:
        folder: The model.
    """

    def __init__(self, folder: str) -> None:
        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        options = {"tokenize_kwargs": {"truncation": True}, "device": "cpu"}
        parts = {"model": self.model, "tokenizer": self.tokenizer}
        task: Any = "feature-extraction"
        self._single = pipeline(task, **parts, **options, return_tensors=True)
        self._many = pipeline(task, **parts, **options, pipeline_class=_Pooling)

    def one(self, text: str) -> list[float]:
        """Run the pipeline on one text."""
        vectors: Any = self._single(text)
        mean: list[float] = vectors.mean(dim=1)[0].tolist()
        return mean

    def batch(self, texts: list[str]) -> list[list[float]]:
        """Pad the texts to the longest, and run them in one forward pass."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            outputs = self.model(**tokens)
            pooled: list[list[float]] = _mean(outputs[0], tokens["attention_mask"]).tolist()
        return pooled

    def pipelined(self, texts: list[str], batch_size: int) -> list[list[float]]:
        """Hand all texts to the pipeline, which batches them in their order."""
        vectors: list[list[float]] = self._many(texts, batch_size=batch_size)
        return vectors

    def optimum(self, texts: list[str], budget: int) -> list[list[float]]:
        """Run texts that are all known: sorted by length, in batches of so many padded tokens."""
        lengths = [len(each) for each in self.tokenizer(texts, truncation=True)["input_ids"]]
        vectors: list[list[float]] = [[] for _ in texts]
        rows: list[int] = []
        for at in sorted(range(len(texts)), key=lengths.__getitem__):
            if rows and (len(rows) + 1) * lengths[at] > budget:
                self._into(vectors, texts, rows)
                rows = []
            rows.append(at)
        self._into(vectors, texts, rows)
        return vectors

    def bare(self, text: str, repeats: int) -> list[float]:
        """Time nothing but the forward pass of one text, in seconds."""
        tokens = self.tokenizer(text, truncation=True, return_tensors="pt")
        seconds = []
        with torch.inference_mode():
            for _ in range(repeats):
                began = time.perf_counter()
                self.model(**tokens)
                seconds.append(time.perf_counter() - began)
        return seconds

    def _into(self, vectors: list[list[float]], texts: list[str], rows: list[int]) -> None:
        if rows:
            for at, vector in zip(rows, self.batch([texts[at] for at in rows]), strict=True):
                vectors[at] = vector


def _mean(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(vectors.dtype)
    return (vectors * weights).sum(dim=1) / weights.sum(dim=1)
