from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from billing_worker.legacy import history
from billing_worker.legacy.models import LegacyInvoice, LegacyInvoiceLine
from invoices.exports.history import writing
from tests.legacy.fixtures import legacy_tables as legacy_tables
from tests.legacy.tables import add_invoice, add_line

pytestmark = pytest.mark.django_db(databases=["default", "legacy"])
PDF = b"%PDF-1.4 an old invoice"


@pytest.fixture(autouse=True)
def past(legacy_tables):
    """Three invoices of October in two currencies, one of September."""
    add_invoice(11, 5001, "524.00", paid_at=datetime(2026, 11, 12, 8, 30, tzinfo=UTC), status="paid")
    add_line(1, 11, "sub", "499.00")
    add_line(2, 11, "ST", "25.00", quantity=100_000)
    add_invoice(12, 5002, "1235.00", currency="JPY", invoice_no="株式-12")
    add_line(3, 12, "managed", "1235.00")
    add_invoice(13, 5003, "10.00", status="void", tax=Decimal("0.50"))
    add_invoice(9, 5001, "499.00", period="2026-09")
    add_line(4, 9, "sub", "499.00")


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "archive"


def export(archive, **options):
    call_command("export_history", output=archive, **options)


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_all(folder: Path):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def verify(archive, capsys):
    """The problems that --verify names."""
    capsys.readouterr()
    code = 0
    try:
        call_command("export_history", output=archive, verify=True)
    except CommandError as error:
        code = error.returncode
    lines = capsys.readouterr().out.splitlines()
    assert code == (0 if lines[-1].endswith("the archive is what the database holds") else 1)
    return lines if code else []


def test_a_month_is_a_file_of_json_lines(archive):
    export(archive)
    lines = gzip.decompress((archive / "invoices-2026-10.jsonl.gz").read_bytes()).decode().splitlines()
    assert lines[0] == (
        '{"inv_id":11,"inv_uuid":"00000000-0000-4000-8000-000000000011","acct_id":5001,"period":"2026-10",'
        '"invoice_no":"L-11","status":"paid","currency":"USD","subtotal":"524.00","tax":"0.00","total":"524.00",'
        '"issued_at":"2026-11-01T03:00:00Z","paid_at":"2026-11-12T08:30:00Z","stripe_invoice_id":null,"pdf_url":null,'
        '"lines":[{"id":1,"inv_id":11,"kind":"sub","description":"sub","quantity":1,"unit_rate":"499.000000",'
        '"amount":"499.00"},{"id":2,"inv_id":11,"kind":"ST","description":"ST","quantity":100000,'
        '"unit_rate":"25.000000","amount":"25.00"}]}'
    )
    assert [json.loads(line)["inv_id"] for line in lines] == [11, 12, 13]
    assert json.loads(lines[1])["invoice_no"] == "株式-12"


def test_the_manifest_counts_and_adds_up(archive):
    export(archive)
    manifest = read_json(archive / "manifest.json")
    assert (manifest["invoices"], manifest["lines"], manifest["without_pdf"]) == (4, 4, 4)
    assert manifest["sums"] == {
        "JPY": {"subtotal": "1235.00", "tax": "0.00", "total": "1235.00", "lines": "1235.00"},
        "USD": {"subtotal": "1033.00", "tax": "0.50", "total": "1033.00", "lines": "1023.00"},
    }
    assert [month["period"] for month in manifest["months"]] == ["2026-09", "2026-10"]
    october = manifest["months"][1]
    body = (archive / october["name"]).read_bytes()
    assert october["sha256"] == hashlib.sha256(body).hexdigest()
    assert october["content_sha256"] == hashlib.sha256(gzip.decompress(body)).hexdigest()
    assert october["bytes"] == len(body)
    assert read_json(archive / "months/2026-10.json")["statuses"] == {"paid": 1, "sent": 1, "void": 1}


def test_the_same_rows_give_the_same_bytes(archive, tmp_path):
    export(archive)
    export(tmp_path / "another")
    first = read_all(archive)
    assert sorted(first) == [
        *("invoices-2026-09.jsonl.gz", "invoices-2026-10.jsonl.gz", "manifest.json"),
        *("months/2026-09.json", "months/2026-10.json"),
    ]
    assert read_all(tmp_path / "another") == first
    export(archive, again=True)
    assert read_all(archive) == first


def test_only_months_that_changed_are_written_again(archive, capsys):
    export(archive)
    capsys.readouterr()
    export(archive)
    assert capsys.readouterr().out.startswith("0 months written, 2 stood already")

    LegacyInvoice.objects.using("legacy").filter(pk=12).update(status="paid")
    export(archive)
    assert capsys.readouterr().out.startswith("1 months written, 1 stood already: 3 invoices, 3 lines")
    assert verify(archive, capsys) == []


