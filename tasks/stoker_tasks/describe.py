"""What tasks and settings take and give, in words: for help, lists and documentation.

All of it is read from the types and docstrings, so there is nothing to keep in step.
"""

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel

from stoker_tasks.media import Media
from stoker_tasks.spec import TaskSpec

_ENTRY: Final = re.compile(r" {4}(\w+): (.*)")
_BOUNDS: Final = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
}
_NAMES: Final = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


@dataclass(frozen=True, kw_only=True)
class FieldWords:
    """One field of a model, in words.

    Attributes:
        name: Its name.
        type: What it may be, such as `integer ≥ 1`.
        doc: What it does.
        required: Whether it must be given.
    """

    name: str
    type: str
    doc: str
    required: bool


def attribute_docs(cls: type) -> dict[str, str]:
    """Read what the docstrings of a class and its bases say about each attribute.

    Args:
        cls: A class with Google docstrings.

    Returns:
        The text of each entry under `Attributes:`; a class's own words replace its bases'.
    """
    docs: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        text = inspect.cleandoc(each.__dict__.get("__doc__") or "")
        _, found, section = text.partition("\nAttributes:\n")
        name = None
        for line in section.splitlines() if found else ():
            entry = _ENTRY.fullmatch(line)
            if entry:
                name, docs[entry[1]] = entry[1], entry[2]
            elif name and line.startswith(" " * 8):
                docs[name] += " " + line.strip()
            else:
                break
    return docs


def fields_of(model: type[BaseModel]) -> list[FieldWords]:
    """Describe the fields of a model, in the order in which they are declared.

    Args:
        model: A pydantic model whose docstring documents its attributes.
    """
    schema = model.model_json_schema()
    docs, required = attribute_docs(model), schema.get("required", ())
    return [
        FieldWords(
            name=name,
            type=_type_words(field, schema.get("$defs", {})),
            doc=docs.get(name, ""),
            required=name in required,
        )
        for name, field in schema.get("properties", {}).items()
    ]


def parameters_of(spec: TaskSpec) -> list[FieldWords]:
    """Describe the parameters that a task takes."""
    parameters = spec.job.model_fields["parameters"].annotation
    assert isinstance(parameters, type)
    assert issubclass(parameters, BaseModel)
    return fields_of(parameters)


def takes_media(spec: TaskSpec) -> bool:
    """Tell whether the whole input of a task may be the bytes of one file."""
    schema = spec.job.model_json_schema()
    inputs = schema["properties"]["inputs"]
    return {"$ref": f"#/$defs/{Media.__name__}"} in inputs.get("anyOf", [inputs])


def output_words(spec: TaskSpec) -> str:
    """Sketch the output for one input, such as `[{"label": string, "score": number}, …]`."""
    return _shape(spec.output)


def _type_words(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    # Every parameter may also be null, which transformers' pipelines read as their default.
    choices = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    return " or ".join(dict.fromkeys(_one_type(each, defs) for each in choices))


def _one_type(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        target = defs[schema["$ref"].rpartition("/")[2]]
        keys = ", ".join(target.get("properties", ()))
        return f"object of {keys}" if keys else "object"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(json.dumps(value) for value in values)
    if schema.get("format") == "date-time":
        return "time with its time zone"
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        kind = f"list of {_type_words(schema['items'], defs)}"
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        kind = f"{kind} ({least} of them)" if least == most else kind
    if "words" in schema:
        return f"{kind} {schema['words']}"
    bounds = [f"{sign} {schema[bound]:g}" for bound, sign in _BOUNDS.items() if bound in schema]
    return f"{kind} {' and '.join(bounds)}" if bounds else kind


def _shape(kind: Any) -> str:
    # By hand: pydantic reads the standard library's TypedDict from Python 3.12 on.
    if is_typeddict(kind):
        parts = (
            f'"{name}"{"" if name in kind.__required_keys__ else "?"}: {_shape(each)}'
            for name, each in get_type_hints(kind).items()
        )
        return "{" + ", ".join(parts) + "}"
    if get_origin(kind) is list:
        return f"[{_shape(get_args(kind)[0])}, …]"
    if get_origin(kind) is Literal:
        return " or ".join(json.dumps(each) for each in get_args(kind))
    if get_origin(kind) is UnionType:
        return " or ".join(_shape(each) for each in get_args(kind))
    if get_origin(kind) is dict:
        each = _shape(get_args(kind)[1])
        return "{…}" if each == "anything" else f"{{name: {each}, …}}"
    return _NAMES.get(kind, "anything")
