"""The console's page on which a change of the template is looked at before it goes live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin

from billing_worker.core.errors import BillingError
from invoices.previewing.models import ComparisonPicture, ComparisonState, TemplateComparison
from invoices.previewing.picking import pick_representatives
from invoices.previewing.services import request_comparisons
from invoices.rendering.versions import get_current_version, list_versions

#: Who may have documents printed for a look may also have them printed anew.
PERMISSION = "invoices.rerender_invoicedocument"
#: Seconds after which the page looks again while something is still to be made.
REFRESH_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPage:
    """One page of a document: the addresses of its two pictures and how much of it differs."""

    number: int
    percent: str
    is_same: bool
    pictures: tuple[ComparisonPicture | None, ComparisonPicture | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownComparison:
    """A document with what is known of its two versions."""

    comparison: TemplateComparison
    result: dict[str, Any]
    pages: list[ShownPage]
    others: str
    verdict: str
    tone: str

    @property
    def sides(self) -> list[tuple[str, dict[str, Any]]]:
        return [(name, self.result[name]) for name in ("base", "other")]


class TemplateComparisonAdmin(ModelAdmin):
    """Not a list of rows: a page that picks documents, has them printed twice, and shows both."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        def route(place: str, view: Any, name: str) -> Any:
            return path(place, self.admin_site.admin_view(view), name=f"invoices_templatecomparison_{name}")

        return [
            route("compare/", require_POST(self.compare), "compare"),
            route("pictures/<int:picture_id>.png", self.show_picture, "picture"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Two versions side by side over the documents that were last compared with them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        versions = list_versions()
        base = _choose(request, "base", versions, get_current_version())
        others = [version for version in versions if version != base]
        other = _choose(request, "other", versions, others[-1] if others else base)
        shown = [_describe(row) for row in _find_comparisons(base, other)]
        waiting = sum(one.comparison.state == ComparisonState.PENDING for one in shown)
        context = {
            **self.admin_site.each_context(request),
            **(extra_context or {}),
            "title": "Template preview",
            "versions": versions,
            "current": get_current_version(),
            "base": base,
            "other": other,
            "shown": shown,
            "waiting": waiting,
            "refresh_seconds": REFRESH_SECONDS,
            "can_compare": request.user.has_perm(PERMISSION),
        }
        response = TemplateResponse(request, "invoices/admin/template_preview.html", context)
        if waiting:
            response["Refresh"] = str(REFRESH_SECONDS)
        return response

    def compare(self, request: HttpRequest) -> HttpResponse:
        """Pick documents and ask for them in both versions; a worker prints them."""
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        versions = {name: request.POST.get(name, "") for name in ("base", "other")}
        picks = pick_representatives()
        try:
            request_comparisons(
                picks=picks, **versions, actor=str(request.user.get_username()), now=timezone.now()
            )
        except BillingError as error:
            messages.error(request, str(error))
            versions = {}
        if not picks:
            messages.warning(request, "There is no document to print yet.")
        place = reverse("admin:invoices_templatecomparison_changelist")
        return redirect(f"{place}?{urlencode(versions)}" if versions else place)

    def show_picture(self, request: HttpRequest, picture_id: int) -> HttpResponse:
        """One page as PNG, to those who may see documents."""
        if not request.user.has_perm("invoices.view_invoicedocument"):
            raise PermissionDenied
        picture = get_object_or_404(ComparisonPicture, pk=picture_id)
        response = HttpResponse(bytes(picture.png), content_type="image/png")
        # A picture is never written again under its number.
        response["Cache-Control"] = "private, max-age=86400, immutable"
        return response


def _choose(request: HttpRequest, name: str, versions: list[str], default: str) -> str:
    chosen = request.GET.get(name, default)
    return chosen if chosen in versions else default


def _find_comparisons(base: str, other: str) -> list[TemplateComparison]:
    """What was last asked for: rows of an earlier choice of documents are not shown."""
    rows = TemplateComparison.objects.filter(base_version=base, other_version=other)
    newest = rows.order_by("-requested_at").values_list("requested_at", flat=True).first()
    if newest is None:
        return []
    chosen = rows.filter(requested_at=newest).select_related("document", "document__account")
    pictures = ComparisonPicture.objects.defer("png")
    return list(chosen.order_by("position").prefetch_related(Prefetch("pictures", queryset=pictures)))


def _describe(comparison: TemplateComparison) -> ShownComparison:
    result = dict(comparison.result)
    pictures = {(picture.side, picture.page): picture for picture in comparison.pictures.all()}
    pages = [
        ShownPage(
            number=page["page"] + 1,
            percent=f"{page['changed'] * 100:.2f}",
            is_same=page["changed"] == 0,
            pictures=(pictures.get(("base", page["page"])), pictures.get(("other", page["page"]))),
        )
        for page in result.get("pages", ())
    ]
    verdict, tone = _judge(comparison, result)
    return ShownComparison(
        comparison=comparison,
        result=result,
        pages=pages,
        others=_sum_up(result.get("others", [])),
        verdict=verdict,
        tone=tone,
    )


def _sum_up(others: list[dict[str, Any]]) -> str:
    """The pages of a long document that were compared and are not shown, in a sentence; empty if there are none."""
    differing = [page["changed"] for page in others if page["changed"]]
    if not others:
        return ""
    if not differing:
        return f"The {len(others)} pages that are not shown here look the same."
    most = f"{max(differing) * 100:.2f}%"
    return f"{len(differing)} of {len(others)} more pages differ, none by more than {most}."


def _judge(comparison: TemplateComparison, result: dict[str, Any]) -> tuple[str, str]:
    """What to say of a comparison in a few words, and how loudly."""
    if comparison.state == ComparisonState.PENDING:
        return "being printed", "info"
    if comparison.state == ComparisonState.FAILED:
        return f"gave up: {result.get('error', '')}", "danger"
    if result["other"]["error"] or result["other"]["untruths"]:
        return "must not go live", "danger"
    if result["base"]["pages"] != result["other"]["pages"]:
        counts = (result["base"]["pages"], result["other"]["pages"])
        return "pages: {} on the left, {} on the right".format(*counts), "warning"
    changed = max(page["changed"] for page in (*result["pages"], *result.get("others", ())))
    if not changed:
        return "looks the same", "success"
    return f"{changed * 100:.2f}% of a page differs", "warning"
