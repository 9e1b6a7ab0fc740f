//! Amounts: taxes, discounts, credits and credit notes.

use omnistack_billing::{
    Credits, InvoiceStatus, NewCreditNote, NewGrant, NewInvoice, NewInvoiceLine, TaxRate, Wallets,
};
use omnistack_core::{
    app::AppBuilder,
    http::Error,
    money::{Currency, Money},
    usage::{DataEnvironment, Decimal},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use rand::RngExt as _;
use serde_json::json;

use super::{Customer, billing, start, start_with};

const LIVE: DataEnvironment = DataEnvironment::Live;

on_each_database! {
    // Case 17.
    async fn credit_notes_add_up_to_the_invoice(database: TestDatabase) {
        let app = start_with(database, |app| app.set("BILLING_SELLER_COUNTRY", "AT")).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[6833, 6833, 5750, 8500])).await.unwrap();
        let invoice = customer.finalize(id).await;
        assert_eq!((invoice.total.to_string(), invoice.tax.to_string()), ("334.99 EUR".into(), "55.83 EUR".into()));

        let mut totals = Vec::new();
        for position in [1, 3, 4, 2] {
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            let note = NewCreditNote::new(format!("line/{position}")).line(position);
            let credit = customer.invoices.credit_in(&mut tx, customer.tenant, id, note.clone()).await.unwrap();
            assert_eq!(customer.invoices.credit_in(&mut tx, customer.tenant, id, note).await.unwrap(), credit);
            tx.commit().await.unwrap();
            let credit = customer.get(credit).await;
            assert_eq!(credit.original.unwrap().number, "INV-000001");
            totals.push(credit.total.amount());
        }
        assert_eq!(totals, ["82.00", "69.00", "102.00", "81.99"]);
        let credited = customer.get(id).await;
        assert_eq!((credited.credited, credited.due.minor()), (invoice.total, 0));
        assert_eq!(credited.status, InvoiceStatus::Paid);
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        let error = customer.invoices.credit_in(&mut tx, customer.tenant, id, NewCreditNote::new("more")).await;
        assert_eq!(error.unwrap_err().code(), "CREDIT_NOTE_TOO_LARGE");
    }

    async fn credit_notes_are_at_most_what_is_left_and_not_negative(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let mut ids = Vec::new();
        for key in ["a", "b"] {
            let id = customer.draft(customer.new_invoice(key, &[10_000, -2000])).await.unwrap();
            customer.finalize(id).await;
            ids.push(id);
        }
        let credit = async |id, note: NewCreditNote| {
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            let credit = customer.invoices.credit_in(&mut tx, customer.tenant, id, note).await?;
            tx.commit().await.unwrap();
            Ok::<_, Error>(credit)
        };
        // The total is 95.20, and the first line with its tax is more.
        for (note, code) in [
            (NewCreditNote::new("first").line(1), "CREDIT_NOTE_TOO_LARGE"),
            (NewCreditNote::new("second").line(2), "CREDIT_NOTE_NEGATIVE"),
        ] {
            assert_eq!(credit(ids[0], note).await.unwrap_err().code(), code);
        }
        let all = credit(ids[0], NewCreditNote::new("all")).await.unwrap();
        assert_eq!((customer.get(all).await.total.minor(), customer.get(ids[0]).await.due.minor()), (9520, 0));
        assert_eq!(credit(ids[0], NewCreditNote::new("all")).await.unwrap(), all);
        // The key is that of a credit note of another invoice, which would otherwise seem to be credited.
        assert_eq!(credit(ids[1], NewCreditNote::new("all")).await.unwrap_err().code(), "CREDIT_NOTE_CONFLICT");
        assert_eq!(customer.get(ids[1]).await.due.minor(), 9520);
    }

    // Case 19.
    async fn credits_never_pay_more_than_the_total(database: TestDatabase) {
        let set = |app: AppBuilder| {
            app.set("BILLING_SELLER_COUNTRY", "GR").set("BILLING_CREDIT_VALUE", "1.00 EUR")
        };
        let app = start_with(database, set).await;
        let customer = Customer::new(&app);
        let wallets: Wallets = app.app().context().get().unwrap();
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        wallets.grant_in(&mut tx, NewGrant::new(customer.tenant, "a", Credits::from(100))).await.unwrap();
        tx.commit().await.unwrap();
        let balance = async || wallets.balance(customer.tenant, LIVE).await.unwrap().balance;

        let id = customer.draft(customer.new_invoice("a", &[1429]).pay_with_credits()).await.unwrap();
        let invoice = customer.finalize(id).await;
        let amounts = [invoice.total, invoice.credits, invoice.due].map(Money::minor);
        assert_eq!((amounts, invoice.status), ([1772, 1772, 0], InvoiceStatus::Paid));
        assert_eq!(balance().await, Credits::from_millionths(82_280_000));

        // More than the credits: they pay a part. The invoice is voided, and the credits are back.
        let id = customer.draft(customer.new_invoice("b", &[10_000]).pay_with_credits()).await.unwrap();
        let invoice = customer.finalize(id).await;
        let amounts = [invoice.total, invoice.credits, invoice.due].map(Money::minor);
        assert_eq!((amounts, invoice.status), ([12_400, 8228, 4172], InvoiceStatus::Open));
        assert_eq!(balance().await, Credits::ZERO);
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        customer.invoices.void_in(&mut tx, customer.tenant, id).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(balance().await, Credits::from_millionths(82_280_000));

        // In another currency, and without the wish, credits pay nothing.
        let line = NewInvoiceLine::item("Support", 1, Decimal::TEN);
        let dollars = NewInvoice::new(customer.tenant, "c", Currency::USD).line(line).pay_with_credits();
        for invoice in [dollars, customer.new_invoice("d", &[1000])] {
            let id = customer.draft(invoice).await.unwrap();
            assert_eq!(customer.finalize(id).await.credits.minor(), 0);
        }
    }

    async fn taxes_depend_on_the_customer(database: TestDatabase) {
        let app = start(database).await;
        for (country, vat_number, tax, reason) in [
            ("DE", "", 190, None),
            ("FR", "", 200, None),
            ("FR", "FR12345678901", 0, Some("Reverse charge")),
            ("US", "", 0, Some("Not subject to VAT")),
        ] {
            let customer = Customer::new(&app);
            customer.state(json!({ "name": "Beispiel AG", "country": country, "vat_number": vat_number })).await;
            let id = customer.draft(customer.new_invoice("a", &[1000])).await.unwrap();
            let invoice = customer.finalize(id).await;
            assert_eq!((invoice.tax.minor(), invoice.taxes.len()), (tax, 1), "{country} {vat_number}");
            assert_eq!(invoice.taxes[0].reason.as_deref(), reason);
            // What the customer states afterwards changes nothing.
            customer.state(json!({ "name": "Other", "country": "DE" })).await;
            assert_eq!(customer.get(id).await.customer.unwrap().name, "Beispiel AG");
        }
    }

    async fn discounts_reduce_the_lines(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let invoice = customer.new_invoice("a", &[10_000, 5000]).amount_off("Voucher", 1000);
        let invoice = invoice.percent_off("Partner", TaxRate::parse("10").unwrap());
        let id = customer.draft(invoice).await.unwrap();
        let invoice = customer.finalize(id).await;
        let discounts: Vec<_> =
            invoice.discounts.iter().map(|one| (one.description.as_str(), one.amount.minor())).collect();
        assert_eq!(discounts, [("Partner", 1500), ("Voucher", 1000)]);
        let nets: Vec<i64> = invoice.lines.iter().map(|line| line.net.minor()).collect();
        assert_eq!((nets, invoice.net.minor(), invoice.tax.minor()), (vec![8333, 4167], 12_500, 2375));
    }

    async fn payments_are_added_once(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[10_000])).await.unwrap();
        let pay = async |amount: i64, currency, reference: &str| {
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            let amount = Money::new(amount, currency);
            let left = customer.invoices.record_payment_in(&mut tx, customer.tenant, id, amount, reference).await?;
            tx.commit().await.unwrap();
            Ok::<_, Error>(left.minor())
        };
        assert_eq!(pay(1, Currency::EUR, "early").await.unwrap_err().code(), "INVOICE_NOT_OPEN");
        customer.finalize(id).await;
        assert_eq!(pay(5000, Currency::EUR, "first").await.unwrap(), 6900);
        assert_eq!(pay(5000, Currency::EUR, "first").await.unwrap(), 6900);
        for (amount, currency, reference) in
            [(0, Currency::EUR, "x"), (-1, Currency::EUR, "x"), (1, Currency::USD, "x"), (1, Currency::EUR, "")]
        {
            assert_eq!(pay(amount, currency, reference).await.unwrap_err().code(), "VALIDATION_FAILED");
        }
        assert_eq!(customer.get(id).await.status, InvoiceStatus::Open);
        assert_eq!(pay(7000, Currency::EUR, "second").await.unwrap(), 0);
        let paid = customer.get(id).await;
        assert_eq!((paid.status, paid.paid.minor(), paid.due.minor()), (InvoiceStatus::Paid, 12_000, 0));
        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        let error = customer.invoices.void_in(&mut tx, customer.tenant, id).await.unwrap_err();
        assert_eq!(error.code(), "INVOICE_NOT_OPEN");
    }

    async fn invoices_of_many_random_lines_add_up(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        for count in [1, 2, 57, 500] {
            let mut invoice = NewInvoice::new(customer.tenant, format!("random/{count}"), Currency::EUR);
            for index in 0..count {
                let mut random = rand::rng();
                let quantity = Decimal::new(random.random_range(1..100_000), random.random_range(0..4));
                let price = Decimal::new(random.random_range(0..1_000_000), random.random_range(0..7));
                invoice = invoice.line(NewInvoiceLine::item(format!("Line {index}"), quantity, price));
            }
            let id = customer.draft(invoice.percent_off("Partner", TaxRate::parse("12.5").unwrap())).await.unwrap();
            let invoice = customer.finalize(id).await;
            let net: i64 = invoice.lines.iter().map(|line| line.net.minor()).sum();
            let tax: i64 = invoice.taxes.iter().map(|tax| tax.tax.minor()).sum();
            assert_eq!(invoice.lines.len(), count);
            assert_eq!((invoice.net.minor(), invoice.tax.minor(), invoice.total.minor()), (net, tax, net + tax));
            let discounts: i64 = invoice.lines.iter().map(|line| line.discount.minor()).sum();
            assert_eq!(invoice.discounts[0].amount.minor(), discounts);
        }
    }

    async fn an_invoice_needs_a_seller_and_no_total_below_zero(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(billing())).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[100])).await.unwrap();
        let error = customer.invoices.finalize(customer.tenant, id).await.unwrap_err();
        assert_eq!(error.code(), "SELLER_UNKNOWN");
        drop(app);
        let app = start(TestDatabase::sqlite()).await;
        let customer = Customer::new(&app);
        let id = customer.draft(customer.new_invoice("a", &[100, -200])).await.unwrap();
        let error = customer.invoices.finalize(customer.tenant, id).await.unwrap_err();
        assert_eq!((error.code(), customer.get(id).await.status), ("INVOICE_NEGATIVE", InvoiceStatus::Draft));
    }
}
