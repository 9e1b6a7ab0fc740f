use super::*;

/// Returns the problems of a file with a plan `free`, which has more lines.
fn problems_of(more: &str) -> Vec<String> {
    let text = format!("default = \"free\"\n[[plans]]\nkey = \"free\"\nname = \"Free\"\n{more}\n");
    PlanCatalogue::from_toml(&text).map_or_else(|error| error.problems().to_vec(), |_| Vec::new())
}

#[test]
fn a_plan_has_all_fields() {
    let catalogue = PlanCatalogue::from_toml(
        r#"
        default = "pro"

        [[plans]]
        key = "pro"
        version = 3
        name = "Pro"
        description = "For teams."
        price = { amount = "29", currency = "USD", interval = "3 months" }
        yearly_price = "290.00"
        per_seat = true
        group = "team"
        provider_prices = { stripe = "price_1", apple = "com.example.pro" }
        yearly_provider_prices = { stripe = "price_2" }
        trial_days = 14
        trial_without_card = "cancel"
        features = ["sso", "export"]
        soft_limits = ["requests_per_month"]
        rate_limit = "600/minute burst 50"
        highlights = ["Ten projects"]
        listed = false

        [plans.limits]
        projects = 10
        requests_per_month = 100_000
        storage = "5 GiB"
        team_members = -1
        exports = 0
        "#,
    )
    .unwrap();
    let price = Money::parse("29.00", "USD").unwrap();
    let expected = PlanDefinition::new("pro", "Pro")
        .version(3)
        .describe("For teams.")
        .price(PlanPrice::Fixed { price, interval: "3 months".parse().unwrap() })
        .yearly_price(Money::parse("290.00", "USD").unwrap())
        .per_seat()
        .group("team")
        .provider_price("stripe", "price_1")
        .provider_price("apple", "com.example.pro")
        .yearly_provider_price("stripe", "price_2")
        .trial_days(14)
        .trial_without_card(TrialEndBehavior::Cancel)
        .feature("sso")
        .feature("export")
        .limit("projects", 10)
        .limit("api_requests", 100_000)
        .limit("storage_bytes", 5 << 30)
        .unlimited("team_members")
        .limit("exports", 0)
        .soft_limit("api_requests")
        .rate_limit(Rate::per_minute(600).burst(50))
        .highlight("Ten projects")
        .unlisted();
    assert_eq!(catalogue, PlanCatalogue::new([expected]).default_plan("pro"));
}

#[test]
fn a_plan_needs_a_key_and_a_name() {
    assert_eq!(problems_of(""), [""; 0]);
    let catalogue = PlanCatalogue::from_toml("default = \"a\"\n[[plans]]\nkey = \"a\"\nname = \"A\"").unwrap();
    assert_eq!(catalogue, PlanCatalogue::new([PlanDefinition::new("a", "A")]).default_plan("a"));
    let inline = "default = \"a\"\nplans = [{ key = \"a\", name = \"A\", price = \"custom\" }]";
    let custom = PlanCatalogue::from_toml(inline).unwrap();
    assert_eq!(custom.get("a").unwrap().price, PlanPrice::Custom);
}

