//! Tests that each list request reads an index, and that a new search index has all rows, on each database.

use std::sync::{Arc, Mutex};

use omnistack::db::{Db, Migration, QueryEvent, QueryObserver};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};

use crate::{
    disabled_webhook::{sign_in, user},
    every_operation::operator,
};

#[path = "../../benches/lists/rows.rs"]
mod rows;

const ROWS: i64 = 30_000;

/// The page of the book that says how to change a search index.
const BOOK: &str = include_str!("../../../../docs/src/modules.md");

/// The statement of the book that lets only the names of projects be searched.
const NAMES_ONLY: &str = "select omnistack_search('projects', 'name');";
const DESCRIBE: &str = "update projects set description = 'A bodkin' where name = 'Needle'";
const NAMES: &[Migration] = &[
    Migration { name: "0001_names", postgres: NAMES_ONLY, sqlite: NAMES_ONLY },
    Migration { name: "0002_descriptions", postgres: DESCRIBE, sqlite: DESCRIBE },
];

/// The index of names, or the index of their unique constraint.
const BY_NAME: &str = "projects_by_name|projects_tenant_id_name_key|sqlite_autoindex_projects";

/// The requests of a member, and the indexes of which one statement must read one.
const PROJECTS: [(&str, &str); 9] = [
    ("", "projects_by_creation"),
    ("sort=name", BY_NAME),
    ("sort=-name&limit=100", BY_NAME),
    ("deleted=only", "projects_deleted"),
    ("created_at_gte=2030-01-01T00:00:00Z", "projects_by_creation"),
    ("name=Needle", BY_NAME),
    ("page=500", "projects_by_creation"),
    ("q=needle", "projects_search"),
    ("q=needle&page=1", "projects_search"),
];

/// The requests of an operator, the table, and the indexes of which one statement must read one.
const OPERATORS: [(&str, &str, &str); 16] = [
    ("users", "omni_users", "omni_users_by_creation"),
    ("users?sort=email", "omni_users", "omni_users_by_email"),
    ("users?sort=-name&page=100", "omni_users", "omni_users_by_name"),
    ("users?operator=true", "omni_users", "omni_users_operators"),
    ("users?active=false", "omni_users", "omni_users_disabled"),
    ("tenants?sort=name", "omni_tenants", "omni_tenants_by_name"),
    ("tenants?suspended=true", "omni_tenants", "omni_tenants_suspended"),
    ("audit-logs", "omni_audit_entries", "omni_audit_entries_newest"),
    ("audit-logs?action=needle.", "omni_audit_entries", "omni_audit_entries_newest_of_action"),
    ("audit-logs?tenant=TENANT&action=needle.", "omni_audit_entries", "omni_audit_entries_newest_of_tenant_and_action"),
    ("audit-logs?resource=project:7", "omni_audit_entries", "omni_audit_entries_newest_of_resource"),
    ("jobs?name=needle", "omni_jobs", "omni_jobs_of_name"),
    ("jobs?tenant=TENANT", "omni_jobs", "omni_jobs_of_tenant"),
    ("jobs?queue=needle", "omni_jobs", "omni_jobs_of_queue"),
    ("jobs?name=needle&state=dead", "omni_jobs", "omni_jobs_of_name|omni_jobs_dead"),
    ("jobs/queues", "omni_jobs", "omni_jobs_of_queue"),
];

