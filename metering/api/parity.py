"""`GET /internal/usage-parity`: what we hold of a window, for the other side to compare with."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering.parity.answers import build_answer
from metering.parity.config import get_secrets
from metering.parity.selectors import get_quantities
from metering.parity.signatures import verify_target
from metering.parity.windows import Window


class ParityAccountSchema(serializers.Serializer[Any]):
    account_id = serializers.IntegerField()
    quantities = serializers.DictField(
        child=serializers.IntegerField(), help_text="By meter; not whole: a decimal in a string."
    )


class ParityAnswerSchema(serializers.Serializer[Any]):
    to = serializers.DateTimeField()
    accounts = ParityAccountSchema(many=True)

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


class UsageParityView(APIView):
    """Signed, not keyed: the caller is the other billing side, never a person."""

    authentication_classes = []
    permission_classes = []

    @extend_schema(
        operation_id="get_usage_parity",
        auth=[],
        parameters=[
            OpenApiParameter("from", str, required=True, description="First instant, like 2026-10-05."),
            OpenApiParameter("to", str, required=True, description="First instant after it."),
            OpenApiParameter("X-Timestamp", str, OpenApiParameter.HEADER, required=True),
            OpenApiParameter("X-Signature", str, OpenApiParameter.HEADER, required=True),
        ],
        responses={200: ParityAnswerSchema, 401: None, 422: None, 503: None},
    )
    def get(self, request: Request) -> Response:
        """Per-account quantities of buckets that begin in the half-open window, from the raw statements.

        `X-Signature` is the hex HMAC-SHA256 of `{X-Timestamp}.{path?query}` with a shared secret, at most 300 s old.
        """
        query = request.META.get("QUERY_STRING", "")
        verify_target(
            target=f"{request.path}?{query}" if query else request.path,
            stamp=request.headers.get("X-Timestamp", ""),
            signature=request.headers.get("X-Signature", ""),
            secrets=get_secrets(),
            now=timezone.now(),
        )
        window = Window.parse(request.query_params.get("from", ""), request.query_params.get("to", ""))
        return Response(build_answer(window, get_quantities(window)))
