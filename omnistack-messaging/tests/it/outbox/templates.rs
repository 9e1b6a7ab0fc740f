//! Tests of template overrides of tenants.

use std::time::Duration;

use omnistack_core::{clock::Timestamp, id::Id, identity::TenantId};
use omnistack_messaging::email::template::{TemplateOverrideError, TemplateOverrides, VerifyEmail};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::scripted;

fn verify() -> VerifyEmail {
    VerifyEmail { name: None, link: "https://app.example.com/v?t=1".into(), expires: Duration::from_secs(3600) }
}

on_each_database! {
    async fn a_tenant_has_its_own_words(database: TestDatabase) {
        let (app, outbox, provider) = scripted(database, |app| app).await;
        let overrides: TemplateOverrides = app.app().context().get().unwrap();
        let (a, b): (TenantId, TenantId) = (Id::new(Timestamp::default()), Id::new(Timestamp::default()));
        let source = "subject: Ours\n---\n{{ button(link, 'Ours') }}";
        assert_eq!(overrides.save(a, "verify", "de", source).await.unwrap().subject, "Ours");
        overrides.save(a, "footer", "en", "Our footer").await.unwrap();
        let subject = async |tenant, locale: &str| {
            let mail = outbox.compose_for(tenant, "ada@example.com", &verify(), locale).await.unwrap();
            assert_eq!(mail.tenant, Some(tenant));
            (mail.subject, mail.text.unwrap().contains("Our footer"))
        };
        assert_eq!(subject(a, "de-AT").await, ("Ours".into(), false), "the footer it has is English");
        assert_eq!(subject(a, "en").await, ("Confirm your email address".into(), true));
        assert_eq!(subject(b, "de").await.0, "Bestätige deine E-Mail-Adresse");
        assert_eq!(overrides.list(a).await.unwrap().len(), 2);
        assert!(overrides.list(b).await.unwrap().is_empty());

        overrides.save(a, "verify", "de", "subject: Newer\n---\nx").await.unwrap();
        assert_eq!(subject(a, "de").await.0, "Newer");
        assert!(overrides.remove(a, "verify", "de").await.unwrap());
        assert!(!overrides.remove(a, "verify", "de").await.unwrap());
        assert_eq!(subject(a, "de").await.0, "Bestätige deine E-Mail-Adresse");

        for (name, locale, source) in [
            ("verify", "en", "subject: x\n---\n{{ nobody }}"),
            ("verify", "no such locale", "subject: x\n---\n"),
            ("nothing", "en", "subject: x\n---\n"),
            ("footer", "en", "{{ link }}"),
        ] {
            let error = overrides.save(a, name, locale, source).await.unwrap_err();
            assert!(matches!(error, TemplateOverrideError::Template(_)) && !error.is_retryable(), "{error}");
        }

        // An override that a later release has made invalid is skipped.
        let mut tx = app.db().tenant(a).begin().await.unwrap();
        tx.query("insert into omni_email_templates (tenant_id, name, locale, source, updated_at) values ($1, $2, 'en', $3, $4)")
            .bind(a).bind("verify").bind("subject: {{ removed }}\n---\n").bind(Timestamp::default())
            .execute().await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(subject(a, "en").await.0, "Confirm your email address");

        let mail = outbox.compose("ada@example.com", &verify(), "en").unwrap();
        outbox.send(&mail).await.unwrap();
        app.run_jobs().await;
        assert_eq!(provider.taken()[0].tags[0].value, "verify");
    }
}

#[tokio::test]
async fn a_query_without_a_tenant_sees_none_of_them() {
    let (app, ..) = scripted(TestDatabase::postgres(), |app| app).await;
    let overrides: TemplateOverrides = app.app().context().get().unwrap();
    let (a, b): (TenantId, TenantId) = (Id::new(Timestamp::default()), Id::new(Timestamp::default()));
    overrides.save(a, "verify", "en", "subject: A\n---\n").await.unwrap();
    overrides.save(b, "verify", "en", "subject: B\n---\n").await.unwrap();
    let all = "select source from omni_email_templates";
    assert!(app.db().query(all).fetch_all::<(String,)>().await.unwrap().is_empty());
    let mut tx = app.db().tenant(a).begin().await.unwrap();
    let seen: Vec<(String,)> = tx.query(all).fetch_all().await.unwrap();
    assert_eq!(seen, [("subject: A\n---\n".to_owned(),)]);
    let forged =
        "insert into omni_email_templates (tenant_id, name, locale, source, updated_at) values ($1, 'x', 'en', '', $2)";
    let refused = tx.query(forged).bind(b).bind(Timestamp::default()).execute().await.unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
}
