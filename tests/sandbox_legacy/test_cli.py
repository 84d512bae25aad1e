"""The command line as people and the demo use it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.legacy.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


class TestUsage:
    def test_daily_records_as_json_lines(self, legacy_url, capsys):
        assert main(["usage", "--database", legacy_url, "--period", "2026-10"]) == 0
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert set(records[0]) == {"account_id", "period", "usage_type", "quantity"}
        assert records[0]["period"] == "2026-10-01"
        bound = [r["quantity"] for r in records if r["account_id"] == 1017 and r["usage_type"] == "ST"]
        assert (len(bound), sum(bound)) == (31, 5_000_000)
        keys = [(r["period"], r["account_id"], r["usage_type"]) for r in records]
        assert keys == sorted(set(keys))

    def test_the_same_as_csv_in_a_file(self, legacy_url, tmp_path, capsys):
        out = tmp_path / "deep" / "usage.csv"
        arguments = ["usage", "--database", legacy_url, "--period", "2026-10"]
        assert main([*arguments, "--format", "csv", "--output", str(out)]) == 0
        assert capsys.readouterr().out == ""
        rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
        assert main(arguments) == 0
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert rows == [{key: str(value) for key, value in record.items()} for record in records]


class TestRunMonth:
    def test_planted_differences_are_listed(self, legacy_url, tmp_path, capsys):
        listed = tmp_path / "planted.json"
        arguments = ["run-month", "--database", legacy_url, "--period", "2026-10", "--shadow"]
        assert main([*arguments, "--plant-differences", "--planted-out", str(listed)]) == 0
        assert "58 invoices draft" in capsys.readouterr().out
        planted = json.loads(listed.read_text(encoding="utf-8"))
        assert len(planted) == 8
        assert all(
            set(item) == {"acct_id", "kind", "difference_minor", "currency", "note"} for item in planted
        )

    def test_cohorts_as_json(self, legacy_url, capsys):
        assert main(["cohorts", "--database", legacy_url]) == 0
        assert list(json.loads(capsys.readouterr().out)) == ["cohort-1", "cohort-2", "cohort-3"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ([], "COMMAND"),
            (["fly"], "invalid choice"),
            (["usage", "--period", "2026-10"], "--database"),
            (["usage", "--database", "{url}", "--period", "2026-13"], "YYYY-MM"),
            (["usage", "--database", "{url}", "--period", "2031-01"], "no impressions"),
            (
                ["usage", "--database", "sqlite:///{folder}/none.sqlite3", "--period", "2026-10"],
                "does not exist",
            ),
            (["usage", "--database", "sqlite:///{folder}", "--period", "2026-10"], "does not exist"),
            (
                ["usage", "--database", "sqlite:///{folder}/text.sqlite3", "--period", "2026-10"],
                "not a database",
            ),
            (
                ["usage", "--database", "sqlite:///{folder}/empty.sqlite3", "--period", "2026-10"],
                "no legacy tables",
            ),
            (["usage", "--database", "oracle://x/y", "--period", "2026-10"], "'oracle'"),
            (["usage", "--database", "mysql://root@127.0.0.1:1/x", "--period", "2026-10"], "can't reach"),
            (["generate", "--database", "sqlite://"], "names no file"),
            (["generate", "--database", "{url}"], "--replace"),
            (["generate", "--database", "sqlite:///{folder}/n.sqlite3", "--accounts", "12"], "--accounts"),
            (["generate", "--database", "sqlite:///{folder}/n.sqlite3", "--months", "0"], "--months"),
            (["generate", "--database", "sqlite:///{folder}/text.sqlite3/n.sqlite3"], "can't open"),
            (["run-month", "--database", "{url}", "--period", "2026-11"], "not loaded"),
            (["run-month", "--database", "{url}", "--period", "2026-10", "--planted-out", "x"], "pass both"),
        ],
    )
    def test_one_line_says_why(self, arguments, reason, legacy_url, tmp_path, capsys):
        (tmp_path / "text.sqlite3").write_text(
            "not a database at all, but long enough to be read as one" * 20
        )
        (tmp_path / "empty.sqlite3").touch()
        filled = [argument.format(url=legacy_url, folder=tmp_path) for argument in arguments]
        assert main(filled) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert reason in err
        assert not (tmp_path / "n.sqlite3").exists()

    def test_a_generated_period_is_a_real_month_number(self, tmp_path, capsys):
        url = f"sqlite:///{tmp_path / 'n.sqlite3'}"
        assert main(["generate", "--database", url, "--period", "0000-01"]) == 2
        assert "YYYY-MM" in capsys.readouterr().err


def test_the_program_runs_by_itself_without_the_django_apps(tmp_path):
    script = (
        "import sys; from sandbox.legacy.__main__ import main;"
        f"code = main(['generate', '--database', 'sqlite:///{tmp_path}/l.sqlite3']);"
        "names = {name.split('.')[0] for name in sys.modules};"
        "assert not names & {'django', 'billing_worker', 'stripe'}, names; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("account 60, ")