#[test]
fn each_problem_names_the_plan_and_the_field() {
    for (more, field, message) in [
        ("version = \"2\"", "version", "must be a number from 1 to 2147483647"),
        ("version = 0", "version", "must be a number from 1 to 2147483647"),
        ("version = 4294967296", "version", "must be a number from 1 to 2147483647"),
        ("version = 4294967295", "version", "must be a number from 1 to 2147483647"),
        ("description = 1", "description", "must be text"),
        ("yearly_price = \"290\"", "yearly_price", "needs a `price` with an amount"),
        ("per_seat = 1", "per_seat", "must be true or false"),
        ("group = 1", "group", "must be text"),
        ("provider_prices = \"price_1\"", "provider_prices", "must be a table of names and ids"),
        ("yearly_provider_prices = { stripe = 1 }", "yearly_provider_prices", "must be a table of names and ids"),
        ("price = \"29.00\"", "price", "must be `free`, `custom`, or a table such as { amount"),
        ("price = 29", "price", "must be `free`, `custom`, or a table such as { amount"),
        (
            "price = { amount = 29, currency = \"USD\", interval = \"month\" }",
            "price.amount",
            "must be a decimal number as text, such as `29.00`",
        ),
        (
            "price = { amount = \"29.001\", currency = \"USD\", interval = \"month\" }",
            "price.amount",
            "the amount must have at most 2 decimals in USD",
        ),
        (
            "price = { amount = \"1.5\", currency = \"JPY\", interval = \"month\" }",
            "price.amount",
            "the amount must have at most 0 decimals in JPY",
        ),
        (
            "price = { amount = \"29.00\", currency = \"usd\", interval = \"month\" }",
            "price.currency",
            "the currency must be an ISO 4217 code in capitals, such as `USD`",
        ),
        (
            "price = { amount = \"29.00\", currency = \"USD\", interval = \"monthly\" }",
            "price.interval",
            "an interval is `day`, `week`, `month` or `year`",
        ),
        ("price = { amount = \"29.00\", currency = \"USD\" }", "price.interval", "is missing"),
        ("price = { currency = \"USD\", interval = \"month\" }", "price.amount", "is missing"),
        (
            "price = { amount = \"1\", currency = \"USD\", interval = \"month\", period = 1 }",
            "price.period",
            "is no field; the fields are `amount`, `currency`, `interval`",
        ),
        (
            "price = { amount = \"0\", currency = \"USD\", interval = \"month\" }",
            "price",
            "is 0.00 USD; it must be more than zero, or `free`",
        ),
        ("trial_days = -1", "trial_days", "must be a number from 0 to 65535"),
        ("trial_days = 1.5", "trial_days", "must be a number from 0 to 65535"),
        ("trial_without_card = true", "trial_without_card", "must be `pause`, `cancel` or `create_invoice`"),
        ("trial_without_card = \"stop\"", "trial_without_card", "must be `pause`, `cancel` or `create_invoice`"),
        ("trial_without_card = \"pause\"", "trial_without_card", "needs `trial_days`"),
        ("features = \"sso\"", "features", "must be a list of texts"),
        ("features = [\"sso\", 1]", "features", "must be a list of texts"),
        ("features = [\"\"]", "features", "has ``; a feature must be `*` or have 1 to 100 bytes"),
        ("limits = 5", "limits", "must be a table of numbers"),
        ("limits = { projects = -2 }", "limits.projects", "is -2; it must be -1 (unlimited), 0 (none) or more"),
        ("limits = { projects = 1.5 }", "limits.projects", "must be -1 (unlimited), 0 (none) or more, or a size"),
        ("limits = { projects = true }", "limits.projects", "must be -1 (unlimited), 0 (none) or more, or a size"),
        ("limits = { storage = \"5 gigs\" }", "limits.storage", "must be -1 (unlimited), 0 (none) or more, or a size"),
        ("limits = { Storage = 5 }", "limits.Storage", "must be named with 1 to 50 lower-case letters"),
        (
            "limits = { storage = 5, storage_bytes = 6 }",
            "limits.storage_bytes",
            "sets `storage_bytes` for the second time; the limit has two names",
        ),
        ("soft_limits = \"projects\"", "soft_limits", "must be a list of texts"),
        ("soft_limits = [\"projects\"]", "soft_limits", "has `projects`, for which the plan has no limit"),
        ("rate_limit = 600", "rate_limit", "must be text, such as `600/minute`"),
        ("rate_limit = \"600\"", "rate_limit", "`600` is not a rate: use a rate such as"),
        ("highlights = [1]", "highlights", "must be a list of texts"),
        ("listed = \"yes\"", "listed", "must be true or false"),
        ("feature = [\"sso\"]", "feature", "is no field; the fields are `key`, `version`, `name`"),
    ] {
        let problems = problems_of(more);
        assert_eq!(problems.len(), 1, "{more}: {problems:?}");
        let expected = format!("plan `free`, `{field}`: {message}");
        assert!(problems[0].starts_with(&expected), "{more}: {problems:?}");
    }
}

