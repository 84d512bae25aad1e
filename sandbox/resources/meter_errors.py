"""What Stripe says later about meter events that it took: thin events that report errors, by meter.

Stripe reports on stretches of time and names samples only. Here a report is made for each request (or each event that a
test takes back), and names the first `MAX_SAMPLES` of each kind of error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.billing.usage import EVENT_KIND, usage_index
from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, missing
from sandbox.engine.events import format_instant
from sandbox.engine.routing import operation
from sandbox.engine.store import Store
from sandbox.resources.meters import active_meter

MAX_SAMPLES = 10
ERROR_REPORT = "v1.billing.meter.error_report_triggered"
NO_METER = "v1.billing.meter.no_meter_found"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A meter event that was taken and then refused."""

    event_name: str
    identifier: str
    code: str
    message: str


def report_refusals(ctx: Context, refusals: Sequence[Refusal]) -> None:
    """Emit one thin event for each meter, and one for the events that no meter takes."""
    by_meter: defaultdict[str | None, list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        by_meter[_find_meter(ctx.store, refusal.event_name)].append(refusal)
    for meter_id, refused in by_meter.items():
        data = _describe(ctx.now(), refused)
        if meter_id is None:
            ctx.emit_thin(NO_METER, data)
        else:
            related = {
                "id": meter_id,
                "type": "billing.meter",
                "url": f"/v1/billing/meters/{meter_id}",
            }
            ctx.emit_thin(ERROR_REPORT, data, related)


def _find_meter(store: Store, event_name: str) -> str | None:
    """The active meter of this name, or an archived one."""
    meter = active_meter(store, event_name)
    found = [meter] if meter is not None else store.find("billing.meter", "event_name", event_name)
    return found[0]["id"] if found else None


def _describe(now: int, refused: Sequence[Refusal]) -> JsonObject:
    by_code: defaultdict[str, list[Refusal]] = defaultdict(list)
    for refusal in refused:
        by_code[refusal.code].append(refusal)
    count = len(refused)
    return {
        "developer_message_summary": f"There {'is 1 invalid event' if count == 1 else f'are {count} invalid events'}",
        "reason": {
            "error_count": count,
            "error_types": [
                {
                    "code": code,
                    "error_count": len(rows),
                    "sample_errors": [
                        {"error_message": row.message, "request": {"identifier": row.identifier}}
                        for row in rows[:MAX_SAMPLES]
                    ],
                }
                for code, rows in by_code.items()
            ],
        },
        "validation_start": format_instant(now),
        "validation_end": format_instant(now + 1),
    }


@operation("POST", "/_sandbox/meter_events/{identifier}/refuse", auth=False)
def refuse_event(ctx: Context) -> JsonObject:
    """Take an event that was counted out again and report it, as Stripe does when it finds the error later"""
    identifier = ctx.path["identifier"]
    index = usage_index(ctx.store)
    row = index.event(identifier)
    if row is None or row.get("cancelled"):
        raise missing("billing.meter_event", identifier, "identifier")
    row["cancelled"] = True
    ctx.store.put(EVENT_KIND, row)
    index.cancel(row)
    message = f"No such customer: '{row['customer']}'"
    refusal = Refusal(row["event_name"], identifier, "meter_event_customer_not_found", message)
    report_refusals(ctx, [refusal])
    return {"status": "ok"}
