"""What a task takes and gives as JSON Schema (draft 2020-12), for callers in any language."""

from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints, is_typeddict

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from stoker_tasks.describe import attribute_docs
from stoker_tasks.spec import TaskSpec
from stoker_tasks.webhook import Webhook

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_KINDS: Final = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def job_schema(spec: TaskSpec) -> dict[str, Any]:
    """Give the schema of a task's job: what `stoker submit NAME -` and `make_job` take.

    Args:
        spec: The task's spec.

    Returns:
        The schema, each of whose fields says what it does.
    """
    written = spec.job.model_json_schema(schema_generator=_Documented)
    return {"$schema": _DIALECT, **written, "description": spec.summary}


def output_schema(spec: TaskSpec) -> dict[str, Any]:
    """Give the schema of a task's output: for one input, or, for a list of inputs, a list of it.

    Keys beside those that it names may stand in an output: a model's own. An output that is larger
    than the deployment's limit is an artifact, as docs/results.md says.

    Args:
        spec: The task's spec.

    Returns:
        The schema of what stands in a result's `output`.
    """
    one = _schema(spec.output)
    return {
        "$schema": _DIALECT,
        "title": f"{spec.job.__name__}Output",
        "anyOf": [{"$ref": "#/$defs/One"}, {"type": "array", "items": {"$ref": "#/$defs/One"}}],
        "$defs": {"One": one},
    }


class _Documented(GenerateJsonSchema):
    """Takes the words of each field from the docstring of its class."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        cls: type = schema["cls"]
        written = super().model_schema(schema)
        docs = attribute_docs(cls)
        for name, field in written.get("properties", {}).items():
            if name in docs:
                field["description"] = docs[name]
        if cls.__doc__:
            written["description"] = cls.__doc__.partition("\n")[0]
        # A URL alone is one too: its validator runs before the fields are looked at.
        return {"anyOf": [{"type": "string"}, written]} if cls is Webhook else written


def _schema(kind: Any) -> dict[str, Any]:
    # By hand: pydantic reads the standard library's TypedDict from Python 3.12 on.
    if is_typeddict(kind):
        docs = attribute_docs(kind)
        properties = {name: _schema(each) for name, each in get_type_hints(kind).items()}
        for name in docs.keys() & properties.keys():
            properties[name]["description"] = docs[name]
        return {
            "type": "object",
            "properties": properties,
            "required": sorted(kind.__required_keys__),
        }
    if get_origin(kind) is list:
        return {"type": "array", "items": _schema(get_args(kind)[0])}
    if get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": _schema(get_args(kind)[1])}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is UnionType:
        return {"anyOf": [_schema(each) for each in get_args(kind)]}
    return {"type": _KINDS[kind]} if kind in _KINDS else {}
