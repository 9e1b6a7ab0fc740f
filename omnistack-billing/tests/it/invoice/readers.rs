//! Tests of documents with programs that read them: PyPI's factur-x and lxml read e-invoices, Saxon checks them by the
//! official rules of EN 16931, pypdf and pdftotext read PDFs. `cargo xtask test --peers` runs them: they need
//! `TEST_PEERS_PYTHON`, a Python with factur-x and saxonche.

use std::{fs, path::PathBuf};

use omnistack_billing::{NewCreditNote, NewInvoiceLine, TaxRate};
use omnistack_core::usage::Decimal;
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{ADMIN, Customer, start};

/// A temporary folder with the documents. It stays if the test fails.
struct DocumentFolder(PathBuf);

impl DocumentFolder {
    fn create() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-invoices-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for DocumentFolder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the documents are in {}", self.0.display());
        } else {
            _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Finalises invoices of all kinds. Returns their ids.
async fn invoices(app: &TestApp) -> Vec<String> {
    let mut ids = Vec::new();
    for (country, vat_number) in [("DE", "DE987654321"), ("FR", "FR12345678901"), ("AT", ""), ("US", "")] {
        let customer = Customer::new(app);
        customer
            .state(json!({
                "name": "Beispiel & Söhne AG", "address": "Marktplatz 2", "city": "Musterstadt", "postal_code": "54321",
                "country": country, "vat_number": vat_number, "email": "rechnung@beispiel.example",
                "reference": "991-01234-56",
            }))
            .await;
        let plain = customer.new_invoice("plain", &[6833, 6833, 5750, 8500]);
        let third = NewInvoiceLine::item("Usage <pages>", Decimal::new(12_345, 1), Decimal::new(3334, 6)).unit("pages");
        let complex = customer.new_invoice("complex", &[10_000, -2500]).line(third).note("Thank you");
        let complex = complex.percent_off("Partner", TaxRate::parse("12.5").unwrap()).amount_off("Voucher", 333);
        let many = customer.new_invoice("many", &[1999; 200]);
        for invoice in [plain, complex, many] {
            let id = customer.draft(invoice).await.unwrap();
            customer.finalize(id).await;
            ids.push(id.to_string());
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            let note = NewCreditNote::new(id.to_string()).part_of_line(1, 1000);
            let credit = customer.invoices.credit_in(&mut tx, customer.tenant, id, note).await.unwrap();
            tx.commit().await.unwrap();
            ids.push(credit.to_string());
        }
    }
    ids
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn documents_are_read_by_other_programs() {
    let app = start(TestDatabase::sqlite()).await;
    let folder = DocumentFolder::create();
    let operator = app.operator();
    let mut expected = Vec::new();
    for id in invoices(&app).await {
        let invoice = operator.get(format!("{ADMIN}/{id}")).await.expect(200).json();
        let documents =
            [("pdf", "pdf"), ("xml", "ubl.xml"), ("xml?syntax=cii", "cii.xml"), ("factur-x", "factur-x.pdf")];
        for (document, name) in documents {
            let response = operator.get(format!("{ADMIN}/{id}/{document}")).await.expect(200);
            fs::write(folder.0.join(format!("{id}.{name}")), &response.body).unwrap();
        }
        expected.push(invoice);
    }
    fs::write(folder.0.join("invoices.json"), serde_json::to_vec(&expected).unwrap()).unwrap();

    let python = omnistack_core::config::Config::from_env();
    let (python, _) = python.get("TEST_PEERS_PYTHON").expect("TEST_PEERS_PYTHON names a Python with factur-x");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/invoices.py");
    let output = Command::new(python).arg(script).arg(&folder.0).output().await.unwrap();
    let (answer, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{answer}\n{errors}");
    let answer: Value = serde_json::from_str(answer.trim()).unwrap();
    assert_eq!(answer["problems"], json!([]), "{answer}");
    for kind in ["ubl", "cii", "pdf", "factur-x"] {
        assert_eq!(answer[kind], expected.len(), "{kind}");
    }
}