#[test]
fn problems_of_the_file_name_the_field() {
    let free = "[[plans]]\nkey = \"free\"\nname = \"Free\"\n";
    let file = |more: &str| format!("default = \"free\"\n{free}{more}");
    for (text, expected) in [
        (String::new(), "`plans`: must have a plan"),
        ("default = \"free\"\nplans = []".into(), "`plans`: must have a plan"),
        ("default = \"free\"\nplans = 1".into(), "`plans`: must be tables with the heading `[[plans]]`"),
        ("default = \"free\"\nplans = [1]".into(), "`plans`: must be tables with the heading `[[plans]]`"),
        (free.into(), "`default`: must be the key of a plan"),
        (format!("default = 1\n{free}"), "`default`: must be the key of a plan, as text"),
        (format!("default = \"pro\"\n{free}"), "`default`: is `pro`, but there is no such plan"),
        (format!("currency = 1\n{}", file("")), "`currency`: is no field; the fields are `default`, `plans`"),
        (file(free), "plan `free`, `version`: is 1 twice; remove a definition, or raise its version"),
        (file("[[plans]]\nname = \"P\""), "plan `#2`, `key`: must be 1 to 50 lower-case letters, digits, `_` and `-`"),
        (file("[[plans]]\nkey = 2\nname = \"Pro\""), "plan `#2`, `key`: must be text"),
        (file("[[plans]]\nkey = \"pro\""), "plan `pro`, `name`: must have 1 to 100 characters"),
    ] {
        let error = PlanCatalogue::from_toml(&text).unwrap_err();
        assert_eq!(error.problems(), [expected], "{text}");
        assert_eq!(error.to_string(), expected);
    }
    for (text, line) in [("default = free", "line 1: "), ("default = \"free\"\n\nplans = none\n", "line 3: ")] {
        let error = PlanCatalogue::from_toml(text).unwrap_err();
        assert!(error.to_string().starts_with(line), "{error}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = PlanCatalogue::from_toml(
        r#"
        default = "basic"
        [[plans]]
        name = "Free"
        limits = { projects = "many" }
        soft_limits = ["projects", "seats"]
        [[plans]]
        key = "pro"
        name = "Pro"
        price = { amount = "29.001", currency = "USD", interval = "monthly" }
        trial_days = "14"
        rate_limit = "fast"
        "#,
    )
    .unwrap_err();
    let fields: Vec<_> = error.problems().iter().map(|problem| problem.split(':').next().unwrap()).collect();
    let expected = [
        "plan `#1`, `limits.projects`",
        "plan `pro`, `trial_days`",
        "plan `pro`, `price.interval`",
        "plan `pro`, `price.amount`",
        "plan `pro`, `rate_limit`",
        "plan `#1`, `key`",
        "plan `#1`, `soft_limits`",
        "`default`",
    ];
    let (mut found, mut wanted) = (fields, expected.to_vec());
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn sizes_have_units() {
    for (text, bytes) in [
        ("0B", Some(0)),
        ("512 B", Some(512)),
        ("1kB", Some(1_000)),
        ("1MB", Some(1_000_000)),
        ("500GB", Some(500_000_000_000)),
        ("2TB", Some(2_000_000_000_000)),
        ("1KiB", Some(1_024)),
        ("1MiB", Some(1_048_576)),
        ("5GiB", Some(5_368_709_120)),
        ("1 TiB", Some(1_099_511_627_776)),
        ("9223372036854775807B", Some(i64::MAX)),
        ("9223372036854775808B", None),
        ("8388608TiB", None),
        ("", None),
        ("5", None),
        ("GiB", None),
        ("-1GiB", None),
        ("1.5GiB", None),
        ("5gib", None),
        ("5KB", None),
        ("5GiB ", None),
    ] {
        assert_eq!(size(text), bytes, "{text:?}");
    }
}

#[test]
fn the_sample_files_are_catalogues() {
    let monthly =
        |amount| PlanPrice::Fixed { price: Money::parse(amount, "USD").unwrap(), interval: BillingInterval::MONTH };
    let sample = |text| {
        let catalogue = PlanCatalogue::from_toml(text).unwrap();
        assert_eq!(catalogue.default_definition().unwrap().key, "free");
        assert!(catalogue.plans().all(|plan| plan.listed && !plan.highlights.is_empty()));
        catalogue
    };
    let prices = |catalogue: &PlanCatalogue| -> Vec<_> {
        catalogue.plans().map(|plan| (plan.key.clone(), plan.price)).collect()
    };
    let limits =
        |catalogue: &PlanCatalogue, name: &str| -> Vec<_> { catalogue.plans().map(|plan| plan.limits[name]).collect() };
    let owned = |prices: &[(&str, PlanPrice)]| -> Vec<_> {
        prices.iter().map(|(key, price)| ((*key).to_owned(), *price)).collect()
    };

    let saas = sample(include_str!("../../../plans/saas.toml"));
    let expected = [
        ("free", PlanPrice::Free),
        ("starter", monthly("29.00")),
        ("professional", monthly("99.00")),
        ("enterprise", monthly("299.00")),
    ];
    assert_eq!(prices(&saas), owned(&expected));

    let router = sample(include_str!("../../../plans/payment_router.toml"));
    let expected = [("free", PlanPrice::Free), ("pro", monthly("49.00")), ("enterprise", PlanPrice::Custom)];
    assert_eq!(prices(&router), owned(&expected));
    assert_eq!(limits(&router, "api_requests"), [1_000, 100_000, -1]);
    assert_eq!(limits(&router, "services"), [2, 10, -1]);
    assert_eq!(limits(&router, "team_members"), [1, 5, -1]);

    let code_fix = sample(include_str!("../../../plans/code_fix.toml"));
    let expected = [("free", PlanPrice::Free), ("pro", monthly("29.00")), ("enterprise", PlanPrice::Custom)];
    assert_eq!(prices(&code_fix), owned(&expected));
    assert_eq!(limits(&code_fix, "runs"), [10, 500, -1]);
    assert_eq!(limits(&code_fix, "ai_fixes"), [3, 100, -1]);
}
