"""Structured logs: key-value lines on a terminal, JSON for a collector. Secrets are masked on the way out."""

from __future__ import annotations

import re
from typing import Any

import structlog

from billing_worker.env import Environment

_SECRET = re.compile(r"\b((?:sk|rk|whsec|pk)_(?:test_|live_)?)[A-Za-z0-9]{6,}")


def mask_secrets(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Replace anything that looks like a Stripe key or webhook secret in any value of a log line."""
    return {
        key: _SECRET.sub(r"\1***", value) if isinstance(value, str) else value for key, value in event.items()
    }


def build_logging(env: Environment) -> dict[str, Any]:
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if env.LOG_FORMAT == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    tail = [structlog.processors.format_exc_info] if env.LOG_FORMAT == "json" else []
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *tail,
                    mask_secrets,
                    renderer,
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": env.LOG_LEVEL},
        "loggers": {
            "django": {"level": "WARNING"},
            "django_structlog": {"level": "WARNING"},
            "stripe": {"level": "WARNING"},
            "weasyprint": {"level": "WARNING"},
            "fontTools": {"level": "WARNING"},
            "kombu": {"level": "WARNING"},
        },
    }