def test_an_export_that_broke_off_goes_on(archive, capsys, monkeypatch):
    def die(bill):
        if bill.invoice.inv_id == 12:
            raise KeyboardInterrupt
        return build_record(bill)

    build_record = writing.build_record
    with monkeypatch.context() as patch:
        patch.setattr(writing, "build_record", die)
        with pytest.raises(KeyboardInterrupt):
            export(archive)
    assert "months/2026-10.json" not in read_all(archive)
    assert "2026-10: is not in the archive: export it" in verify(archive, capsys)

    export(archive)
    assert capsys.readouterr().out.startswith("1 months written, 1 stood already")
    assert verify(archive, capsys) == []


def test_a_month_that_broke_off_while_written_again_is_done_again(archive, capsys, monkeypatch):
    export(archive)

    def die(bill):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "build_record", die)
        with pytest.raises(KeyboardInterrupt):
            export(archive, again=True)
    capsys.readouterr()
    export(archive)
    assert capsys.readouterr().out.startswith("1 months written, 1 stood already")


def test_verify_names_what_differs_from_the_database(archive, capsys):
    export(archive)
    rows, lines = LegacyInvoice.objects.using("legacy"), LegacyInvoiceLine.objects.using("legacy")
    rows.filter(pk=11).update(total=Decimal("525.00"), invoice_no="L-11b")
    lines.filter(pk=3).update(description="another")
    rows.filter(pk=13)._raw_delete("legacy")
    add_invoice(14, 5004, "1.00")
    add_invoice(15, 5004, "1.00", period="2026-08")

    assert verify(archive, capsys) == [
        "2026-08: is not in the archive: export it",
        (
            "2026-10: invoice 11 differs: invoice_no is L-11b, archived as L-11,"
            " total is 525.00, archived as 524.00"
        ),
        "2026-10: invoice 12 differs: its lines",
        "2026-10: invoice 13 is not in the database any more",
        "2026-10: invoice 14 is in the database only",
    ]


def test_a_long_list_of_differences_is_cut(archive, capsys):
    for inv_id in range(100, 110):
        add_invoice(inv_id, 5001, "1.00")
    export(archive)
    LegacyInvoice.objects.using("legacy").filter(pk__gte=100).update(tax=1)
    assert verify(archive, capsys)[-1] == "2026-10: and 5 more"


def test_verify_names_what_was_done_to_the_archive(archive, capsys):
    export(archive)
    october, september = archive / "invoices-2026-10.jsonl.gz", archive / "invoices-2026-09.jsonl.gz"
    content = gzip.decompress(october.read_bytes()).replace(b'"total":"524.00"', b'"total":"424.00"')
    october.write_bytes(gzip.compress(content))
    september.write_bytes(september.read_bytes()[:-20])
    found = verify(archive, capsys)
    assert found[0].startswith("2026-09: invoices-2026-09.jsonl.gz was changed")
    assert found[1].startswith("2026-09: invoices-2026-09.jsonl.gz can't be read")
    assert found[2].startswith("2026-10: invoices-2026-10.jsonl.gz was changed")
    assert found[3] == "2026-10: invoice 11 differs: total is 524.00, archived as 424.00"
    assert found[4].startswith("2026-10: invoices-2026-10.jsonl.gz has other content")
    assert found[5].startswith("2026-10: the manifest's sums are")

    september.unlink()
    assert verify(archive, capsys)[0] == "2026-09: invoices-2026-09.jsonl.gz is gone: export the month again"
    export(archive, again=True)
    assert verify(archive, capsys) == []

    manifest = archive / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"invoices": 4', '"invoices": 5'))
    assert verify(archive, capsys) == ["manifest.json is not what the months add up to: run the export again"]


