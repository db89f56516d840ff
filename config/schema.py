"""The JSON schema of settings files, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from config.settings import Settings

_REFERENCE = {"type": "string", "pattern": r"\$\{"}


class _OrReference(GenerateJsonSchema):
    """Where no text is expected, a reference to the environment may stand."""

    def int_schema(self, schema: Any) -> JsonSchemaValue:
        return {"anyOf": [super().int_schema(schema), _REFERENCE]}

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), _REFERENCE]}

    def bool_schema(self, schema: Any) -> JsonSchemaValue:
        return {"anyOf": [super().bool_schema(schema), _REFERENCE]}

    def literal_schema(self, schema: Any) -> JsonSchemaValue:
        return {"anyOf": [super().literal_schema(schema), _REFERENCE]}


def schema() -> dict[str, Any]:
    """JSON schema (2020-12) of a settings file; `${NAME}` is allowed wherever a scalar is.

    >>> schema()["properties"]["bars"]["$ref"]
    '#/$defs/Bars'
    """
    made = Settings.model_json_schema(schema_generator=_OrReference)
    return {"$schema": GenerateJsonSchema.schema_dialect, **made, "title": "Tidewax settings"}
