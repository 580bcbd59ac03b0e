"""The page of the manifest's fields."""

from __future__ import annotations

import attrs

from neuronkit.artifact import manifest
from neuronkit.export.config import Input, Output
from neuronkit.weights import Constant
from tools.reference.text import arguments_of, code, docstring, field_type, page, table

INTRO = f"""
`{manifest.MANIFEST}` is JSON, schema {manifest.SCHEMA}, written and read by the classes below
(`neuronkit.artifact.manifest`). Fields may be added without a new schema; readers ignore those
that they do not know. A change that older versions cannot read raises the schema, and older versions refuse such an
artifact by name. [The artifact](../artifact.md) describes the files
around it.
"""
RECORDS = (
    manifest.Manifest,
    manifest.PluginRecord,
    manifest.SourceRecord,
    manifest.CompiledGraphRecord,
    Input,
    Output,
    manifest.CompiledBucket,
    Constant,
    manifest.File,
    manifest.Validation,
    manifest.Check,
)


def render() -> str:
    """Return the page."""
    parts = []
    for record in RECORDS:
        said = arguments_of(record)
        rows = [
            [f"`{field.name}`", code(field_type(record, field.name)), said.get(field.name, "")]
            for field in attrs.fields(record)
        ]
        parts += [f"## {record.__name__}", docstring(record).partition("**Arguments**")[0].strip()]
        parts.append(table(["field", "type", "meaning"], rows))
    return page("Manifest", INTRO, *parts)
