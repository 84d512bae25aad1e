"""EN 16931 in UN/CEFACT's Cross Industry Invoice (CII), the XML of Factur-X and ZUGFeRD.

The order of the elements is the schema's. https://fnfe-mpe.org/factur-x/
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final

from lxml import etree

from invoices.content import Party
from invoices.einvoice.model import EInvoice, ELine, ETax

#: BT-24: the profile EN 16931, which ZUGFeRD calls COMFORT.
PROFILE: Final = "urn:cen.eu:en16931:2017"
RSM: Final = "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100"
RAM: Final = "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100"
UDT: Final = "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100"
QDT: Final = "urn:un:unece:uncefact:data:standard:QualifiedDataType:100"
#: UN/ECE Recommendation 20: one piece.
PIECE: Final = "C62"


def write_cii(invoice: EInvoice) -> bytes:
    """UTF-8 with its declaration. Valid by the schema for every `EInvoice`, right if it breaks no rule."""
    root = etree.Element(
        f"{{{RSM}}}CrossIndustryInvoice", nsmap={"rsm": RSM, "ram": RAM, "udt": UDT, "qdt": QDT}
    )
    context = etree.SubElement(root, f"{{{RSM}}}ExchangedDocumentContext")
    _add(_add(context, "GuidelineSpecifiedDocumentContextParameter"), "ID", PROFILE)
    document = etree.SubElement(root, f"{{{RSM}}}ExchangedDocument")
    _add(document, "ID", invoice.number)
    _add(document, "TypeCode", invoice.type_code)
    _add_day(document, "IssueDateTime", invoice.issued)
    for note in invoice.notes:
        _add(_add(document, "IncludedNote"), "Content", note)
    transaction = etree.SubElement(root, f"{{{RSM}}}SupplyChainTradeTransaction")
    for line in invoice.lines:
        _add_line(transaction, line)
    agreement = _add(transaction, "ApplicableHeaderTradeAgreement")
    _add_party(agreement, "SellerTradeParty", invoice.seller, number="")
    is_outside = any(tax.category == "O" for tax in invoice.taxes)
    buyer = invoice.buyer.model_copy(update={"vat_id": ""}) if is_outside else invoice.buyer
    _add_party(agreement, "BuyerTradeParty", buyer, number=invoice.buyer_number)
    _add(transaction, "ApplicableHeaderTradeDelivery")
    _add_settlement(_add(transaction, "ApplicableHeaderTradeSettlement"), invoice)
    body: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
    return body


def _add_line(parent: etree._Element, line: ELine) -> None:
    item = _add(parent, "IncludedSupplyChainTradeLineItem")
    document = _add(item, "AssociatedDocumentLineDocument")
    _add(document, "LineID", str(line.number))
    if line.note:
        _add(_add(document, "IncludedNote"), "Content", line.note)
    _add(_add(item, "SpecifiedTradeProduct"), "Name", line.name)
    price = _add(_add(item, "SpecifiedLineTradeAgreement"), "NetPriceProductTradePrice")
    _add(price, "ChargeAmount", _plain(line.price))
    _add(price, "BasisQuantity", str(line.base), unitCode=PIECE)
    _add(_add(item, "SpecifiedLineTradeDelivery"), "BilledQuantity", _plain(line.quantity), unitCode=PIECE)
    settlement = _add(item, "SpecifiedLineTradeSettlement")
    tax = _add(settlement, "ApplicableTradeTax")
    _add(tax, "TypeCode", "VAT")
    _add(tax, "CategoryCode", line.category)
    if line.rate is not None:
        _add(tax, "RateApplicablePercent", _plain(line.rate))
    _add_period(settlement, line.start, line.end)
    sums = _add(settlement, "SpecifiedTradeSettlementLineMonetarySummation")
    _add(sums, "LineTotalAmount", str(line.net))


def _add_party(parent: etree._Element, tag: str, party: Party, *, number: str) -> None:
    element = _add(parent, tag)
    if number:
        _add(element, "ID", number)
    _add(element, "Name", party.name)
    if party.legal_id:
        _add(_add(element, "SpecifiedLegalOrganization"), "ID", party.legal_id)
    address = _add(element, "PostalTradeAddress")
    postal = party.postal
    fields = () if postal is None else (
        ("PostcodeCode", postal.postal_code),
        ("LineOne", postal.line1),
        ("LineTwo", postal.line2),
        ("CityName", postal.city),
    )  # fmt: skip
    for name, value in fields:
        if value:
            _add(address, name, value)
    _add(address, "CountryID", party.country.upper())
    if postal is not None and postal.region:
        _add(address, "CountrySubDivisionName", postal.region)
    if party.email:
        _add(_add(element, "URIUniversalCommunication"), "URIID", party.email, schemeID="EM")
    for scheme, value in (("FC", party.tax_number), ("VA", party.vat_id)):
        if value:
            _add(_add(element, "SpecifiedTaxRegistration"), "ID", value.replace(" ", ""), schemeID=scheme)


def _add_settlement(element: etree._Element, invoice: EInvoice) -> None:
    _add(element, "PaymentReference", invoice.number)
    _add(element, "InvoiceCurrencyCode", invoice.currency)
    _add_means(element, invoice)
    for tax in invoice.taxes:
        _add_tax(element, tax)
    _add_period(element, invoice.start, invoice.end)
    for tax in invoice.taxes:
        if tax.allowance:
            _add_allowance(element, tax, invoice.allowance_reason)
    terms = _add(element, "SpecifiedTradePaymentTerms")
    _add(terms, "Description", invoice.terms)
    if invoice.due:
        _add_day(terms, "DueDateDateTime", invoice.due)
    sums = _add(element, "SpecifiedTradeSettlementHeaderMonetarySummation")
    _add(sums, "LineTotalAmount", str(invoice.line_total))
    if invoice.allowance_total:
        _add(sums, "AllowanceTotalAmount", str(invoice.allowance_total))
    _add(sums, "TaxBasisTotalAmount", str(invoice.basis_total))
    _add(sums, "TaxTotalAmount", str(invoice.tax_total), currencyID=invoice.currency)
    _add(sums, "GrandTotalAmount", str(invoice.grand_total))
    if invoice.prepaid:
        _add(sums, "TotalPrepaidAmount", str(invoice.prepaid))
    _add(sums, "DuePayableAmount", str(invoice.due_total))
    if invoice.preceding:
        number, day = invoice.preceding
        reference = _add(element, "InvoiceReferencedDocument")
        _add(reference, "IssuerAssignedID", number)
        if day:
            _add_day(reference, "FormattedIssueDateTime", day, namespace=QDT)


def _add_means(parent: etree._Element, invoice: EInvoice) -> None:
    means = _add(parent, "SpecifiedTradeSettlementPaymentMeans")
    _add(means, "TypeCode", invoice.means_code)
    if invoice.means_text:
        _add(means, "Information", invoice.means_text)
    bank = invoice.bank
    if bank is None:
        return
    account = _add(means, "PayeePartyCreditorFinancialAccount")
    if bank.iban:
        _add(account, "IBANID", bank.iban.replace(" ", ""))
    if bank.holder:
        _add(account, "AccountName", bank.holder)
    if bank.number and not bank.iban:
        _add(account, "ProprietaryID", bank.number)
    if bank.bic:
        _add(_add(means, "PayeeSpecifiedCreditorFinancialInstitution"), "BICID", bank.bic)


def _add_tax(parent: etree._Element, tax: ETax) -> None:
    element = _add(parent, "ApplicableTradeTax")
    _add(element, "CalculatedAmount", str(tax.amount))
    _add(element, "TypeCode", "VAT")
    if tax.reason:
        _add(element, "ExemptionReason", tax.reason)
    _add(element, "BasisAmount", str(tax.basis))
    _add(element, "CategoryCode", tax.category)
    if tax.reason_code:
        _add(element, "ExemptionReasonCode", tax.reason_code)
    if tax.rate is not None:
        _add(element, "RateApplicablePercent", _plain(tax.rate))


def _add_allowance(parent: etree._Element, tax: ETax, reason: str) -> None:
    element = _add(parent, "SpecifiedTradeAllowanceCharge")
    indicator = etree.SubElement(_add(element, "ChargeIndicator"), f"{{{UDT}}}Indicator")
    indicator.text = "false"
    _add(element, "ActualAmount", str(tax.allowance))
    _add(element, "Reason", reason)
    category = _add(element, "CategoryTradeTax")
    _add(category, "TypeCode", "VAT")
    _add(category, "CategoryCode", tax.category)
    if tax.rate is not None:
        _add(category, "RateApplicablePercent", _plain(tax.rate))


def _add_period(parent: etree._Element, start: date, end: date) -> None:
    period = _add(parent, "BillingSpecifiedPeriod")
    _add_day(period, "StartDateTime", start)
    _add_day(period, "EndDateTime", end)


def _add_day(parent: etree._Element, tag: str, day: date, *, namespace: str = UDT) -> None:
    text = etree.SubElement(_add(parent, tag), f"{{{namespace}}}DateTimeString", format="102")
    text.text = f"{day:%Y%m%d}"


def _add(parent: etree._Element, tag: str, text: str | None = None, **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, f"{{{RAM}}}{tag}", attributes)
    element.text = text
    return element


def _plain(value: Decimal) -> str:
    """Without an exponent and without zeros that say nothing: `1.25`, `0.00001`, `1000000`."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
