use serde_json::json;

use super::*;

fn pro() -> PlanDefinition {
    let price = PlanPrice::Fixed { price: Money::parse("29.00", "USD").unwrap(), interval: BillingInterval::MONTH };
    PlanDefinition::new("pro", "Pro")
        .price(price)
        .feature("sso")
        .feature("export")
        .limit("projects", 10)
        .limit("exports", 0)
        .limit("ai_tokens", 5_000)
        .unlimited("team_members")
        .soft_limit("ai_tokens")
        .rate_limit(Rate::per_minute(600))
}

#[test]
fn the_enforced_plan_has_no_soft_and_no_unlimited_limits() {
    let expected = Plan::new("pro")
        .feature("sso")
        .feature("export")
        .limit("projects", 10)
        .limit("exports", 0)
        .rate_limit(Rate::per_minute(600));
    assert_eq!(pro().to_plan(), expected);
    assert!(!pro().to_plan().allows("exports", 1));
    assert_eq!(PlanDefinition::new("free", "Free").to_plan(), Plan::new("free"));
}

#[test]
fn limits_have_other_names() {
    let plan = PlanDefinition::new("pro", "Pro").limit("requests_per_month", 5).limit("storage", 7);
    let plan = plan.soft_limit("storage");
    assert_eq!(plan.limits, BTreeMap::from([("api_requests".to_owned(), 5), ("storage_bytes".to_owned(), 7)]));
    assert_eq!(plan.soft_limits, ["storage_bytes"]);
}

#[test]
fn definitions_are_stored_as_json() {
    let json = serde_json::to_value(pro().version(2).trial_days(14).highlight("Ten projects").unlisted()).unwrap();
    let expected = json!({
        "key": "pro",
        "version": 2,
        "name": "Pro",
        "description": "",
        "price": { "kind": "fixed", "price": { "amount": "29.00", "currency": "USD" }, "interval": "month" },
        "yearly_price": null,
        "per_seat": false,
        "group": "main",
        "provider_prices": {},
        "yearly_provider_prices": {},
        "trial_days": 14,
        "trial_without_card": null,
        "features": ["sso", "export"],
        "limits": { "projects": 10, "exports": 0, "ai_tokens": 5000, "team_members": -1 },
        "soft_limits": ["ai_tokens"],
        "rate_limit": "600/minute",
        "highlights": ["Ten projects"],
        "listed": false,
    });
    assert_eq!(json, expected);
    for plan in [
        pro().rate_limit(Rate::per_minute(100).sliding()),
        pro().price(PlanPrice::Custom).describe("For large teams.").unlisted(),
        PlanDefinition::new("free", "Free"),
    ] {
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<PlanDefinition>(&text).unwrap(), plan, "{text}");
    }
    let wrong = json!({ "kind": "fixed", "price": { "amount": "1", "currency": "USD" }, "interval": "fortnight" });
    assert!(serde_json::from_value::<PlanPrice>(wrong).is_err());
}

#[test]
fn texts_are_no_terms() {
    for same in [
        pro().describe("New text."),
        PlanDefinition { name: "Professional".into(), ..pro() },
        pro().highlight("New line."),
        pro().unlisted(),
        pro().group("add-ons"),
        pro().trial_without_card(TrialEndBehavior::Pause),
        pro().provider_price("stripe", "price_1").yearly_provider_price("stripe", "price_2"),
        pro().feature("sso"),
        PlanDefinition { features: vec!["export".into(), "sso".into()], ..pro() },
        pro().unlimited("vectors"),
        pro().unlimited("vectors").soft_limit("vectors"),
    ] {
        assert!(pro().has_terms_of(&same), "{same:?}");
    }
    let yearly = PlanPrice::Fixed { price: Money::parse("29.00", "USD").unwrap(), interval: BillingInterval::YEAR };
    for other in [
        pro().version(2),
        pro().price(PlanPrice::Free),
        pro().price(yearly),
        pro().yearly_price(Money::parse("290.00", "USD").unwrap()),
        pro().per_seat(),
        pro().trial_days(1),
        pro().feature("audit"),
        PlanDefinition { features: vec!["sso".into()], ..pro() },
        pro().limit("projects", 11),
        pro().limit("vectors", 0),
        pro().unlimited("projects"),
        pro().soft_limit("projects"),
        PlanDefinition { soft_limits: Vec::new(), ..pro() },
        pro().rate_limit(Rate::per_minute(601)),
        PlanDefinition { rate_limit: None, ..pro() },
    ] {
        assert!(!pro().has_terms_of(&other), "{other:?}");
    }
}

#[test]
fn prices_have_ids_at_providers() {
    let (month, year) = (BillingInterval::MONTH, BillingInterval::YEAR);
    let plan = pro().yearly_price(Money::parse("290.00", "USD").unwrap());
    let plan = plan.provider_price("stripe", "price_m").yearly_provider_price("stripe", "price_y");
    let plan = plan.provider_price("apple", "com.example.pro");
    for (provider, interval, id) in [
        ("stripe", month, Some("price_m")),
        ("stripe", year, Some("price_y")),
        ("apple", month, Some("com.example.pro")),
        ("apple", year, None),
        ("paypal", month, None),
        ("fake", month, Some("pro:2900:USD:month")),
        ("fake", year, Some("pro:29000:USD:year")),
        ("fake", BillingInterval::new(crate::period::IntervalUnit::Week, 1), None),
    ] {
        assert_eq!(plan.price_id(provider, interval).as_deref(), id, "{provider} {interval}");
        if let Some(id) = id {
            assert_eq!(plan.interval_of_price(provider, id), Some(interval), "{id}");
        }
    }
    assert_eq!(plan.interval_of_price("stripe", "price_other"), None);
    assert_eq!(plan.interval_of_price("paypal", "price_m"), None);
    let minor = |price: Option<Money>| price.map(Money::minor);
    assert_eq!((minor(plan.sale_price(month)), minor(plan.sale_price(year))), (Some(2_900), Some(29_000)));
    assert_eq!(minor(pro().sale_price(year)), None);
    assert_eq!(PlanDefinition::new("free", "Free").price_id("fake", month), None);
    let by_year = PlanPrice::Fixed { price: Money::parse("290", "USD").unwrap(), interval: year };
    let by_year = PlanDefinition::new("pro", "Pro").price(by_year).provider_price("stripe", "price_y");
    assert_eq!(by_year.price_id("stripe", year).as_deref(), Some("price_y"));
}

#[test]
fn definitions_that_were_stored_earlier_are_read() {
    let mut json = serde_json::to_value(pro()).unwrap();
    let fields = json.as_object_mut().unwrap();
    for name in ["yearly_price", "per_seat", "group", "provider_prices", "yearly_provider_prices"] {
        fields.remove(name).unwrap();
    }
    assert_eq!(serde_json::from_value::<PlanDefinition>(json).unwrap(), pro());
}
