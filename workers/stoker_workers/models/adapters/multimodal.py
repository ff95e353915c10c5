"""The tasks whose model talks about images, sounds and films: many prompts in a pass."""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final
from uuid import uuid4

import numpy as np
import torch
from PIL import Image
from transformers import GenerationMixin
from transformers.pipelines import any_to_any
from transformers.utils.chat_template_utils import Chat

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.media import Media
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages, refusing_settings
from stoker_workers.models.adapters.chats import is_chat
from stoker_workers.models.adapters.generation import TextGenerator
from stoker_workers.models.adapters.growing import followed
from stoker_workers.models.adapters.halting import Halted, halting, steppers, watching
from stoker_workers.models.adapters.reading import Reading, reading_of
from stoker_workers.models.containers import FILM_SECONDS, count_frames, decode_film
from stoker_workers.models.media import decode_image, decode_sound, read_bytes
from stoker_workers.models.outputs import Sound

_FRAMES: Final = 16
# Beside the tokens and their mask, what has a place for each token.
_BY_TOKEN: Final = ("token_type_ids", "mm_token_type_ids")
# What is known of how others decode the images that they write.
_PAINTERS: Final = frozenset({"janus"})
# Samples per second of the sounds of models whose files do not say it: their authors' examples do.
_SPEAKERS: Final = {"qwen3_omni_moe": 24_000}
_ROLES: Final = ("images", "audio", "videos")


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt as the processor takes it, and without its media for the output."""

    whole: Any
    bare: Any
    films: bool


class ImageTalker(TextGenerator):
    """image-text-to-text."""

    own_parameters = frozenset({"num_frames"})
    cure = "or give smaller or fewer images, sounds or films"

    chat: ClassVar[Callable[[list[dict[str, Any]]], Any]] = Chat

    def _read(self) -> Reading:
        # The part that writes: the places that the others know are no limit to a text.
        return reading_of(self._model.get_decoder(), self._tokenizer, generates=True)

    @property
    def _alone(self) -> bool:
        """Whether the model writes in a way of its own, so that nothing is known of its rows."""
        own = type(self._model).generate is not GenerationMixin.generate
        return own or bool(self._model.config.is_encoder_decoder)

    def is_slow(self, job: Job) -> bool:
        """Say whether there is a film to be decoded."""
        return _has_film(job.inputs)

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        decode = _Decoder(self._pipeline.processor, media, job.parameters)
        if isinstance(job.inputs, list) and not is_chat(job.inputs):
            return [self._prompt(each, decode) for each in job.inputs]
        return [self._prompt(job.inputs, decode)]

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values[0] if is_chat(job.inputs) else Adapter._shape(self, values, job)

    def _prompt(self, inputs: Any, decode: "_Decoder") -> _Prompt:
        if isinstance(inputs, str):
            return _Prompt(inputs, inputs, films=False)
        if isinstance(inputs, list):
            whole = type(self).chat([decode.message(each) for each in inputs])
            bare = type(self).chat([_bare(each, each is inputs[-1]) for each in inputs])
            return _Prompt(whole, bare, decode.films)
        given = {role: getattr(inputs, role, None) for role in _ROLES}
        decoded = {role: decode.all(role, each) for role, each in given.items() if each is not None}
        return _Prompt({"text": inputs.text, **decoded}, inputs.text, decode.films)

    def _stages(self, job: Job) -> Stages:
        stages = Adapter._stages(self, job)
        wanted = dict(stages.forward.get("generate_kwargs") or {})
        mode = wanted.pop("generation_mode", "text")
        forward = {**self._generating(wanted), "mode": mode}
        return Stages(stages.preprocess, forward, stages.postprocess)

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        prompt: _Prompt = value
        wanted: dict[str, Any] = {}
        if prompt.films:
            # Their frames are chosen already.
            wanted["do_sample_frames"] = False
        if stages.forward["mode"] == "image":
            # The prompt ends with where an image begins: the pipeline forgets to say so.
            wanted["generation_mode"] = "image"
        if wanted:
            stages = replace(stages, preprocess={**stages.preprocess, "processor_kwargs": wanted})
        for made in self._preprocessed(prompt.whole, stages):
            tensors = {n: each for n, each in made.items() if isinstance(each, torch.Tensor)}
            tokens = tensors.pop("input_ids")
            kept = {"input_ids": tokens, "prompt_text": prompt.bare}
            row = self._row(tokens, tensors.pop("attention_mask", None), kept, stages.forward)
            shapes = tuple(
                (name, tuple(tensors[name].shape[1:]))
                for name in sorted(tensors.keys() - _BY_TOKEN)
            )
            key: Hashable = (row.key, shapes)
            if self._alone or stages.forward["mode"] != "text":
                key = uuid4().hex
            yield replace(row, inputs={**row.inputs, **tensors}, key=key)

    def _batch(self, rows: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = super()._batch(rows)
        width = batch["input_ids"].shape[1]
        for name in rows[0].keys() - batch.keys() - {"limit"}:
            parts = [row[name] for row in rows]
            if name in _BY_TOKEN:
                parts = [torch.nn.functional.pad(p, (width - p.shape[1], 0)) for p in parts]
            batch[name] = torch.cat(parts)
        return batch

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        parameters = chunks[0].features["parameters"]
        if not self._alone and parameters["mode"] == "text":
            return super()._forward(chunks)
        (chunk,) = chunks
        inputs = {name: each for name, each in chunk.features["inputs"].items() if name != "limit"}
        settings = dict(parameters["settings"])
        if parameters["stops"] is not None:
            settings |= {"stop_strings": parameters["stops"], "tokenizer": self._stop_tokenizer}
        if parameters["mode"] != "text":
            return [self._other(inputs, {**settings, "generation_mode": parameters["mode"]})]
        settings["stopping_criteria"] = halting(self._ended, 1)
        texts = followed(self._follow, lambda _: self._text(chunk))
        made = self._made_of(inputs, settings)
        output = {"generated_sequence": made.cpu() if isinstance(made, torch.Tensor) else made}
        # It says of no token when it comes: the text comes at its end.
        for text in texts.values():
            text.end(partial(self._new_text, chunk, output))
        return [output]

    def _decoded_before(self, chunk: Chunk) -> Sequence[int]:
        tokens: list[int] = chunk.features["inputs"]["input_ids"][0].tolist()
        return tokens

    def _made_of(self, inputs: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Any:
        with refusing_settings():
            return self._pipeline._forward(
                {**self._to_device(inputs), "text": ""}, generate_kwargs=settings
            )["generated_sequence"]

    def _other(
        self, inputs: Mapping[str, torch.Tensor], settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Make something else than text; models step towards it in ways of their own."""
        try:
            with watching([*steppers(self._model), self._model.get_decoder()], self._ended):
                made = self._made_of(inputs, settings)
        except Halted:
            return {}
        if settings["generation_mode"] == "image":
            return {"pixels": self._model.decode_image_tokens(made).float().cpu()}
        # A model that speaks gives its words, too.
        parts = made if isinstance(made, tuple) else (made,)
        here = tuple(each.cpu() if isinstance(each, torch.Tensor) else each for each in parts)
        return {"generated_sequence": here if isinstance(made, tuple) else here[0]}

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        records = self._pipeline.postprocess(rows[0], **parameters)
        # The caller has the prompt, with all its media.
        return [
            {name: self._made(name, each) for name, each in record.items() if name != "input_text"}
            for record in records
        ]

    def _made(self, name: str, value: Any) -> Any:
        return value


