"""Service keys as DRF authentication, with scopes as permissions."""

from __future__ import annotations

from typing import Any, cast

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework_api_key.permissions import KeyParser

from billing_worker.accounts.models import ServiceKey


class ServiceCaller:
    """The authenticated caller of a request: a key, not a person."""

    is_authenticated = True

    def __init__(self, key: ServiceKey) -> None:
        self.key = key
        self.name = f"key:{key.name}"

    def has_scope(self, scope: str) -> bool:
        return scope in self.key.scopes


class ServiceKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key <key>`. The key itself is stored only as a hash."""

    def authenticate(self, request: Request) -> tuple[ServiceCaller, ServiceKey] | None:
        raw = KeyParser().get(request._request)
        if not raw:
            return None
        try:
            key = cast(ServiceKey, ServiceKey.objects.get_from_key(raw))
        except ServiceKey.DoesNotExist:
            raise AuthenticationFailed("this service key is unknown, revoked or expired") from None
        if key.has_expired:
            raise AuthenticationFailed("this service key is unknown, revoked or expired")
        return ServiceCaller(key), key

    def authenticate_header(self, request: Request) -> str:
        return "Api-Key"


def require_scope(scope: str) -> type[BasePermission]:
    """A DRF permission class: the calling key has this scope."""

    class HasScope(BasePermission):
        message = f"this service key lacks the scope {scope}"

        def has_permission(self, request: Request, view: Any) -> bool:
            caller = request.user
            return isinstance(caller, ServiceCaller) and caller.has_scope(scope)

    return HasScope
