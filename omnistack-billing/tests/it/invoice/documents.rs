//! Tests of the documents of invoices.

#[cfg(feature = "factur-x")]
use en16931_formats::zugferd::{self, Limits};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{ADMIN, Customer, INVOICES, start};

#[cfg(feature = "factur-x")]
const EN16931: &str = "urn:cen.eu:en16931:2017";

on_each_database! {
    async fn the_page_has_the_amounts_and_escapes_texts(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        customer.state(json!({ "name": "<b>Beispiel</b> & Söhne", "city": "Wien", "country": "DE" })).await;
        let id = customer.draft(customer.new_invoice("a", &[10_000, 250]).note("Thank you")).await.unwrap();
        let draft = customer.client.get(format!("{INVOICES}/{id}/html")).await.expect(200).text();
        assert!(draft.contains("Invoice (draft)"), "{draft}");
        customer.finalize(id).await;
        let response = customer.client.get(format!("{INVOICES}/{id}/html")).await.expect(200);
        assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(response.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
        let page = response.text();
        for text in ["Invoice INV-000001", "&lt;b&gt;Beispiel&lt;/b&gt; &amp; Söhne", "Acme Software GmbH", "121.98 EUR"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        let same = app.operator().get(format!("{ADMIN}/{id}/html")).await.expect(200).text();
        assert_eq!(same, page);
    }

    #[cfg(feature = "invoice-pdf")]
    async fn the_pdf_is_named_after_the_invoice(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[10_000; 120])).await.unwrap();
        customer.finalize(id).await;
        for (client, path) in [(app.operator(), format!("{ADMIN}/{id}/pdf")), (app.user(), format!("{INVOICES}/{id}/pdf"))] {
            let response = client.get(path).await;
            if response.status == 404 {
                // Another tenant.
                continue;
            }
            assert_eq!(response.header("content-type"), Some("application/pdf"));
            assert_eq!(response.header("content-disposition"), Some("inline; filename=\"INV-000001.pdf\""));
            assert!(response.body.starts_with(b"%PDF-"));
        }
        customer.client.get(format!("{INVOICES}/{id}/pdf")).await.expect(200);
    }

    #[cfg(feature = "e-invoice")]
    async fn the_e_invoice_is_an_xrechnung_if_all_is_stated(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("early", &[1000])).await.unwrap();
        let xml = |id| format!("{INVOICES}/{id}/xml");
        customer.client.get(xml(id)).await.expect_error(409, "INVOICE_NOT_FINAL");
        customer.finalize(id).await;
        let refused = customer.client.get(xml(id)).await.expect_error(409, "E_INVOICE_INCOMPLETE").json();
        assert!(!refused["error"]["details"]["problems"].as_array().unwrap().is_empty());

        let details = json!({
            "name": "Beispiel AG", "address": "Marktplatz 2", "city": "Bonn", "postal_code": "53111", "country": "DE",
            "email": "rechnung@beispiel.example",
        });
        customer.state(details.clone()).await;
        let id = customer.draft(customer.new_invoice("core", &[1000, -250])).await.unwrap();
        customer.finalize(id).await;
        let core = customer.client.get(xml(id)).await.expect(200);
        assert_eq!(core.header("content-type"), Some("application/xml"));
        assert!(core.text().contains(">urn:cen.eu:en16931:2017<"), "{}", core.text());

        let mut details = details;
        details["reference"] = json!("991-01234-56");
        customer.state(details).await;
        let id = customer.draft(customer.new_invoice("full", &[1000, 250]).amount_off("Voucher", 50)).await.unwrap();
        customer.finalize(id).await;
        let full = customer.client.get(xml(id)).await.expect(200).text();
        assert!(full.contains("xrechnung_3.0") && full.contains("INV-000003"), "{full}");
        assert!(full.contains(">14.28<"), "{full}");
    }

    #[cfg(feature = "factur-x")]
    async fn factur_x_is_a_pdf_with_the_e_invoice(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let factur_x = |id| format!("{INVOICES}/{id}/factur-x");
        let id = customer.draft(customer.new_invoice("early", &[1000])).await.unwrap();
        customer.client.get(factur_x(id)).await.expect_error(409, "INVOICE_NOT_FINAL");
        customer.finalize(id).await;
        customer.client.get(factur_x(id)).await.expect_error(409, "E_INVOICE_INCOMPLETE");

        let details = |name: &str| json!({ "name": name, "city": "Bonn", "postal_code": "53111", "country": "DE" });
        customer.state(details("Beispiel & Söhne AG")).await;
        let id = customer.draft(customer.new_invoice("full", &[1000; 120]).amount_off("Voucher", 50)).await.unwrap();
        customer.finalize(id).await;
        let response = customer.client.get(factur_x(id)).await.expect(200);
        assert_eq!(response.header("content-type"), Some("application/pdf"));
        assert_eq!(response.header("content-disposition"), Some("inline; filename=\"INV-000002.pdf\""));
        let read = zugferd::extract(&response.body, &Limits::default()).unwrap();
        assert_eq!((read.filename.as_str(), read.specification_id.as_deref()), ("factur-x.xml", Some(EN16931)));
        assert_eq!(read.xmp.conformance_level.as_deref(), Some("EN 16931"));
        assert_eq!(read.xmp.pdfa_part.as_deref(), Some("3"));
        assert!(read.divergence.is_empty(), "{:?}", read.divergence);
        let xml = String::from_utf8(read.xml).unwrap();
        assert!(xml.contains(">INV-000002<") && xml.contains("Beispiel &amp; Söhne AG"), "{xml}");
        // The same invoice is the same file.
        let again = app.operator().get(format!("{ADMIN}/{id}/factur-x")).await.expect(200);
        assert!(again.body == response.body);

        customer.state(details("Beispiel 株")).await;
        let id = customer.draft(customer.new_invoice("font", &[1000])).await.unwrap();
        customer.finalize(id).await;
        customer.client.get(format!("{INVOICES}/{id}/pdf")).await.expect(200);
        let refused = customer.client.get(factur_x(id)).await.expect_error(409, "INVOICE_FONT_INCOMPLETE").json();
        assert_eq!(refused["error"]["details"]["texts"], json!(["株"]));
    }
}