class AnyTalker(ImageTalker):
    """any-to-any."""

    chat = any_to_any.Chat

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        kind = self._model.config.model_type
        if stages.forward["mode"] == "image" and kind not in _PAINTERS:
            raise InvalidInput(
                f"generation_mode: a {kind} model makes no images here; "
                f"{' and '.join(sorted(_PAINTERS))} models do",
                {"model_type": kind},
            )
        return stages

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        [row] = rows
        if "pixels" not in row:
            return super()._finish(rows, job, parameters)
        # transformers' own processor fails at this where torchvision is, which its pipeline needs.
        look = self._pipeline.processor.image_processor
        mean, deviation = torch.tensor(look.image_mean), torch.tensor(look.image_std)
        values = (row["pixels"] * deviation + mean) / look.rescale_factor
        images = values.clip(0, 255).to(torch.uint8).numpy()
        return [{"generated_image": Image.fromarray(each)} for each in images]

    def _made(self, name: str, value: Any) -> Any:
        config = self._model.config
        rate = _SPEAKERS.get(config.model_type) or getattr(
            getattr(config, "codec_config", None) or config, "sampling_rate", None
        )
        if name != "generated_audio" or rate is None:
            return value
        samples = value.float().cpu().numpy() if isinstance(value, torch.Tensor) else value
        return Sound(np.asarray(samples, np.float32).squeeze(), int(rate))


class _Decoder:
    """Decodes the media of one job as its model wants them."""

    def __init__(self, processor: Any, media: Mapping[str, bytes], parameters: Any) -> None:
        extractor = getattr(processor, "feature_extractor", None)
        self._rate = int(getattr(extractor, "sampling_rate", None) or 16_000)
        self._media = media
        self._frames = parameters.num_frames or _FRAMES
        self._end_by = time.monotonic() + FILM_SECONDS
        self.films = False

    def message(self, message: Any) -> dict[str, Any]:
        """Give a message with its media decoded."""
        content = message.content
        if not isinstance(content, str):
            content = [self._part(part) for part in content]
        return {"role": message.role, "content": content}

    def all(self, role: str, given: Media | list[Media]) -> Any:
        """Decode the media of one kind."""
        kind = {"images": "image", "videos": "video"}.get(role, role)
        if isinstance(given, list):
            return [self._decoded(kind, each) for each in given]
        return self._decoded(kind, given)

    def _part(self, part: Any) -> dict[str, Any]:
        if part.type == "text":
            return {"type": "text", "text": part.text}
        return {"type": part.type, part.type: self._decoded(part.type, getattr(part, part.type))}

    def _decoded(self, kind: str, media: Media) -> Any:
        data = read_bytes(media, self._media)
        if kind == "image":
            return decode_image(data)
        if kind == "audio":
            return decode_sound(data, self._rate)
        self.films = True
        last = max(count_frames(data) - 1, 0)
        wanted = np.linspace(0, last, num=min(self._frames, last + 1), dtype=np.int64)
        return np.stack(decode_film(data, [int(number) for number in wanted], self._end_by))


def _has_film(inputs: Any) -> bool:
    if isinstance(inputs, list):
        return any(map(_has_film, inputs))
    content = getattr(inputs, "content", None)
    if isinstance(content, list):
        return any(part.type == "video" for part in content)
    return getattr(inputs, "videos", None) is not None


def _bare(message: Any, is_last: bool) -> dict[str, Any]:
    """Give a message without its media, as it is part of the output."""
    content = message.content
    if isinstance(content, str):
        # Where the pipeline continues a message, it wants its text as a part.
        parts = [{"type": "text", "text": content}]
        continued = is_last and message.role == "assistant"
        return {"role": message.role, "content": parts if continued else content}
    parts = [part.model_dump(exclude={"image", "audio", "video"}) for part in content]
    return {"role": message.role, "content": parts}
