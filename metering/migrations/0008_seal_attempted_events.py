"""Seal the payload of events that were attempted before there were seals."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.models import F


def seal(apps: Any, schema_editor: Any) -> None:
    """One statement; attempted events don't change any more, so it may run while senders work."""
    events = apps.get_model("metering", "MeterEvent").objects.using(schema_editor.connection.alias)
    events.filter(attempts__gt=0, lane__isnull=False, sealed_identifier__isnull=True).update(
        sealed_identifier=F("identifier"),
        sealed_value=F("value"),
        sealed_at=F("at"),
        sealed_lane=F("lane_id"),
    )


class Migration(migrations.Migration):
    dependencies = [("metering", "0007_one_budget_and_sealed_payloads")]
    operations = [migrations.RunPython(seal, migrations.RunPython.noop)]
