"""What the OpenAPI document says of each route: fields, files, replies, errors. Knows schemas; knows no route.

    @blueprint.post("/generate")
    @described(form=GenerateForm, files={"loop_audio": True}, reply=GenerateReply, errors=(413, 415, 429))
    async def generate() -> Response: ...

The first line of the route's docstring is its summary. Every route can also answer 401 (with an API key set), 500 and
503; routes with fields also 400 and 422. All failures have one shape (`ErrorReply`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter
from quart import current_app
from quart_schema.openapi import OpenAPIProvider
from werkzeug.routing.rules import Rule

R = TypeVar("R", bound=Callable[..., Any])
_ATTRIBUTE = "_darius_described"
_REF = "#/components/schemas/{model}"


class ErrorReply(BaseModel):
    """Every failure. `error` and `detail` are the same sentence; `code` is stable."""

    ok: Literal[False]
    error: str
    detail: str
    code: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """What the document says of one route; see `described`."""

    form: type[BaseModel] | None = None
    json: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    files: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    reply: type[BaseModel] | None = None
    replies: Mapping[int, type[BaseModel]] = dataclasses.field(default_factory=dict)
    media: str = "application/json"
    errors: tuple[int, ...] = ()


def described(**facts: Any) -> Callable[[R], R]:
    """Describes a route.

    Args:
      form: its fields as a form; multipart/form-data, and urlencoded where no file is required.
      json: its fields as a JSON object; may stand beside `form`.
      query: its fields in the query string.
      files: names of file fields, and whether each is required.
      reply: what it answers with 200; None for something that is not JSON (`media`).
      replies: other answers that are no failures.
      errors: statuses of failures beyond those that every route has.
    """

    def decorate(route: R) -> R:
        setattr(route, _ATTRIBUTE, Described(**facts))
        return route

    return decorate


def document() -> dict[str, Any]:
    """The app's OpenAPI document."""
    schema: dict[str, Any] = current_app.extensions["QUART_SCHEMA"].openapi_provider.schema()
    return schema


class Provider(OpenAPIProvider):
    """Adds what `described` says to the document."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, components = super().build_paths(rule)
        facts: Described | None = getattr(self._app.view_functions[rule.endpoint], _ATTRIBUTE, None)
        if facts is None:
            return paths, components
        for methods in paths.values():
            for operation in methods.values():
                self._add(operation, facts, components)
        return paths, components

    def _add(self, operation: dict[str, Any], facts: Described, components: dict[str, Any]) -> None:
        if facts.query is not None:
            operation["parameters"] = [*operation["parameters"], *_parameters(_schema(facts.query, components))]
        content = _bodies(facts, components)
        if content:
            operation["requestBody"] = {"content": content, "required": _required(content)}
        responses: dict[str, Any] = {}
        schema = {"type": "string"} if facts.reply is None else _schema(facts.reply, components, writing=True)
        responses["200"] = _response(200, schema, facts.media)
        for status, kind in facts.replies.items():
            responses[str(status)] = _response(status, _schema(kind, components, writing=True))
        failure = _schema(ErrorReply, components, writing=True)
        own = (400, 422) if content or facts.query else ()
        key = (401,) if self._app.extensions["darius"].settings.api_key else ()
        for status in sorted({*own, *key, *facts.errors, 500, 503} - {int(known) for known in responses}):
            responses[str(status)] = _response(status, failure)
        operation["responses"] = responses


def _schema(kind: type[BaseModel], components: dict[str, Any], *, writing: bool = False) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema(ref_template=_REF, mode="serialization" if writing else "validation")
    components.update(schema.pop("$defs", {}))
    components[kind.__name__] = schema
    return {"$ref": _REF.format(model=kind.__name__)} if writing else schema


def _response(status: int, schema: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {media: {"schema": schema}},
        "headers": {"X-Request-ID": {"schema": {"type": "string"}, "description": "In every log line of the request."}},
    }
    if status in (429, 503):
        response["headers"]["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds to wait."}
    return response


def _parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    found = []
    properties: dict[str, Any] = schema["properties"]
    for name, field in properties.items():
        field = _without_null(field)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": field}
        if "description" in field:
            parameter["description"] = field.pop("description")
        found.append(parameter)
    return found


def _bodies(facts: Described, components: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if facts.form is not None or facts.files:
        schema: dict[str, Any] = {} if facts.form is None else _schema(facts.form, components)
        fields = {name: _without_null(field) for name, field in schema.get("properties", {}).items()}
        required = list(schema.get("required", ()))
        if not any(facts.files.values()):
            plain = {"type": "object", "properties": fields, "required": required}
            content["application/x-www-form-urlencoded"] = {"schema": plain}
        files = {name: {"type": "string", "format": "binary"} for name in facts.files}
        needed = [*required, *(name for name, needed in facts.files.items() if needed)]
        whole = {"type": "object", "properties": fields | files, "required": needed}
        encoding = {name: {"contentType": "audio/*, application/octet-stream"} for name in facts.files}
        content["multipart/form-data"] = {"schema": whole, **({"encoding": encoding} if encoding else {})}
    if facts.json is not None:
        content["application/json"] = {"schema": _schema(facts.json, components)}
    return content


def _required(content: Mapping[str, Any]) -> bool:
    return any(body["schema"].get("required") for body in content.values())


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """A form or a query string has no null: a field is there or it is not."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    plain = {key: value for key, value in field.items() if key not in ("anyOf", "title")}
    if plain.get("default", ...) is None:
        del plain["default"]
    if not kinds:
        return plain
    return plain | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
