"""`POST /usage/completions`: a sender says that it has pushed a month whole."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_worker.accounts.authentication import require_scope
from billing_worker.core.errors import InvalidInput
from billing_worker.core.periods import Period
from metering.api.views import BoundedJSONParser, get_caller
from metering.draft_window.completeness import ALL
from metering.draft_window.completions import declare_complete
from metering.parsing import MAX_ACCOUNT_ID

MAX_ACCOUNTS = 10_000


class CompletionSchema(serializers.Serializer):
    period = serializers.RegexField(r"^[0-9]{4}-[0-9]{2}$", help_text="A month that is over, like 2026-10.")
    account_ids = serializers.JSONField(help_text='A list of account ids, or `"all"`.')


class DeclaredSchema(serializers.Serializer):
    period = serializers.CharField()
    declared = serializers.IntegerField(help_text="Accounts (or `all` as one) declared by this request.")
    already = serializers.IntegerField(help_text="Those that were declared before.")


class CompletionsView(APIView):
    parser_classes = [BoundedJSONParser]
    permission_classes = [require_scope("usage:write")]

    @extend_schema(
        operation_id="post_usage_completions",
        request=CompletionSchema,
        responses={200: DeclaredSchema, 400: None, 401: None, 403: None, 413: None, 422: None},
    )
    def post(self, request: Request) -> Response:
        """Declare a month's usage complete, so that drafts held for it can be finalized. Safe to repeat.

        One unknown account refuses the whole request. Usage may still be stated afterwards.
        """
        period, account_ids = parse_completion(request.data)
        declared = declare_complete(
            period=period, account_ids=account_ids, actor=get_caller(request).name, now=timezone.now()
        )
        return Response(
            {"period": str(declared.period), "declared": declared.new, "already": declared.already}
        )


def parse_completion(body: Any) -> tuple[Period, list[int] | None]:
    """The month and the accounts (None: all of them).

    Raises:
        InvalidInput: anything else than `{"period": "2026-10", "account_ids": [5001] or "all"}`.
    """
    if not isinstance(body, dict) or set(body) != {"period", "account_ids"}:
        raise InvalidInput(
            "a completion is an object with `period` and `account_ids`",
            fields={"account_ids": ['must be a list of account ids, or "all"']},
        )
    text, ids = body["period"], body["account_ids"]
    if not isinstance(text, str):
        raise InvalidInput("period must be a month like 2026-10", fields={"period": ["is not a month"]})
    period = Period.parse(text)
    if ids == ALL:
        return period, None
    is_list = isinstance(ids, list) and 0 < len(ids) <= MAX_ACCOUNTS
    if not is_list or not all(type(pk) is int and 0 < pk <= MAX_ACCOUNT_ID for pk in ids):
        raise InvalidInput(
            f'account_ids must be "all" or a list of 1 to {MAX_ACCOUNTS} account ids',
            fields={"account_ids": ['must be a list of account ids, or "all"']},
        )
    return period, ids
