"""`.env.example` and `docs/settings.md`, written from `Environment` itself so that they can't fall behind it."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from billing_worker.contradictions import find_contradictions
from billing_worker.env import BASE_DIR, Environment

#: The headings, by the first setting below each.
SECTIONS: Final = {
    "ENVIRONMENT": "Process",
    "DATABASE_URL": "Data and queue",
    "STRIPE_SECRET_KEY": "Stripe",
    "MAILGUN_API_KEY": "Mail",
    "R2_INVOICE_BUCKET": "Storage",
    "SHADOW": "Metering",
    "SLACK_WEBHOOK_URL": "Operations",
}
_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (SecretStr, "secret"),
    (bool, "`true` or `false`"),
    (int, "whole number"),
    (Decimal, "number"),
    (datetime, "instant"),
    (Path, "path"),
    (str, "text"),
)

_INTRODUCTION: Final = """# Settings

Every setting is an environment variable; there is no settings file. They are read and checked once, before anything
starts: if one is malformed, missing or contradicts another, the process prints every problem with its fix and exits 2
(under gunicorn 4). A variable that is set to nothing counts as not set. `make demo` needs none, it sets its own.
To start by hand, copy `.env.example` to `.env`, fill it in, and run `set -a; . ./.env; set +a`.

"Production" marks what `ENVIRONMENT=production` insists on. gunicorn's own variables (`WEB_BIND`, `WEB_CONCURRENCY`,
`WEB_THREADS`, `WEB_ACCESS_LOG`) are in `deploy/gunicorn.conf.py`.

This page is written by `python manage.py describe_settings --format markdown`; a test holds it against the code.
"""
_EXAMPLE_INTRODUCTION: Final = """\
# Settings of billing-worker, all of them, with their defaults. docs/settings.md explains each.
# Written by `python manage.py describe_settings --format env`; a test holds it against the code.
"""


def describe_as_markdown() -> str:
    """The text of `docs/settings.md`."""
    lines = [_INTRODUCTION]
    required = find_production_names()
    for name, field in Environment.model_fields.items():
        if name in SECTIONS:
            lines += [
                f"\n## {SECTIONS[name]}\n",
                "| Name | Type | Default | Production | Meaning |",
                "|---|---|---|---|---|",
            ]
        default = describe_default(field)
        cells = [f"`{name}`", describe_type(field), f"`{default}`" if default else ""]
        lines.append(
            f"| {' | '.join([*cells, 'required' if name in required else '', field.description or ''])} |"
        )
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def describe_as_env() -> str:
    """The text of `.env.example`: what must be set is set to a placeholder, the rest is commented out."""
    lines = [_EXAMPLE_INTRODUCTION]
    for name, field in Environment.model_fields.items():
        if name in SECTIONS:
            lines.append(f"\n# -- {SECTIONS[name]} {'-' * (110 - len(SECTIONS[name]))}\n")
        lines.append(f"# {(field.description or '').replace('`', '')}")
        if name == "STRIPE_WEBHOOK_SECRET":
            lines.append(f"{name}=whsec_replace_me")
            continue
        default = describe_default(field)
        lines.append(f"#{name}={_quote(default)}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def describe_default(field: FieldInfo) -> str:
    """The default as it would be written in the environment; empty for none and for secrets."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    if isinstance(value, Path):
        return str(value.relative_to(BASE_DIR))
    return str(value)


def describe_type(field: FieldInfo) -> str:
    """What may be written: a kind of value, its choices or its bounds."""
    annotation = field.annotation
    members = [part for part in _flatten(annotation) if part is not type(None)]
    if get_origin(members[0]) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(members[0]))
    if get_origin(members[0]) is list:
        inner = "secrets" if get_args(members[0])[0] is SecretStr else "texts"
        return f"list of {inner}"
    text = next(label for kind, label in _TYPES if members[0] is kind)
    bounds = list(_describe_bounds(field))
    return f"{text}, {' and '.join(bounds)}" if bounds else text


def find_production_names() -> set[str]:
    """The settings that a bare production environment is told to set."""
    bare = Environment.model_validate({"ENVIRONMENT": "production"})
    text = "\n".join(find_contradictions(bare))
    return {name for name in re.findall(r"[A-Z][A-Z0-9_]+", text) if name in Environment.model_fields}


FORMATS: Final[dict[str, Callable[[], str]]] = {"markdown": describe_as_markdown, "env": describe_as_env}


def _flatten(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, types.UnionType} else (annotation,)


def _describe_bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        for attribute, text in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
            if (limit := getattr(bound, attribute, None)) is not None:
                yield f"{text} {limit}"


def _quote(value: str) -> str:
    return f'"{value}"' if " " in value else value
