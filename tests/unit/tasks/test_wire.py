"""How jobs travel: what is sent is what is read, and what cannot be read is explained."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_tasks.catalog import CATALOG
from stoker_tasks.errors import InvalidInput, UnknownTask
from stoker_tasks.job import Job
from stoker_tasks.spec import TaskSpec
from stoker_tasks.text import TextClassification
from stoker_tasks.wire import (
    celery_name,
    make_job,
    pool_name,
    queue_name,
    read_job,
    task_name,
    to_kwargs,
)

SECRET = "s3cr3t"

text = st.text(max_size=20)
maybe_bool = st.none() | st.booleans()
positive = st.integers(1, 2**40)
fraction = st.floats(0, 1)
media = st.one_of(
    st.builds(lambda name: {"uri": name}, text),
    st.builds(lambda name: {"base64": name}, text),
    st.sampled_from([{"url": "https://h.test/a?b=c"}, {"url": "s3://bucket/any key"}]),
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any choice of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def one_or_many(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return one | st.lists(one, min_size=1, max_size=3)


pair = st.fixed_dictionaries({"text": text, "text_pair": text})
message = st.fixed_dictionaries({"role": text, "content": text}, optional={"name": text})
generation = {
    "max_new_tokens": st.none() | positive,
    "do_sample": maybe_bool,
    "temperature": st.floats(0.01, 5),
    "top_p": fraction,
    "num_beams": positive,
    "length_penalty": st.floats(-5, 5),
}
image_pair = st.lists(media, min_size=2, max_size=2)
edge = st.integers(1, 4096)
labels = st.lists(st.text(max_size=9).map("x{}".format), min_size=1)
labelled = st.fixed_dictionaries({"candidate_labels": labels})
parts = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": text})
    | st.fixed_dictionaries({"type": st.just("image"), "image": media}),
    min_size=1,
    max_size=3,
)
chat = st.lists(
    st.fixed_dictionaries({"role": text, "content": text | parts}), min_size=1, max_size=3
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | text,
    lambda each: st.lists(each, max_size=2) | st.dictionaries(text, each, max_size=2),
    max_leaves=4,
)
beside = st.lists(st.dictionaries(text, json_values, max_size=2), min_size=1, max_size=2)
talk = {"max_new_tokens": positive, "num_frames": st.integers(1, 9), "return_full_text": maybe_bool}
tokenizer = some(truncation=maybe_bool, max_length=positive)
words = st.text(min_size=1, max_size=20)
thousandths = st.lists(st.integers(0, 499), min_size=2, max_size=2)
# A box's left and top, and further than these its right and bottom.
box = st.builds(lambda low, high: low + [500 + each for each in high], thousandths, thousandths)
question = st.fixed_dictionaries({"question": words})
criteria = st.dictionaries(text, st.none() | text, min_size=1, max_size=3)
asked = st.one_of(
    st.fixed_dictionaries({"type": st.just("noul")}, optional={"instructions": text}),
    st.fixed_dictionaries({"type": st.just("choice"), "criteria": criteria}),
    st.fixed_dictionaries(
        {"type": st.just("score"), "criteria": st.lists(text, min_size=1, max_size=3)}
    ),
)
INPUTS_AND_PARAMETERS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "text-classification": (
        one_or_many(text | pair),
        some(
            top_k=st.none() | positive, function_to_apply=st.just("sigmoid"), truncation=maybe_bool
        ),
    ),
    "token-classification": (
        one_or_many(text),
        some(aggregation_strategy=st.just("max"), ignore_labels=st.lists(text), stride=positive),
    ),
    "fill-mask": (one_or_many(text), some(targets=one_or_many(text), tokenizer_kwargs=tokenizer)),
    "feature-extraction": (
        one_or_many(text),
        some(pooling=st.sampled_from(["mean", "cls", "none"]), normalize=maybe_bool),
    ),
    "zero-shot-classification": (
        one_or_many(text),
        st.fixed_dictionaries(
            {"candidate_labels": labels | labels.map(",".join)},
            optional={"multi_label": maybe_bool},
        ),
    ),
    "text-generation": (
        text | st.lists(text, min_size=1, max_size=3) | st.lists(message, min_size=1, max_size=3),
        some(
            stop_sequence=one_or_many(text),
            tools=beside,
            documents=beside,
            tokenizer_encode_kwargs=tokenizer,
            **generation,
        ),
    ),
    **dict.fromkeys(
        ("summarization", "text2text-generation"),
        (one_or_many(text), some(max_length=st.integers(2, 99), truncation=maybe_bool)),
    ),
    "translation": (
        one_or_many(text),
        some(src_lang=text, tgt_lang=st.none() | text, **generation),
    ),
    "question-answering": (
        one_or_many(st.fixed_dictionaries({"question": words, "context": words})),
        some(top_k=positive, align_to_words=maybe_bool, doc_stride=st.integers(0, 99)),
    ),
    "table-question-answering": (
        one_or_many(
            st.fixed_dictionaries(
                {
                    "table": st.dictionaries(
                        text, st.lists(text, min_size=2, max_size=2), min_size=1, max_size=3
                    )
                    | st.lists(st.fixed_dictionaries({"": text, "a": text}), min_size=1),
                    "query": one_or_many(words),
                }
            )
        ),
        some(sequential=maybe_bool, truncation=maybe_bool),
    ),
    "document-question-answering": (
        one_or_many(
            st.fixed_dictionaries(
                {"question": words, "word_boxes": st.lists(st.tuples(text, box).map(list))},
                optional={"image": media},
            )
        ),
        some(top_k=positive, lang=st.just("deu+fra"), tesseract_config=st.just("--psm 6")),
    ),
    "decision": (
        one_or_many(
            st.fixed_dictionaries(
                {
                    "state": text | st.lists(text) | st.dictionaries(text, text),
                    "questions": st.dictionaries(text, asked, min_size=1, max_size=3),
                },
                optional={"assets": st.dictionaries(text, media, max_size=2)},
            )
        ),
        some(),
    ),
    "image-classification": (one_or_many(media), some(top_k=positive)),
    "zero-shot-image-classification": (one_or_many(media), labelled),
    "image-feature-extraction": (
        one_or_many(media),
        some(pool=st.booleans(), image_processor_kwargs=some(size=some(height=edge, width=edge))),
    ),
    "depth-estimation": (one_or_many(media), some()),
    "image-to-image": (one_or_many(media), some()),
    "object-detection": (one_or_many(media), some(threshold=fraction)),
    "zero-shot-object-detection": (one_or_many(media), labelled),
    "image-segmentation": (
        one_or_many(media),
        some(subtask=st.none() | st.just("semantic"), threshold=fraction, mask_threshold=fraction),
    ),
    "mask-generation": (
        one_or_many(media),
        some(points_per_batch=st.none() | positive, mask_threshold=st.floats(-9, 9)),
    ),
    "keypoint-matching": (
        image_pair | st.lists(image_pair, min_size=1, max_size=3),
        some(threshold=fraction),
    ),
    "automatic-speech-recognition": (
        one_or_many(media),
        some(
            return_timestamps=st.sampled_from([True, False, "word", "char"]),
            stride_length_s=st.floats(0, 9) | st.lists(st.floats(0, 9), min_size=2, max_size=2),
            generate_kwargs=some(language=text, **generation),
        ),
    ),
    "image-to-text": (
        one_or_many(media),
        some(prompt=text, max_new_tokens=positive, generate_kwargs=some(**generation)),
    ),
    "visual-question-answering": (
        one_or_many(st.fixed_dictionaries({"image": media, "question": text})),
        some(top_k=positive, truncation=maybe_bool),
    ),
    "video-classification": (
        one_or_many(media),
        some(top_k=positive, num_frames=st.integers(1, 64), frame_sampling_rate=st.just(2)),
    ),
    "image-text-to-text": (
        one_or_many(text)
        | one_or_many(st.fixed_dictionaries({"text": text, "images": one_or_many(media)}))
        | one_or_many(chat),
        some(stop_sequence=one_or_many(text), generate_kwargs=some(**generation), **talk),
    ),
    "any-to-any": (
        one_or_many(st.fixed_dictionaries({"text": text}, optional={"audio": one_or_many(media)}))
        | one_or_many(chat),
        some(generation_mode=st.just("text"), generate_kwargs=some(**generation), **talk),
    ),
    "audio-classification": (one_or_many(media), some(top_k=positive)),
    "zero-shot-audio-classification": (
        one_or_many(media),
        labelled,
    ),
    "text-to-audio": (
        text | st.lists(text, min_size=1, max_size=3) | st.lists(message, min_size=1, max_size=3),
        some(
            preprocess_params=tokenizer,
            forward_params=some(
                speaker_id=positive, speaker_embeddings=st.lists(fraction, min_size=1)
            ),
            generate_kwargs=some(guidance_scale=fraction, **generation),
        ),
    ),
}
FIELDS = {
    "model": st.none() | text,
    "revision": st.none() | text,
    "metadata": st.dictionaries(st.text(min_size=1, max_size=64), text, max_size=3),
}


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    task = draw(st.sampled_from(sorted(INPUTS_AND_PARAMETERS)))
    inputs, parameters = INPUTS_AND_PARAMETERS[task]
    fields = {"inputs": inputs, "parameters": parameters, **FIELDS}
    return make_job(task, draw(st.fixed_dictionaries(fields)))


def test_the_jobs_below_are_of_all_tasks() -> None:
    assert INPUTS_AND_PARAMETERS.keys() == CATALOG.keys()


# -- there and back ------------------------------------------------------------------------------


@given(jobs())
def test_what_is_sent_is_what_is_read(job: Job) -> None:
    kwargs = to_kwargs(job)

    read = read_job(celery_name(job.task), (), json.loads(json.dumps(kwargs, allow_nan=False)))

    assert read == job
    assert read.parameters.given() == job.parameters.given()
    assert to_kwargs(read) == kwargs


@given(jobs())
def test_only_what_is_set_is_sent(job: Job) -> None:
    kwargs = to_kwargs(job)

    assert kwargs.keys() <= {"inputs", "model", "revision", "parameters", "metadata"}
    assert None not in [kwargs.get(name, "") for name in ("model", "revision")]
    assert kwargs.get("parameters", {}) == job.parameters.given()
    assert kwargs.get("metadata") != {}


def test_a_translations_name_may_say_its_languages() -> None:
    named = make_job("translation_en_to_fr", {"inputs": "x", "parameters": {"num_beams": 2}})
    read = read_job("stoker.translation_en_to_fr", ("x",), {"parameters": {"tgt_lang": "de"}})

    assert named.task == read.task == "translation"
    assert named.parameters.given() == {"src_lang": "en", "tgt_lang": "fr", "num_beams": 2}
    assert read.parameters.given() == {"src_lang": "en", "tgt_lang": "de"}


def test_an_explicit_null_is_sent() -> None:
    job = make_job("text-classification", {"inputs": "x", "parameters": {"top_k": None}})

    assert to_kwargs(job) == {"inputs": "x", "parameters": {"top_k": None}}


def test_priority_travels_beside_the_arguments() -> None:
    assert to_kwargs(TextClassification(inputs="x", priority="low")) == {"inputs": "x"}


@pytest.mark.parametrize("pool", ["default", "a", "gpu-2", "x_1", "9"])
def test_pools_and_queues(pool: str) -> None:
    assert pool_name(queue_name(pool)) == pool
    assert queue_name("default") == "stoker"
    assert queue_name("a") == "stoker.a"


@pytest.mark.parametrize("pool", ["", "A", "a.b", "-a", "a b", "x" * 64, "a\n"])
def test_a_pool_has_a_plain_name(pool: str) -> None:
    with pytest.raises(InvalidInput, match="a pool's name has lower-case letters"):
        queue_name(pool)


@given(st.sampled_from(sorted(CATALOG)))
def test_celerys_names(task: str) -> None:
    assert task_name(celery_name(task)) == task


# -- what is explained ---------------------------------------------------------------------------


@pytest.mark.parametrize("spec", CATALOG.values(), ids=CATALOG)
def test_each_unknown_name_is_answered_with_the_known_ones(spec: TaskSpec) -> None:
    parameters = {**spec.example.get("parameters", {}), "nonsense": SECRET}
    with pytest.raises(InvalidInput) as refused:
        make_job(spec.name, {**spec.example, "wrong": SECRET, "parameters": parameters})

    message = refused.value.message
    assert message.startswith(f"{spec.name}: ")
    assert f"wrong: unknown field; a job has {', '.join(spec.job.model_fields)}" in message
    known = ", ".join(spec.parameters) or "none"
    assert f"parameters.nonsense: unknown parameter; {spec.name} takes {known}" in message
    assert set(refused.value.details["fields"]) == {"wrong", "parameters.nonsense"}
    assert SECRET not in str(refused.value.args)


@pytest.mark.parametrize(
    ("spec", "name"),
    [(spec, name) for spec in CATALOG.values() for name in spec.left_out],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
def test_a_parameter_that_is_left_out_is_refused_with_the_reason(spec: TaskSpec, name: str) -> None:
    parameters = {**spec.example.get("parameters", {}), name: SECRET}
    with pytest.raises(InvalidInput) as refused:
        make_job(spec.name, {**spec.example, "parameters": parameters})

    message = refused.value.message
    assert f"parameters.{name}: is not taken: {spec.left_out[name]}; {spec.name} takes" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("task", "name"),
    [(spec.name, name) for spec in CATALOG.values() for name in spec.parameters],
)
def test_a_wrong_value_is_answered_with_what_is_taken(task: str, name: str) -> None:
    example = CATALOG[task].example
    parameters = {**example.get("parameters", {}), name: {SECRET: SECRET}}
    with pytest.raises(InvalidInput) as refused:
        make_job(task, {**example, "parameters": parameters})

    assert f"parameters.{name}" in refused.value.message
    assert "takes " in refused.value.message
    assert "Input should be" not in refused.value.message
    # Below it the caller named a field; its value is told nowhere.
    assert f"'{SECRET}'" not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": 7}, 'inputs: must be a string, {"text", "text_pair"}, or a list of these'),
        ({}, "inputs: must be a string"),
        ({"inputs": []}, "inputs: must be a string"),
        ({"inputs": "x", "parameters": 7}, "parameters: takes object of "),
        ({"inputs": "x", "parameters": {"top_k": 0}}, "parameters.top_k: takes integer ≥ 1"),
        ({"inputs": "x", "parameters": {"top_k": True}}, "parameters.top_k: takes integer ≥ 1"),
        ({"inputs": "x", "priority": "urgent"}, 'priority: takes "high" or "normal" or "low"'),
        ({"inputs": "x", "model": 7}, "model: takes string"),
        ({"inputs": "x", "metadata": {"k": 7}}, "metadata: "),
        ({"inputs": "x", "task": "fill-mask"}, "task: unknown field"),
    ],
)
def test_each_field_says_what_it_takes(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        make_job("text-classification", fields)

    assert refused.value.message.startswith(f"text-classification: {words}")


ZERO_SHOT = [name for name in CATALOG if name.startswith("zero-shot-")]


@pytest.mark.parametrize("task", ZERO_SHOT)
@pytest.mark.parametrize("labels", [[], ["cat", " "], "", " , ,", None])
def test_labels_to_choose_from_are_asked_for_at_submit(task: str, labels: Any) -> None:
    example = CATALOG[task].example
    parameters = {} if labels is None else {"candidate_labels": labels}
    says = "is required" if labels is None else r"list of string \(one label at least"
    with pytest.raises(InvalidInput, match=rf"parameters\.candidate_labels: .*{says}"):
        make_job(task, {**example, "parameters": parameters})


@pytest.mark.parametrize("task", [name for name in ZERO_SHOT if "object" not in name])
@pytest.mark.parametrize("template", ["a photo", "{} or {}", "{0.__class__}"])
def test_a_sentence_for_labels_has_one_place_for_them(task: str, template: str) -> None:
    parameters = {"candidate_labels": ["cat"], "hypothesis_template": template}
    with pytest.raises(InvalidInput, match=r"hypothesis_template: takes string with one \{\}"):
        make_job(task, {**CATALOG[task].example, "parameters": parameters})


def test_fields_below_a_parameter_are_named_too() -> None:
    given = {"tokenizer_kwargs": {"padding": True, "max_length": "long"}}
    with pytest.raises(InvalidInput) as refused:
        make_job("fill-mask", {"inputs": "x", "parameters": given})

    assert refused.value.message == (
        "fill-mask: parameters.tokenizer_kwargs.max_length: takes integer ≥ 1; "
        "parameters.tokenizer_kwargs.padding: unknown parameter; tokenizer_kwargs takes "
        "max_length, truncation"
    )


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_json_does_not_have_are_refused(number: float) -> None:
    parameters = {"repetition_penalty": 1.0, "length_penalty": number}
    with pytest.raises(InvalidInput, match=r"parameters\.length_penalty: takes number"):
        make_job("text-generation", {"inputs": "x", "parameters": parameters})


def test_many_faults_make_no_long_message() -> None:
    with pytest.raises(InvalidInput, match=r"; and 991 more$") as refused:
        make_job("text-classification", {str(n) + "x" * 100: n for n in range(1000)})

    assert len(refused.value.message) < 3000


def test_a_job_of_an_unknown_task() -> None:
    with pytest.raises(UnknownTask, match="near it: "):
        read_job("stoker.no_such_task", (), {"inputs": "x"})


# -- positional arguments ------------------------------------------------------------------------


def result(task: str, output: Any, **more: Any) -> dict[str, Any]:
    """What Celery hands on of a job's result."""
    rest: dict[str, Any] = {"artifacts": [], "model": "m@c", "timing": {}, "metadata": {}}
    return {"output": output, "task": task, **rest, **more}