/// Requests for lists of other modules. Each has the path after `/api/v1/`, the table, which is empty, and an index: one
/// statement must read the table in the order of this index.
const ORDERED: [(&str, &str, &str); 25] = [
    ("admin/billing/accounts?plan=needle", "omni_billing_accounts", "omni_billing_accounts_plan_idx"),
    ("admin/billing/invoices", "omni_invoices", "omni_invoices_environment_idx"),
    ("admin/billing/invoices?status=void", "omni_invoices", "omni_invoices_status_idx"),
    ("admin/billing/subscriptions", "omni_subscriptions", "omni_subscriptions_environment_idx"),
    ("admin/billing/subscriptions?status=canceled", "omni_subscriptions", "omni_subscriptions_status_idx"),
    ("admin/billing/subscriptions?plan=needle", "omni_subscriptions", "omni_subscriptions_plan_idx"),
    ("admin/billing/subscriptions?cleanup=failed", "omni_subscriptions", "omni_subscriptions_cleanup_state_idx"),
    ("admin/contact?status=spam", "omni_contact_messages", "omni_contact_messages_status_idx"),
    ("admin/errors/groups", "omni_error_groups", "omni_error_groups_last_seen_idx"),
    ("admin/errors/groups?status=ignored", "omni_error_groups", "omni_error_groups_status_idx"),
    ("admin/webhooks/endpoints?status=disabled", "omni_webhook_endpoints", "omni_webhook_endpoints_of_status"),
    ("admin/webhooks/events?source=needle", "omni_webhooks", "omni_webhooks_source_idx"),
    ("admin/webhooks/events?tenant=TENANT", "omni_webhooks", "omni_webhooks_tenant_id_idx"),
    ("app/ai/prompt-log", "omni_ai_prompt_log", "omni_ai_prompt_log_tenant_id_idx"),
    ("app/api-keys", "omni_api_keys", "omni_api_keys_of_tenant"),
    ("app/billing/provider-invoices", "omni_provider_invoices", "omni_provider_invoices_created_at_idx"),
    ("app/billing/wallet/statement", "omni_wallet_entries", "omni_wallet_entries_tenant_id_idx"),
    ("app/files", "omni_files", "omni_files_of_tenant"),
    ("app/files?deleted=true", "omni_files", "omni_files_deleted_of_tenant"),
    ("app/notifications", "omni_notifications", "omni_notifications_user_id_idx"),
    ("app/notifications?unread=true", "omni_notifications", "omni_notifications_unread_idx"),
    ("app/payments", "omni_payments", "omni_payments_tenant_id_idx"),
    ("app/payments?status=overpaid", "omni_payments", "omni_payments_status_idx"),
    ("app/webhooks/deliveries?state=skipped", "omni_webhook_deliveries", "omni_webhook_deliveries_of_state"),
    ("app/webhooks/logs", "omni_webhooks", "omni_webhooks_tenant_id_idx"),
];

#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl QueryObserver for Statements {
    fn observe(&self, event: QueryEvent<'_>) {
        self.0.lock().unwrap().push(event.sql.to_owned());
    }
}

impl Statements {
    /// Removes all statements and returns those that read this table or its search index.
    fn take(&self, table: &str) -> Vec<String> {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        let reads = |sql: &String| sql.contains(table) && (sql.starts_with("select") || sql.starts_with("with"));
        // A bounded count of all rows needs no index.
        let counts_any = |sql: &String| sql.contains(&format!("(select 1 from {table} limit"));
        all.into_iter().filter(|sql| reads(sql) && !counts_any(sql)).collect()
    }
}

