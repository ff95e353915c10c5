"""Who says what the output of a task has to be that transformers dropped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from tests.parity.record import GOLDENS, key_of


def goldens(name: str) -> Any:
    """The answers of transformers 4.57, recorded by `record`."""
    found = json.loads(Path(GOLDENS).read_text(encoding="utf-8"))["cases"][name]
    return lambda inputs, **parameters: found[key_of(inputs, parameters)]


def direct(task: str, folder: str) -> Any:
    """Call tokenizer or processor and model as their own documentation does."""
    return _enhancing(folder) if task == "image-to-image" else _rewriting(task, folder)


def _enhancing(folder: str) -> Any:
    model = transformers.AutoModelForImageToImage.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)

    def enhance(image: Any) -> Any:
        if isinstance(image, list):
            return [enhance(each) for each in image]
        with torch.no_grad():
            made = model(**processor(images=[image.convert("RGB")], return_tensors="pt"))
        # What the pipeline of 4.57 does.
        colours = made.reconstruction[0].data.squeeze().float().cpu().clamp_(0, 1).numpy()
        colours = np.moveaxis(colours, source=0, destination=-1)
        return Image.fromarray((colours * 255.0).round().astype(np.uint8))

    return enhance


def _rewriting(task: str, folder: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)

    def rewrite(inputs: Any, **settings: Any) -> Any:
        if isinstance(inputs, list):
            return [one for each in inputs for one in rewrite(each, **settings)]
        spoken, wanted = settings.pop("src_lang", None), settings.pop("tgt_lang", None)
        settings = {"max_new_tokens": 256, "num_beams": 4, **settings}
        if "max_length" in settings:
            del settings["max_new_tokens"]
        if wanted is not None:
            tokenizer.src_lang = spoken
            settings["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(wanted)
        tokens = tokenizer(
            inputs, return_tensors="pt", truncation=settings.pop("truncation", False)
        )
        with torch.no_grad():
            sequences = model.generate(**tokens, **settings)
        name = {"translation": "translation", "summarization": "summary"}.get(task, "generated")
        texts = tokenizer.batch_decode(sequences, skip_special_tokens=True)
        return [{f"{name}_text": text} for text in texts]

    return rewrite
