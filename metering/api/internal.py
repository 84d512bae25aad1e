"""`GET /internal/rollup` and `POST /internal/rollup/run`: how metering is set up, how runs went, and one more run."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_worker.accounts.authentication import require_scope
from billing_worker.alerts.kicks import send_kick
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from billing_worker.gateway import is_configured
from metering.api.views import get_caller
from metering.config import get_grace, get_seam
from metering.models import MeterEvent, SeamSetting
from metering.runs.models import RollUpRun
from metering.runs.services import do_run, start_run
from metering.selectors import count_events_by_state

LAST_RUNS = 10


class RollUpRequestSchema(serializers.Serializer):
    period = serializers.RegexField(
        r"^[0-9]{4}-[0-9]{2}$", required=False, help_text="Only this month; left out, all of them."
    )


class RollUpRunSchema(serializers.ModelSerializer):
    class Meta:
        model = RollUpRun
        exclude = ("id",)


class RollUpStateSchema(serializers.Serializer):
    configuration = serializers.DictField()
    meter_events = serializers.DictField(child=serializers.IntegerField())
    last_sent_at = serializers.DateTimeField(allow_null=True)
    last_runs = RollUpRunSchema(many=True)


class RollUpView(APIView):
    permission_classes = [require_scope("internal:read")]

    @extend_schema(operation_id="get_rollup", responses={200: RollUpStateSchema, 401: None, 403: None})
    def get(self, request: Request) -> Response:
        """The configuration in force, without secrets, meter events by state, and the last runs, newest first."""
        return Response(
            {
                "configuration": _describe_configuration(),
                "meter_events": count_events_by_state(),
                "last_sent_at": MeterEvent.objects.aggregate(at=Max("sent_at"))["at"],
                "last_runs": RollUpRunSchema(RollUpRun.objects.all()[:LAST_RUNS], many=True).data,
            }
        )


class RollUpRunView(APIView):
    permission_classes = [require_scope("internal:run")]

    @extend_schema(
        operation_id="run_rollup",
        request=RollUpRequestSchema,
        responses={200: RollUpRunSchema, 400: None, 401: None, 403: None, 422: None},
    )
    def post(self, request: Request) -> Response:
        """Roll up what is closed, here and now, and wake the sender. Answers with the run; safe to repeat."""
        period = _parse_body(request.data)
        run = start_run(trigger=get_caller(request).name, period=period, now=timezone.now())
        for _ in do_run(run, grace=get_grace(), seam=get_seam(), clock=timezone.now):
            pass
        if run.events:
            send_kick("metering.send_meter_events")
        return Response(RollUpRunSchema(run).data)


def _parse_body(body: object) -> Period | None:
    if not isinstance(body, dict) or set(body) - {"period"}:
        raise InvalidInput("the body is an object with `period` or nothing", fields={"body": ["is not that"]})
    if "period" not in body:
        return None
    if not isinstance(body["period"], str):
        raise InvalidInput("period is a month like 2026-10", fields={"period": ["is not text"]})
    return Period.parse(body["period"])


def _describe_configuration() -> dict[str, Any]:
    env, seam = settings.ENV, get_seam()
    own = SeamSetting.objects.aggregate(
        in_shadow=Count("pk", filter=Q(shadow=True)), billing=Count("pk", filter=Q(shadow=False))
    )
    return {
        "environment": env.ENVIRONMENT,
        "shadow": seam.shadow,
        "bill_from": seam.bill_from,
        "accounts_with_own_seam": own,
        "usage_grace_minutes": env.USAGE_GRACE_MINUTES,
        "meter_events_per_second": str(env.METER_EVENTS_PER_SECOND),
        "meter_events_transport": env.METER_EVENTS_TRANSPORT,
        "stripe_is_configured": is_configured(),
    }
