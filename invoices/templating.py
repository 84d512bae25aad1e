"""The templates of documents and mails, filled by an engine of their own.

The site's engine imports every installed app's template tags when it is first used, the console's and REST framework's
with them: 24 MB of a worker, for templates that use none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from django.template import Context, Engine, Template

from billing_worker.env import BASE_DIR

TEMPLATES_DIR: Final = BASE_DIR / "templates"


def fill_template(name: str, context: Mapping[str, Any]) -> str:
    """The template `name` below `templates/` with every text of `context` escaped, in a `.txt` too.

    Only Django's built-in tags and filters are there.

    Raises:
        django.template.TemplateDoesNotExist: no such file.
    """
    return str(_load(name).render(Context(dict(context))))


@cache
def _load(name: str) -> Template:
    return _get_engine().get_template(name)


@cache
def _get_engine() -> Engine:
    return Engine(dirs=[str(TEMPLATES_DIR)])