def inputs(*args: Any, task: str = "text-classification", **kwargs: Any) -> Any:
    return read_job(celery_name(task), args, kwargs).inputs


def test_a_string_and_a_list_are_inputs() -> None:
    assert inputs("a b") == "a b"
    assert inputs(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "output", "handed"),
    [
        ("text-generation", [{"generated_text": "a b"}, {"generated_text": "c"}], "a b"),
        (
            "text-generation",
            [{"generated_text": [{"role": "user", "content": "q"}, {"role": "x", "content": "a"}]}],
            "a",
        ),
        ("text-generation", [[{"generated_text": "a"}], [{"generated_text": "b"}]], ["a", "b"]),
        ("fill-mask", [{"sequence": "best"}, {"sequence": "second"}], "best"),
        ("fill-mask", [[{"sequence": "a"}], [{"sequence": "b"}]], ["a", "b"]),
        ("automatic-speech-recognition", {"text": "said"}, "said"),
        ("automatic-speech-recognition", [{"text": "a"}, {"text": "b"}], ["a", "b"]),
    ],
)
def test_a_result_is_what_it_hands_over(before: str, output: Any, handed: Any) -> None:
    assert inputs(result(before, output)) == handed
    # Of a later version, which tells more.
    assert inputs(result(before, output, usage={})) == handed