class TestPdfs:
    @pytest.fixture
    def root(self, tmp_path):
        folder = tmp_path / "pdfs"
        (folder / "2026").mkdir(parents=True)
        (folder / "2026" / "L-11.pdf").write_bytes(PDF)
        (folder / "notes.txt").write_bytes(b"no PDF")
        (tmp_path / "secret.pdf").write_bytes(PDF)
        return folder

    def point(self, **urls):
        for inv_id, url in urls.items():
            LegacyInvoice.objects.using("legacy").filter(pk=int(inv_id[1:])).update(pdf_url=url)

    def read_month(self, archive):
        return read_json(archive / "months/2026-10.json")

    def test_pdfs_are_copied_from_where_we_may_read(self, archive, root, own_files, capsys):
        stored = own_files / "invoices" / "old" / "L-13.pdf"
        stored.parent.mkdir(parents=True)
        stored.write_bytes(PDF + b" 13")
        self.point(i11=str(root / "2026" / "L-11.pdf"), i12="2026/L-11.pdf", i13="old/L-13.pdf")
        export(archive, pdf_root=[root])

        month = self.read_month(archive)
        assert [pdf["name"] for pdf in month["pdfs"]] == [
            *("pdf/5001/11.pdf", "pdf/5002/12.pdf", "pdf/5003/13.pdf"),
        ]
        assert month["missing_pdfs"] == []
        assert (archive / "pdf/5001/11.pdf").read_bytes() == PDF
        assert (archive / "pdf/5003/13.pdf").read_bytes() == PDF + b" 13"
        assert month["pdfs"][0]["sha256"] == hashlib.sha256(PDF).hexdigest()
        assert verify(archive, capsys) == []

        (archive / "pdf/5001/11.pdf").write_bytes(b"%PDF-1.4 forged")
        (archive / "pdf/5002/12.pdf").unlink()
        assert verify(archive, capsys) == [
            "2026-10: pdf/5001/11.pdf was changed",
            "2026-10: pdf/5002/12.pdf is gone",
        ]

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("https://files.example.com/L-11.pdf", "is an address, which is not fetched"),
            ("//files.example.com/L-11.pdf", "is an address, which is not fetched"),
            ("s3://bucket/L-11.pdf", "is an address, which is not fetched"),
            ("/etc/hostname", "is not a file below a --pdf-root"),
            ("file:///etc/hostname", "is not a file below a --pdf-root"),
            ("../secret.pdf", "leads out of storage"),
            ("2026/../../secret.pdf", "leads out of storage"),
            ("link.pdf", "is neither below a --pdf-root nor in storage"),
            ("2026/missing.pdf", "is neither below a --pdf-root nor in storage"),
            ("notes.txt", "is not a PDF"),
            ("a\0b", "is not a path"),
            ("http://[broken", "is not a path"),
        ],
    )
    def test_what_can_not_be_copied_is_noted(self, archive, root, url, reason):
        (root / "link.pdf").symlink_to(root.parent / "secret.pdf")
        self.point(i11=url)
        export(archive, pdf_root=[root])
        month = self.read_month(archive)
        assert month["missing_pdfs"] == [{"inv_id": 11, "pdf_url": url, "reason": reason}]
        assert (month["pdfs"], month["without_pdf"]) == ([], 2)
        assert not (archive / "pdf").exists()

    def test_a_copied_pdf_outlives_its_source(self, archive, root, capsys):
        self.point(i11="2026/L-11.pdf")
        export(archive, pdf_root=[root])
        (root / "2026" / "L-11.pdf").unlink()
        export(archive, again=True)
        month = self.read_month(archive)
        assert ([pdf["inv_id"] for pdf in month["pdfs"]], month["missing_pdfs"]) == ([11], [])
        assert verify(archive, capsys) == []

    def test_a_folder_that_is_none(self, archive, root):
        with pytest.raises(CommandError, match="is not a folder"):
            export(archive, pdf_root=[root / "missing"])


def test_the_default_is_the_invoices_storage(own_files, capsys):
    call_command("export_history")
    assert (own_files / "invoices/legacy-history/manifest.json").exists()
    assert verify(None, capsys) == []


def test_a_month_larger_than_a_chunk(archive, capsys, monkeypatch):
    monkeypatch.setattr(history, "_CHUNK", 2)
    export(archive)
    assert read_json(archive / "months/2026-10.json")["invoices"] == 3
    assert verify(archive, capsys) == []


def test_a_period_that_is_no_month_is_kept_too(archive, capsys):
    add_invoice(20, 5001, "1.00", period="../../x")
    export(archive)
    assert (archive / "invoices-odd-2e2e2f2e2e2f78.jsonl.gz").exists()
    assert verify(archive, capsys) == []


def test_no_history_is_an_empty_archive(archive, capsys):
    LegacyInvoice.objects.using("legacy").all()._raw_delete("legacy")
    export(archive)
    assert read_json(archive / "manifest.json")["months"] == []
    assert verify(archive, capsys) == []


@pytest.mark.s3
def test_an_archive_in_s3(s3_server, settings, capsys):
    from billing_worker.settings.delivery import build_storages

    s3_server.create_bucket("history")
    env = settings.ENV.model_copy(
        update={
            **s3_server.environment("history"),
            "R2_SECRET_ACCESS_KEY": type(settings.ENV.DJANGO_SECRET_KEY)("tests"),
        }
    )
    settings.STORAGES = {**settings.STORAGES, "invoices": build_storages(env)["invoices"]}
    call_command("export_history")
    call_command("export_history", again=True)
    assert capsys.readouterr().out.count("2 months written, 0 stood already") == 2
    assert verify(None, capsys) == []