on_each_database! {
    async fn each_list_reads_an_index(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let (member, operator) = (app.user(), app.operator());
        let tenant = member.identity().unwrap().tenant.unwrap();
        rows::add(app.db(), tenant, 1, ROWS).await;
        let statements = Statements::default();
        app.db().observe(statements.clone());
        let projects = PROJECTS.map(|(query, index)| (&member, format!("/api/v1/app/projects?{query}"), "projects", index));
        let operators = OPERATORS.map(|(path, table, index)| {
            (&operator, format!("/api/v1/admin/{}", path.replace("TENANT", &tenant.to_string())), table, index)
        });
        for (client, path, table, index) in projects.into_iter().chain(operators) {
            statements.take("");
            let answer = client.get(&path).await.expect(200).json();
            let found = answer["items"].as_array().or(answer.as_array()).unwrap().len();
            assert!(found > 0 || path.contains("operator=") || path.contains("active=") || path.contains("suspended="), "{path}");
            let mut plans = Vec::new();
            for sql in statements.take(table) {
                let plan = plan(app.db(), &sql).await;
                let reads = plan.iter().filter(|line| reads_all(line, table)).count();
                // A search reads the first rows of the list from a subquery, which has the name of the table.
                let first_rows = plan.iter().filter(|line| **line == format!("CO-ROUTINE {table}")).count();
                assert!(reads <= first_rows, "{path}\n{sql}\n{}", plan.join("\n"));
                plans.push(format!("{sql}\n{}", plan.join("\n")));
            }
            assert!(plans.iter().any(|plan| index.split('|').any(|index| plan.contains(index))), "{path} should read {index}\n{}", plans.join("\n\n"));
        }
    }

    async fn lists_of_other_modules_are_read_in_the_order_of_an_index(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let ada = user(&app, "ada@example.com").await;
        let (member, operator) = (sign_in(&app, ada).await, operator(&app, "boss@example.com").await);
        let statements = Statements::default();
        app.db().observe(statements.clone());
        for (path, table, index) in ORDERED {
            let client = if path.starts_with("admin/") { &operator } else { &member };
            let path = format!("/api/v1/{}", path.replace("TENANT", &ada.tenant.to_string()));
            statements.take("");
            client.get(&path).await.expect(200);
            let mut plans = Vec::new();
            for sql in statements.take(table) {
                plans.push(plan(app.db(), &sql).await);
            }
            assert!(!plans.iter().flatten().any(|step| reads_all(step, table)), "{path}: {plans:#?}");
            let in_order = |plan: &Vec<String>| plan.iter().any(|step| step.contains(index)) && !plan.iter().any(|step| sorts(step));
            assert!(plans.iter().any(in_order), "{path} should be read in the order of {index}: {plans:#?}");
        }
    }

    async fn a_new_search_index_has_the_rows_of_before(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let (member, other) = (app.user(), app.user());
        for client in [&member, &other] {
            let mut tx = app.db().all_tenants().begin().await.unwrap();
            let insert = tx.query(rows::PROJECTS).bind(1_i64).bind(3_000_i64);
            insert.bind(client.identity().unwrap().tenant.unwrap()).execute().await.unwrap();
            tx.commit().await.unwrap();
        }
        let found = async |client: &TestClient, text: &str| {
            let page = client.get(format!("/api/v1/app/projects?q={text}")).await.expect(200).json();
            let names = page["items"].as_array().unwrap().iter().map(|project| project["name"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        let page = member.get("/api/v1/app/projects?q=needle").await.expect(200).json();
        let needle = format!("/api/v1/app/projects/{}", page["items"][0]["id"].as_str().unwrap());
        member.patch(&needle, json!({"description": "A thimble"})).await.expect(200);
        assert_eq!(found(&member, "thimble").await, ["Needle"]);

        // From now on, only names are searched.
        assert!(BOOK.contains(NAMES_ONLY));
        app.db().migrate("names", NAMES).await.unwrap();
        assert!(found(&member, "thimble").await.is_empty());
        // The rows of all tenants have changed.
        let list = "/api/v1/app/projects?name=Needle";
        for client in [&member, &other] {
            let page = client.get(list).await.expect(200).json();
            assert_eq!(page["items"][0]["description"], "A bodkin");
        }
        for client in [&member, &other] {
            assert_eq!(found(client, "needle").await, ["Needle"]);
        }
        member.patch(&needle, json!({"name": "Thimble"})).await.expect(200);
        assert!(found(&member, "needle").await.is_empty());
        assert_eq!(found(&member, "thimble").await, ["Thimble"]);
        assert_eq!(found(&other, "needle").await, ["Needle"]);
    }
}

/// Returns whether a step of a plan reads the whole table.
fn reads_all(step: &str, table: &str) -> bool {
    let step = step.trim_start_matches([' ', '-', '>']);
    let on = |words: &str| step.strip_prefix(words).is_some_and(|rest| rest.split(' ').next() == Some(table));
    on("Seq Scan on ") || on("Parallel Seq Scan on ") || (on("SCAN ") && !step.contains("USING"))
}

/// Returns whether a step of a plan sorts rows.
fn sorts(step: &str) -> bool {
    let step = step.trim_start_matches([' ', '-', '>']);
    step.starts_with("Sort ") || step.starts_with("Incremental Sort ") || step == "USE TEMP B-TREE FOR ORDER BY"
}

/// Returns the steps of the generic plan.
async fn plan(db: &Db, sql: &str) -> Vec<String> {
    let Some(pool) = db.postgres() else {
        let explained: Vec<(i64, i64, i64, String)> = {
            let pool = db.sqlite_readers().unwrap();
            sqlx::query_as(AssertSqlSafe(format!("explain query plan {sql}"))).fetch_all(pool).await.unwrap()
        };
        return explained.into_iter().map(|(_, _, _, step)| step).collect();
    };
    let mut connection = pool.acquire().await.unwrap();
    // Some tables are so small that reading all of them would be cheapest. Without sequential scans, only a statement
    // that no index serves reads a whole table.
    let values = (1..20).take_while(|number| sql.contains(&format!("${number}"))).map(|_| "null").collect::<Vec<_>>();
    let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let script = format!(
        "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; prepare list as {sql}; explain execute list{values}"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(script)).fetch_all(&mut *connection).await.unwrap();
    sqlx::raw_sql("deallocate list; reset plan_cache_mode; reset enable_seqscan")
        .execute(&mut *connection)
        .await
        .unwrap();
    rows.into_iter().map(|row| row.get::<String, _>(0)).collect()
}