def test_a_chords_body_gets_all_in_order() -> None:
    parts = [result("automatic-speech-recognition", {"text": f"{n}"}) for n in range(3)]

    assert inputs([*parts, "end"]) == ["0", "1", "2", "end"]


@pytest.mark.parametrize(
    ("before", "output"),
    [
        ("text-classification", [{"label": "x", "score": 1.0}]),
        ("fill-mask", [[[{"sequence": "a"}], [{"sequence": "b"}]]]),
        ("text-generation", []),
        ("text-generation", "of another shape"),
        ("automatic-speech-recognition", {}),
    ],
)
def test_what_has_nothing_to_hand_over_is_named_with_what_wanted_it(
    before: str, output: Any
) -> None:
    with pytest.raises(InvalidInput) as refused:
        inputs(result(before, output), task="feature-extraction")

    assert refused.value.message.startswith(
        f"{before} has nothing to hand over to feature-extraction: put a task of your own between"
    )
    assert refused.value.details == {"from": before, "to": "feature-extraction"}


def test_a_result_of_a_task_that_is_not_known_here() -> None:
    with pytest.raises(InvalidInput, match="an unknown task has nothing to hand over"):
        inputs(result("of-a-later-version", "x"))


def test_inputs_are_given_once() -> None:
    with pytest.raises(InvalidInput, match="takes a positional argument or inputs=, not both"):
        inputs("x", inputs="x")
    with pytest.raises(InvalidInput, match="takes one positional argument, the inputs; 2 were"):
        inputs("x", "y")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        pytest.param(spec, name, id=f"{spec.name}-{name}")
        for spec in CATALOG.values()
        for name in ("parameters", "components")
        if not spec.job.model_fields[name].is_required()
    ],
)
def test_jobs_that_set_nothing_of_a_kind_have_one_object_in_common(
    spec: TaskSpec, name: str
) -> None:
    field = spec.job.model_fields[name]

    one, other = (field.get_default(call_default_factory=True) for _ in range(2))

    assert one is other
    assert type(one) is field.annotation
    assert one.given() == {}
