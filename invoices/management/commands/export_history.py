"""Archive the old service's invoices, and check the archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.core.management.base import CommandError, CommandParser

from billing_worker.commands import BillingCommand
from billing_worker.core.errors import InvalidInput
from invoices.exports.history.pdfs import PdfFinder
from invoices.exports.history.store import ArchiveStore
from invoices.exports.history.verifying import list_periods, verify_manifest, verify_month
from invoices.exports.history.writing import MANIFEST, export_months, plan_history
from invoices.storage import get_storage

#: Where the archive lies in the invoices' storage.
ROOT = "legacy-history"


class Command(BillingCommand):
    help = "Archive every invoice of the old service (one file a month), its PDFs and a manifest. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--output", type=Path, help=f"A folder; default: {ROOT}/ in the invoices' storage."
        )
        parser.add_argument(
            "--pdf-root",
            type=Path,
            action="append",
            default=[],
            help="Folder that PDFs may be copied from; may be given more than once.",
        )
        parser.add_argument("--again", action="store_true", help="Write months that stand unchanged, too.")
        parser.add_argument(
            "--verify",
            action="store_true",
            help="Write nothing: read the archive and compare it with the database; exit code 1 if they differ.",
        )

    def handle(
        self, *, output: Path | None, pdf_root: list[Path], again: bool, verify: bool, **options: Any
    ) -> None:
        store = (
            ArchiveStore(FileSystemStorage(location=output)) if output else ArchiveStore(get_storage(), ROOT)
        )
        for folder in pdf_root:
            if not folder.is_dir():
                raise InvalidInput(f"--pdf-root {folder} is not a folder")
        if verify:
            self._verify(store)
        else:
            self._export(store, PdfFinder(pdf_root, get_storage()), again)

    def _export(self, store: ArchiveStore, finder: PdfFinder, again: bool) -> None:
        months, standing = plan_history(store, again=again)
        steps = export_months(store=store, finder=finder, months=months)
        results = list(self.track(steps, description="months archived", total=len(months)))
        self.stdout.write(
            f"{len(results)} months written, {standing} stood already: "
            f"{sum(result.invoices for result in results)} invoices, "
            f"{sum(result.lines for result in results)} lines, "
            f"{sum(result.pdfs for result in results)} PDFs copied, "
            f"{sum(result.missing_pdfs for result in results)} missing"
        )
        manifest = store.read_json(MANIFEST)
        assert manifest is not None, "it was just written"
        for currency, sums in manifest["sums"].items():
            self.stdout.write(f"  {currency} {sums['total']} in all")

    def _verify(self, store: ArchiveStore) -> None:
        periods = list_periods(store)
        count = 0
        for period in self.track(periods, description="months verified"):
            for problem in verify_month(store, period):
                self.stdout.write(f"{period}: {problem}")
                count += 1
        for problem in verify_manifest(store):
            self.stdout.write(problem)
            count += 1
        if count:
            raise CommandError(f"the archive does not hold: {count} problem(s)", returncode=1)
        self.stdout.write(f"{len(periods)} months verified: the archive is what the database holds")
