"""The pipelines that rewrite a text: summarise, translate, or what the model was trained for."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from transformers import BatchEncoding, GenerationConfig, Pipeline


class Text2TextGenerationPipeline(Pipeline):
    """text2text-generation: an encoder-decoder model reads a text and writes another.

    Attributes:
        return_name: What the keys of the output begin with.
        family: The entry of a checkpoint's `task_specific_params` that holds its settings.
    """

    _pipeline_calls_generate = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    _default_generation_config = GenerationConfig(max_new_tokens=256, num_beams=4)

    return_name: ClassVar[str] = "generated"
    family: ClassVar[str] = "text2text-generation"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = kwargs["model"].config
        self._own_prefix: str = getattr(config, "prefix", None) or ""
        # Checkpoints like T5 and BART keep a task's prompt, lengths and beams here.
        self._named: Mapping[str, Mapping[str, Any]] = (
            getattr(config, "task_specific_params", None) or {}
        )
        super().__init__(*args, **kwargs)

    def _sanitize_parameters(
        self,
        *,
        truncation: Any = None,
        return_tensors: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        stop_sequence: str | None = None,
        settings: Mapping[str, Any] | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        named = dict(settings or self._named.get(self.family) or {})
        preprocess = {"prefix": named.pop("prefix", self._own_prefix)}
        if truncation is not None:
            preprocess["truncation"] = truncation
        forward = {**named, **generate_kwargs}
        if stop_sequence is not None:
            # As in 4.57: the first token of it ends the text, in place of the model's end token.
            first, *_ = self.tokenizer.encode(stop_sequence, add_special_tokens=False)
            forward["eos_token_id"] = first
        postprocess = {
            "return_tensors": return_tensors,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
        }
        return preprocess, forward, {n: v for n, v in postprocess.items() if v is not None}

    def preprocess(self, text: str, prefix: str = "", truncation: Any = False) -> BatchEncoding:
        """Turn a text into tokens."""
        tokens = self.tokenizer(prefix + text, truncation=truncation, return_tensors="pt")
        # BERT's tokenizers make them, and no `generate()` takes them.
        tokens.pop("token_type_ids", None)
        return tokens

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        settings = self._prepare_generate_kwargs(generate_kwargs)
        sequences = self.model.generate(**model_inputs, **settings)
        rows = model_inputs["input_ids"].shape[0]
        return {"output_ids": sequences.reshape(rows, -1, sequences.shape[-1])}

    def postprocess(
        self,
        model_outputs: Mapping[str, torch.Tensor],
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        """Turn the tokens of one text's outputs into texts."""
        sequences = model_outputs["output_ids"][0]
        if return_tensors:
            return [{f"{self.return_name}_token_ids": ids} for ids in sequences]
        return [
            {
                f"{self.return_name}_text": self.tokenizer.decode(
                    ids,
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=clean_up_tokenization_spaces,
                )
            }
            for ids in sequences
        ]


class SummarizationPipeline(Text2TextGenerationPipeline):
    """summarization."""

    return_name = "summary"
    family = "summarization"


class TranslationPipeline(Text2TextGenerationPipeline):
    """translation: between the model's own two languages, or those that the caller names."""

    return_name = "translation"
    family = "translation"

    def _sanitize_parameters(
        self, *, src_lang: str | None = None, tgt_lang: str | None = None, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        pairs = {name: each for name, each in self._named.items() if name.startswith(self.family)}
        languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
        if self._takes_languages():
            pairs = {}
        elif pairs and (src_lang or tgt_lang):
            # 4.57 heeds them in its task's name only, `translation_en_to_fr`.
            name = f"{self.family}_{src_lang}_to_{tgt_lang}"
            if name not in pairs:
                raise ValueError(f"this model knows {', '.join(sorted(pairs))}, and not {name}")
            pairs = {name: pairs[name]}
        settings = next(iter(pairs.values()), None)
        preprocess, forward, postprocess = super()._sanitize_parameters(
            settings=settings, **parameters
        )
        if self._takes_languages():
            preprocess |= languages
        return preprocess, forward, postprocess

    def _takes_languages(self) -> bool:
        return hasattr(self.tokenizer, "_build_translation_inputs")

    def preprocess(
        self,
        text: str,
        prefix: str = "",
        truncation: Any = False,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
    ) -> BatchEncoding:
        """Turn a text into tokens, with the languages' own where the tokenizer has such.

        Raises:
            ValueError: The tokenizer needs to be told the languages, or does not know them.
        """
        if not self._takes_languages():
            return super().preprocess(text, prefix, truncation)
        tokenizer = self.tokenizer
        unknown = ValueError("src_lang or tgt_lang is no language code of this model")
        try:
            tokens: BatchEncoding = tokenizer._build_translation_inputs(
                text,
                return_tensors="pt",
                truncation=truncation,
                src_lang=src_lang,
                tgt_lang=tgt_lang,
            )
        except KeyError:
            raise unknown from None
        # Other tokenizers read a code that they do not know as an unknown word.
        said = [tokens.get("forced_bos_token_id"), *getattr(tokenizer, "prefix_tokens", ())]
        if tokenizer.unk_token_id in [*said, *getattr(tokenizer, "suffix_tokens", ())]:
            raise unknown
        return tokens
