"""Writes the reference pages from what they describe: the commands' own help, and the server's OpenAPI document.

`python tools/reference.py` writes docs/reference/; `--check` says what is out of date instead. Knows no prose.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGES = Path(__file__).resolve().parent.parent / "docs" / "reference"
WIDTH = 100
METHODS = ("get", "post", "put", "patch", "delete")


def cli_page() -> str:
    """Every command with its help, as the terminal shows it at 100 columns."""
    os.environ |= {"TERMINAL_WIDTH": str(WIDTH), "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    import typer.main

    from darius_cli.main import app

    parts = ["# Command line\n\nMade from `--help` by `make docs`; do not edit.\n"]
    for path, command in _commands("darius", typer.main.get_command(app)):
        context = command.make_context(path, [], resilient_parsing=True, max_content_width=WIDTH, terminal_width=WIDTH)
        parts.append(f"## `{path}`\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _commands(f"{path} {name}", child)


def http_page() -> str:
    """Every endpoint with its fields and replies."""
    document = asyncio.run(_openapi())
    parts = [
        "# HTTP\n\nMade from the server's OpenAPI document (`/openapi.json`) by `make docs`; do not edit. The",
        "WebSocket has [a page of its own](../websocket.md).\n",
    ]
    for path, operations in sorted(document["paths"].items()):
        for method in METHODS:
            if method in operations:
                parts.append(_operation(document, method, path, operations[method]))
    return "\n".join(parts)


async def _openapi() -> dict[str, Any]:
    from serve.app import create_app
    from serve.settings import Settings

    reply = await create_app(Settings()).test_client().get("/openapi.json")
    document: dict[str, Any] = await reply.get_json()
    return document


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## {method.upper()} {path}\n"]
    for key in ("summary", "description"):
        if operation.get(key):
            lines.append(operation[key].strip().rstrip(".") + ".\n")
    rows = [
        (p["name"], p["in"], p.get("schema", {}), p.get("required"), p.get("description"))
        for p in operation.get("parameters", ())
    ]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, content.get("schema", {}))
        for name, field in schema.get("properties", {}).items():
            rows.append(
                (name, kind.rpartition("/")[2], field, name in schema.get("required", ()), field.get("description"))
            )
    if rows:
        lines += ["| field | in | type | needed | what |", "|---|---|---|---|---|"]
        lines += [
            f"| `{n}` | {where} | {_type(document, s)} | {'yes' if need else ''} | {_cell(what)} |"
            for n, where, s, need, what in rows
        ]
        lines.append("")
    lines += ["| status | reply |", "|---|---|"]
    lines += [
        f"| {status} | {_reply(document, reply)} |" for status, reply in sorted(operation.get("responses", {}).items())
    ]
    return "\n".join(lines) + "\n"


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolved(document, schema)
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if options:
        return " or ".join(dict.fromkeys(_type(document, option) for option in options))
    name = str(schema.get("format") or schema.get("type", "any"))
    if schema.get("type") == "array":
        name = f"list of {_type(document, schema.get('items', {}))}"
    if schema.get("enum"):
        name = ", ".join(f"`{value}`" for value in schema["enum"])
    default = schema.get("default")
    return name if default in (None, "") else f"{name}, `{default}`"


def _reply(document: dict[str, Any], reply: dict[str, Any]) -> str:
    schemas = [_resolved(document, content.get("schema", {})) for content in reply.get("content", {}).values()]
    fields = [f"`{name}`" for schema in schemas for name in schema.get("properties", {})]
    return _cell(reply.get("description")) + (f" {', '.join(fields)}" if fields else "")


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    args = parser.parse_args()
    PAGES.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, text in (("cli.md", cli_page()), ("http.md", http_page())):
        page = PAGES / name
        if not page.exists() or page.read_text() != text:
            stale.append(name)
            if not args.check:
                page.write_text(text)
    if args.check and stale:
        print(f"Out of date: {', '.join(stale)}. Run `make docs`.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
