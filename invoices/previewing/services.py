"""Comparisons: asked for in the console, made by a worker, thrown away after two weeks.

The row is the queue of record. Making one is pure, so two workers at the same one write the same; a worker that dies
leaves it pending, and the sweeper wakes another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F

from billing_worker.alerts.kicks import kick
from billing_worker.deadlocks import retry_when_undone
from invoices.content import load_content
from invoices.locales import TEXTS_DIR
from invoices.previewing.comparing import Comparison, compare_versions
from invoices.previewing.models import ComparisonPicture, ComparisonState, TemplateComparison
from invoices.previewing.picking import Pick
from invoices.rendering.versions import VERSIONS_DIR, get_template_name

log = structlog.get_logger(__name__)

TASK: Final = "invoices.compare_versions"
MAX_ATTEMPTS: Final = 3
KEPT_FOR: Final = timedelta(days=14)
#: Work of seconds: what is pending for longer has lost its worker or its kick.
OVERDUE_AFTER: Final = timedelta(minutes=5)


def request_comparisons(*, picks: Sequence[Pick], base: str, other: str, actor: str, now: datetime) -> int:
    """Ask for each document printed with two versions of the template. What is there and current is kept.

    Returns how many are to be made. Safe to repeat: a row that waits already is kicked again.

    Raises:
        TemplateMissing: there is no such version.
    """
    fingerprint = compute_fingerprint(base, other)
    waiting = 0
    for position, pick in enumerate(picks):
        asked = {"why": pick.why, "position": position, "requested_at": now, "requested_by": actor}
        of_content = hashlib.sha256(f"{fingerprint}:{pick.document.content_hash}".encode()).hexdigest()
        key = {"document": pick.document, "base_version": base, "other_version": other}
        known = TemplateComparison.objects.filter(**key, fingerprint=of_content)
        if known.filter(state=ComparisonState.DONE).update(**asked):
            continue
        anew = {"fingerprint": of_content, "state": ComparisonState.PENDING, "attempts": 0, "done_at": None}
        waiting += 1
        kick(TASK, _store_request(key, {**asked, **anew, "result": {}}).pk)
    return waiting


def _store_request(key: dict[str, Any], values: dict[str, Any]) -> TemplateComparison:
    try:
        with transaction.atomic():
            return TemplateComparison.objects.update_or_create(defaults=values, **key)[0]
    except IntegrityError:
        # Somebody else asked for it at the same moment.
        return TemplateComparison.objects.get(**key)


def compute_fingerprint(base: str, other: str) -> str:
    """SHA-256 (hex) of everything that two versions print with and that a change of the template touches."""
    digest = hashlib.sha256()
    files = [path for version in (base, other) for path in _list_files(version)]
    for path in [*files, *sorted(TEXTS_DIR.glob("*.toml"))]:
        digest.update(f"{path.parent.name}/{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _list_files(version: str) -> list[Path]:
    get_template_name(version)
    return sorted(path for path in (VERSIONS_DIR / version).iterdir() if path.is_file())


def make_comparison(*, comparison_id: int, now: datetime) -> bool:
    """Print and compare what a row asks for. Call it outside a transaction. False if there is nothing to do.

    After three workers that died over it the row is given up.
    """
    counted = TemplateComparison.objects.filter(pk=comparison_id, state=ComparisonState.PENDING).update(
        attempts=F("attempts") + 1
    )
    comparison = TemplateComparison.objects.select_related("document").filter(pk=comparison_id).first()
    if not counted or comparison is None:
        return False
    if comparison.attempts > MAX_ATTEMPTS:
        _give_up(comparison, now=now)
        return False
    made = compare_versions(
        load_content(comparison.document.content),
        base=comparison.base_version,
        other=comparison.other_version,
    )
    return _settle(comparison, made, now=now)


@retry_when_undone
def _settle(comparison: TemplateComparison, made: Comparison, *, now: datetime) -> bool:
    """Write the result, unless the request was changed meanwhile (another state of the template)."""
    with transaction.atomic():
        settled = TemplateComparison.objects.filter(
            pk=comparison.pk, state=ComparisonState.PENDING, fingerprint=comparison.fingerprint
        ).update(state=ComparisonState.DONE, done_at=now, result=made.describe())
        if settled:
            ComparisonPicture.objects.filter(comparison=comparison).delete()
            ComparisonPicture.objects.bulk_create(
                ComparisonPicture(comparison=comparison, side=side, page=page, png=png)
                for (side, page), png in made.pictures.items()
            )
    return bool(settled)


def _give_up(comparison: TemplateComparison, *, now: datetime) -> None:
    why = "the worker died over it, each time"
    TemplateComparison.objects.filter(pk=comparison.pk, state=ComparisonState.PENDING).update(
        state=ComparisonState.FAILED, done_at=now, result={"error": why}
    )
    log.warning("comparison_failed", comparison=comparison.pk, why=why)


def sweep_comparisons(*, now: datetime) -> int:
    """Wake a worker for what waits too long, and delete what is two weeks old. Returns how many are woken for."""
    TemplateComparison.objects.filter(requested_at__lt=now - KEPT_FOR).delete()
    overdue = TemplateComparison.objects.filter(
        state=ComparisonState.PENDING, requested_at__lt=now - OVERDUE_AFTER
    )
    waiting = list(overdue.values_list("pk", flat=True)[:100])
    for comparison_id in waiting:
        kick(TASK, comparison_id)
    return len(waiting)
