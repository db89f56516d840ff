"""JSON schemas of what Kafka's topics hold as JSON: records, and the newest row of each stream."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from config import Settings
from config.kafka_section import KINDS
from connectors.kafka.routes import has_latest, kind_of
from connectors.storage import storage_errors
from events.records import Record
from events.streams import Columns, Records, Stream, base_streams
from flows.config_command import plan_in_force

_BASE: Final = {"$schema": GenerateJsonSchema.schema_dialect}


def record_schema(record: type[Record]) -> dict[str, Any]:
    """What every record of a type is, as canonical JSON: its topic, and the topic of the newest, hold that.

    >>> from events.records import Signal
    >>> made = record_schema(Signal)
    >>> made["title"], made["properties"]["side"]["enum"], made["additionalProperties"]
    ('signals', ['LONG', 'SHORT'], False)
    """
    made = record.model_json_schema(mode="serialization", schema_generator=_NumbersOrNull)
    return {**_BASE, **made, "title": record.stream}


def newest_schema(stream: Columns) -> dict[str, Any]:
    """What the newest rows of a column stream are.

    >>> made = newest_schema(base_streams(["5m"])["bars.5m"])
    >>> made["title"], made["properties"]["open"], made["properties"]["flags"]
    ('latest bars.5m', {'type': ['number', 'null']}, {'type': 'integer'})
    """
    packed, columns = stream.packed, dict[str, Any]()
    for name in packed.names or ():
        kind = packed[name]
        if kind.kind == "f":
            columns[name] = {"type": ["number", "null"]}
        else:
            columns[name] = {"type": ["integer", "null"] if kind == "i8" else "integer"}
    named = {"instrument": {"type": "string"}, "stream": {"const": stream.name}}
    return {
        **_BASE,
        "title": f"latest {stream.name}",
        "description": f"The newest row of {stream.name} of an instrument; times in ns since 1970 (UTC), null of what is missing.",
        "type": "object",
        "properties": named | columns,
        "required": [*named, *columns],
        "additionalProperties": False,
    }


def schemas_of(streams: Mapping[str, Stream]) -> dict[str, dict[str, Any]]:
    """The schemas of all that is JSON in topics of results, by file name.

    >>> sorted(schemas_of(base_streams(["1m"])))
    ['dead_letters.json', 'latest.bars.1m.json', 'signals.json', 'updates.json']
    """
    made: dict[str, dict[str, Any]] = {}
    for name, stream in streams.items():
        kind = kind_of(name)
        if kind not in KINDS:
            continue
        if isinstance(stream, Records):
            made[f"{name}.json"] = record_schema(stream.record)
        elif has_latest(kind):
            made[f"latest.{name}.json"] = newest_schema(stream)
    return made


def published() -> dict[str, str]:
    """The schemas that hang on no setting, as files of `docs/schemas`.

    >>> list(published())
    ['schemas/dead_letters.json', 'schemas/latest.bars.1m.json', 'schemas/signals.json', 'schemas/updates.json']
    """
    return {f"schemas/{name}": _text(made) for name, made in sorted(schemas_of(base_streams(["1m"])).items())}


def write_schemas(directory: Path, settings: Settings) -> list[str]:
    """Write the schemas of all that is JSON in topics of results, with the columns of these settings; their file names.

    Raises:
        RunError: the directory cannot be written.
    """
    made = schemas_of(plan_in_force(settings).streams)
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for name, schema in made.items():
            (directory / name).write_text(_text(schema), "utf-8")
    return sorted(made)


class _NumbersOrNull(GenerateJsonSchema):
    """Canonical JSON has null for a number that is none."""

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return {"anyOf": [super().float_schema(schema), {"type": "null"}]}


def _text(schema: dict[str, Any]) -> str:
    return re.sub(r"`", "", json.dumps(schema, indent=2, ensure_ascii=False)) + "\n"
