"""The pipeline that finds the passage of a text that answers a question."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from transformers.pipelines.base import ChunkPipeline
from transformers.pipelines.document_question_answering import select_starts_ends

# Above any product of two probabilities.
_NO_SCORE: Final = 1_000_000


class QuestionAnsweringPipeline(ChunkPipeline):
    """question-answering: a long text is read in chunks that overlap.

    A question and its text are `{"question", "context"}`; an answer has the characters at which it
    begins and ends.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.tokenizer.is_fast:
            raise ValueError(
                f"{type(self.tokenizer).__name__} cannot say where its tokens stand in a text: "
                "give a checkpoint with a fast tokenizer"
            )

    def _sanitize_parameters(
        self,
        *,
        top_k: int | None = None,
        max_answer_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        align_to_words: bool | None = None,
        doc_stride: int | None = None,
        max_seq_len: int | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {"doc_stride": doc_stride, "max_seq_len": max_seq_len}
        postprocess = {
            "top_k": top_k,
            "max_answer_len": max_answer_len,
            "handle_impossible_answer": handle_impossible_answer,
            "align_to_words": align_to_words,
        }
        return _given(preprocess), {}, _given(postprocess)

    def preprocess(
        self,
        example: Mapping[str, str],
        doc_stride: int | None = None,
        max_seq_len: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Turn a question and its text into chunks.

        Raises:
            ValueError: The question leaves no room for the text, or less than the chunks overlap.
        """
        tokenizer = self.tokenizer
        max_seq_len = max_seq_len or min(tokenizer.model_max_length, 384)
        doc_stride = stride_within(tokenizer, example["question"], max_seq_len, doc_stride)
        # A model that is padded on the left reads the text first.
        question_first = tokenizer.padding_side == "right"
        pair = (example["question"], example["context"])
        encoded = tokenizer(
            *(pair if question_first else reversed(pair)),
            truncation="only_second" if question_first else "only_first",
            max_length=max_seq_len,
            stride=doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        count = len(encoded["input_ids"])
        for index in range(count):
            tokens = encoded["input_ids"][index]
            of_text = 1 if question_first else 0
            barred = [
                side != of_text and token != tokenizer.cls_token_id
                for side, token in zip(encoded.sequence_ids(index), tokens, strict=True)
            ]
            names = [name for name in tokenizer.model_input_names if name in encoded]
            yield {
                **{name: torch.tensor([encoded[name][index]]) for name in names},
                "p_mask": barred,
                "encoding": encoded.encodings[index],
                "context": example["context"],
                "is_last": index == count - 1,
            }

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in self.tokenizer.model_input_names if name in model_inputs]
        output = self.model(**{name: model_inputs[name] for name in names})
        return {**model_inputs, "start": output.start_logits, "end": output.end_logits}

    def postprocess(
        self,
        model_outputs: Sequence[Mapping[str, Any]],
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Any:
        """Pick the best passages of all chunks; passages of the same words add their scores up."""
        null_score: float = _NO_SCORE
        found: dict[str, dict[str, Any]] = {}
        for chunk in model_outputs:
            starts, ends, scores, null_score = select_starts_ends(
                chunk["start"].float().numpy(),
                chunk["end"].float().numpy(),
                chunk["p_mask"],
                None,
                null_score,
                # Some turn out to be the same when they are widened to words.
                top_k * 2 + 10 if align_to_words else top_k,
                handle_impossible_answer,
                max_answer_len,
            )
            for start, end, score in zip(starts, ends, scores, strict=True):
                first, last = self._characters(chunk["encoding"], start, end, align_to_words)
                text = chunk["context"][first:last]
                answer = found.setdefault(
                    text.lower(), {"score": 0.0, "start": first, "end": last, "answer": text}
                )
                answer["score"] += float(score)
        answers = list(found.values())
        if handle_impossible_answer:
            answers.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
        answers.sort(key=lambda each: each["score"], reverse=True)
        best = answers[:top_k]
        return best[0] if len(best) == 1 else best

    def _characters(self, encoding: Any, start: int, end: int, to_words: bool) -> tuple[int, int]:
        of_text = 1 if self.tokenizer.padding_side == "right" else 0
        words = (encoding.token_to_word(start), encoding.token_to_word(end))
        if to_words and None not in words:
            spans = [encoding.word_to_chars(word, of_text) for word in words]
            if None not in spans:
                return spans[0][0], spans[1][1]
        return encoding.offsets[start][0], encoding.offsets[end][1]


def stride_within(
    tokenizer: Any, question: str, max_seq_len: int, doc_stride: int | None, most: int = 128
) -> int:
    """Find by how much chunks may overlap beside a question.

    Args:
        tokenizer: The tokenizer; it would end its thread over an overlap as long as a chunk.
        question: The question.
        max_seq_len: The most tokens of a chunk, the question included.
        doc_stride: The overlap that was asked for; if None, half a chunk, or what fits.
        most: The most tokens that overlap where none were asked for.

    Raises:
        ValueError: There is no room.
    """
    own = len(tokenizer.tokenize(question))
    room: int = max_seq_len - own - tokenizer.num_special_tokens_to_add(pair=True)
    if room < 1:
        raise ValueError(
            f"the question has {own} tokens, which leaves none of the {max_seq_len} of a chunk"
        )
    if doc_stride is None:
        return min(max_seq_len // 2, most, room - 1)
    if doc_stride >= room:
        raise ValueError(
            f"doc_stride is {doc_stride}, and beside the question a chunk has room for {room} "
            "tokens: set a smaller doc_stride or a larger max_seq_len"
        )
    return doc_stride


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
