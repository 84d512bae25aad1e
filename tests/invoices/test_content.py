"""The parts that a document is made of: texts, formats, sums, hashes, checks of the installation."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.accounts.locales import LOCALES, choose_locale
from invoices import checks
from invoices.checking import find_mismatches
from invoices.content import clean_text, compute_content_hash, dump_content, load_content
from invoices.formatting import get_formatter
from invoices.locales import TEXTS_DIR, choose_page_size, get_language, get_texts
from invoices.mail_backends import EmlFileBackend
from invoices.messages import make_file_name
from tests.invoices.samples import VARIANTS, build_content

LANGUAGES = sorted(path.stem for path in TEXTS_DIR.glob("*.toml"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_content_survives_json_and_keeps_its_hash(variant):
    content = VARIANTS[variant]()
    assert load_content(dump_content(content)) == content
    assert compute_content_hash(load_content(dump_content(content))) == compute_content_hash(content)


def test_any_change_changes_the_hash():
    content = build_content()
    assert compute_content_hash(content) != compute_content_hash(
        content.model_copy(update={"status": "paid"})
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_samples_come_out(variant):
    assert find_mismatches(VARIANTS[variant]()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subtotal_minor": 1354469}, "lines = subtotal: we add up 13,544.68 USD, Stripe says 13,544.69 USD"),
        ({"total_minor": 1354467}, "lines + tax - discounts = total"),
        ({"amount_remaining_minor": 5}, "paid + remaining = due"),
    ],
)
def test_a_cent_of_difference_is_found(changes, message):
    found = find_mismatches(build_content().model_copy(update=changes))
    assert len(found) == 1
    assert message in found[0].message


@given(st.text())
def test_cleaned_text_is_short_printable_and_stable(text):
    cleaned = clean_text(text)
    assert len(cleaned) <= 300
    assert cleaned.isprintable() or any(character.isspace() or ord(character) > 0x7F for character in cleaned)
    assert not set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200b\x00\n") & set(cleaned)
    assert clean_text(cleaned) == cleaned


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_with_the_same_fields(language):
    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english, other = get_texts("en"), get_texts(language)
    assert set(english) == set(other)
    assert {key: fields(text) for key, text in other.items()} == {
        key: fields(text) for key, text in english.items()
    }


def test_every_text_is_used_and_every_locale_has_its_language():
    root = Path(__file__).parents[2]
    folders = ("invoices/**/*.py", "templates/invoices/**/*")
    files = [path for pattern in folders for path in root.glob(pattern) if path.is_file()]
    sources = "".join(path.read_text() for path in files)
    assert [key for key in get_texts("en") if key not in sources] == []
    assert {get_language(locale) for locale in LOCALES.values()} == set(LANGUAGES)


@pytest.mark.parametrize(
    ("locale", "minor", "currency", "expected"),
    [
        ("en_US", 123456, "usd", "$1,234.56"),
        ("de_DE", 123456, "eur", "1.234,56\xa0€"),
        ("fr_FR", 123456, "eur", "1\u202f234,56\xa0€"),
        ("es_ES", 1234567, "eur", "12.345,67\xa0€"),
        ("ja_JP", 123456, "jpy", "\uffe5123,456"),
        ("en_US", -5, "usd", "-$0.05"),
    ],
)
def test_money_by_locale(locale, minor, currency, expected):
    assert get_formatter(locale).money(minor, currency) == expected


@pytest.mark.parametrize(
    ("rate", "units", "currency", "expected"),
    [
        ("0.125", 1000, "usd", "$1.25"),
        ("0.1", 1000, "usd", "$1.00"),
        ("0.0925", 1000, "usd", "$0.925"),
        ("0.000001", 1000, "usd", "$0.00001"),
        ("49900", 1, "usd", "$499.00"),
        ("0.15", 1000, "jpy", "¥150"),
        ("0.1505", 1000, "jpy", "¥150.5"),
    ],
)
def test_unit_prices_are_exact(rate, units, currency, expected):
    assert get_formatter("en_US").unit_price(Decimal(rate), currency, units=units) == expected


def test_periods_are_shown_with_their_last_day():
    formatter = get_formatter("en_US")
    start = datetime(2028, 2, 1, tzinfo=UTC)
    shown = formatter.days(start, datetime(2028, 3, 1, tzinfo=UTC))
    assert [part for part in ("Feb", "1", "29", "2028") if part not in shown] == []
    assert formatter.days(start, start) == "Feb 1, 2028"
    assert formatter.days(start, start + timedelta(days=1)) == "Feb 1, 2028"


def test_language_and_paper_by_country():
    assert [choose_locale(country) for country in ("US", "de", "JP", "ZZ", "")] == [
        "en_US", "de_DE", "ja_JP", "en_US", "en_US",
    ]  # fmt: skip
    assert [choose_page_size(country) for country in ("US", "CA", "", "GB", "JP")] == [
        "Letter", "Letter", "Letter", "A4", "A4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("NWA-0007", "NWA-0007.pdf"),
        ("../../etc/passwd", "etc-passwd.pdf"),
        ('a"b\r\nc', "a-b-c.pdf"),
        ("é", "invoice.pdf"),
    ],
)
def test_file_names_are_tame(number, name):
    assert make_file_name(number) == name


def test_the_installation_is_checked(monkeypatch, tmp_path):
    assert checks.check_rendering() == []
    monkeypatch.setattr(checks, "has_subset_library", lambda: False)
    assert [message.id for message in checks.check_rendering()] == ["invoices.W001"]


def test_one_message_is_one_whole_file(tmp_path):
    from email import message_from_bytes

    from django.core.mail import EmailMessage

    backend = EmlFileBackend(file_path=str(tmp_path / "mail"))
    message = EmailMessage(
        "Hi",
        "Text",
        "a@example.com",
        ["b@example.com"],
        bcc=["c@example.com"],
        headers={"Message-ID": "<x/../1@example.com>"},
    )
    assert not backend.was_sent("x/../1@example.com")
    assert backend.send_messages([message, message]) == 2
    (path,) = (tmp_path / "mail").iterdir()
    assert path.name == "x-..-1@example.com.eml"
    parsed = message_from_bytes(path.read_bytes())
    assert (parsed["To"], parsed["Bcc"], parsed.get_payload()) == (
        "b@example.com",
        "c@example.com",
        "Text\r\n",
    )
    assert backend.was_sent("x/../1@example.com")
