//! Tests of notifications.

#![cfg(test)]

mod deliveries;
mod digests;
mod exports;
mod outbox;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use omnistack_core::{
    app::AppBuilder,
    async_trait,
    db::{self, Tx},
    email::{FindUserContact, UserContact, UserContacts},
    events::{TenantDeleted, UserDeleted},
    http::{Error, Method},
    id::Id,
    identity::{Identity, Permissions, TenantId, UserId},
    jobs::{Job, JobContext, JobError},
    module::{Module, Registry},
    notification::{NewNotification, NotificationPreference, Notifier},
    realtime::{PublishRealtime, RealtimeMessage, RealtimePublisher},
};
use omnistack_realtime::Realtime;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const PATH: &str = "/api/v1/app/notifications";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory in which every user has the address `ID@example.com`, and is a member of all tenants but some.
#[derive(Clone, Default)]
struct Directory {
    former: Arc<Mutex<HashSet<(UserId, TenantId)>>>,
    germans: Arc<Mutex<HashSet<UserId>>>,
}

#[async_trait]
impl FindUserContact for Directory {
    async fn find(&self, user: UserId, tenant: Option<TenantId>) -> Result<Option<UserContact>, db::Error> {
        if tenant.is_some_and(|tenant| self.former.lock().unwrap().contains(&(user, tenant))) {
            return Ok(None);
        }
        let locale = self.germans.lock().unwrap().contains(&user).then(|| "de-AT".to_owned());
        Ok(Some(UserContact::new(address(user).parse().unwrap(), locale)))
    }
}

fn address(user: UserId) -> String {
    format!("{user}@example.com")
}

/// A publisher that keeps the messages of committed transactions.
#[derive(Clone, Default)]
struct KeptMessages(Arc<Mutex<Vec<(String, Value)>>>);

#[async_trait]
impl PublishRealtime for KeptMessages {
    async fn publish(&self, message: RealtimeMessage) -> Result<(), Error> {
        self.0.lock().unwrap().push((message.channel.name().to_owned(), message.data));
        Ok(())
    }

    async fn publish_in(&self, tx: &mut Tx, message: RealtimeMessage) -> Result<(), db::Error> {
        let kept = self.0.clone();
        tx.on_commit(move || kept.lock().unwrap().push((message.channel.name().to_owned(), message.data)));
        Ok(())
    }
}

/// A module of the app with one kind of notifications for each default preference.
struct Comments(Directory);

impl Module for Comments {
    fn name(&self) -> &'static str {
        "comments"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .provide(UserContacts::new(self.0.clone()))
            .notification_kind("comment.live", "Comments", NotificationPreference::Live)
            .notification_kind("comment.mail", "Mentions", NotificationPreference::Mail)
            .notification_kind("comment.both", "Replies", NotificationPreference::Both)
            .notification_kind("comment.none", "Likes", NotificationPreference::None);
    }
}

/// The module's own jobs, as their crons enqueue them.
#[derive(Serialize, Deserialize)]
struct FindDigests {}

#[async_trait]
impl Job for FindDigests {
    const NAME: &'static str = "realtime.find_notification_digests";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Purge {}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "realtime.purge_notifications";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

struct Notified {
    app: TestApp,
    directory: Directory,
    messages: KeptMessages,
}

async fn start(database: TestDatabase, assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> Notified {
    let (directory, messages) = (Directory::default(), KeptMessages::default());
    let comments = Comments(directory.clone());
    let publisher = RealtimePublisher::new(messages.clone());
    let app = TestApp::start(database, |app| {
        assemble(app.named("Shop", "1.0.0").with(Realtime::from_env()).with(comments).replace(publisher))
    })
    .await;
    Notified { app, directory, messages }
}

impl Notified {
    fn notifier(&self) -> Notifier {
        self.app.app().context().get().unwrap()
    }

    /// Notifies in a transaction that is not limited to a tenant, and a second after the last notification.
    async fn notify(&self, notification: NewNotification) {
        self.app.clock().advance(Duration::from_secs(1));
        let mut tx = self.app.db().begin().await.unwrap();
        self.notifier().notify_in(&mut tx, notification).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Returns a client of the same user in another tenant, or in none.
    fn in_tenant(&self, client: &TestClient, tenant: Option<TenantId>) -> TestClient {
        let identity = Identity::user(user(client)).with_permissions(Permissions::all());
        self.app.client_as(match tenant {
            Some(tenant) => identity.for_tenant(tenant),
            None => identity,
        })
    }

    /// Returns the messages since the last call.
    fn messages(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.messages.0.lock().unwrap())
    }

    async fn send_digests(&self) {
        self.app.jobs().enqueue(FindDigests {}).await.unwrap();
        self.app.run_jobs().await;
    }

    /// Returns the number of mails to the user of a client.
    fn mails(&self, client: &TestClient) -> usize {
        self.app.sent_mails().to(&address(user(client))).len()
    }

    async fn rows(&self) -> i64 {
        let mut tx = self.app.db().app_database().all_tenants().begin_read().await.unwrap();
        let (rows,): (i64,) = tx.query("select count(*) from omni_notifications").fetch_one().await.unwrap();
        rows
    }
}

fn user(client: &TestClient) -> UserId {
    client.identity().unwrap().user
}

fn tenant(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

fn new_tenant() -> TenantId {
    Id::from_uuid(Uuid::new_v4())
}

/// Returns the titles of a page.
async fn titles(client: &TestClient, query: &str) -> Vec<String> {
    let page = client.get(format!("{PATH}?{query}")).await.expect(200).json();
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

async fn unread(client: &TestClient) -> Value {
    client.get(format!("{PATH}/unread-count")).await.expect(200).json()["count"].clone()
}

async fn set_preferences(client: &TestClient, digest: bool, kinds: Value) -> TestResponse {
    let body = json!({ "digest": digest, "kinds": kinds });
    client.request(Method::PUT, format!("{PATH}/preferences")).json(body).await
}

on_each_database! {
    async fn lists_have_pages_and_unread_notifications_are_counted(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        for number in 1..=5 {
            let new = NewNotification::new(user(&ada), "comment.live", number.to_string());
            it.notify(if number % 2 == 0 { new.tenant(tenant(&ada)) } else { new }).await;
        }
        assert_eq!(unread(&ada).await, 5);
        let first = ada.get(format!("{PATH}?limit=2")).await.expect(200).json();
        let cursor = first["next_cursor"].as_str().unwrap();
        assert_eq!(titles(&ada, "limit=2").await, ["5", "4"]);
        assert_eq!(titles(&ada, &format!("limit=3&cursor={cursor}")).await, ["3", "2", "1"]);
        ada.get(format!("{PATH}?cursor=x")).await.expect_error(422, "VALIDATION_FAILED");
        ada.get(format!("{PATH}?limit=101")).await.expect_error(422, "VALIDATION_FAILED");

        let newest = first["items"][0]["id"].as_str().unwrap();
        ada.post(format!("{PATH}/{newest}/read"), json!({})).await.expect(200);
        assert_eq!(unread(&ada).await, 4);
        assert_eq!(titles(&ada, "unread=true").await, ["4", "3", "2", "1"]);
        it.messages();
        assert_eq!(ada.post(format!("{PATH}/read-all"), json!({})).await.expect(200).json(), json!({ "read": 4 }));
        let told = json!({ "type": "notification.all_read", "tenant_id": tenant(&ada) });
        assert_eq!(it.messages(), [(format!("user:{}", user(&ada)), told)]);
        assert_eq!(unread(&ada).await, 0);
        assert_eq!(titles(&ada, "").await.len(), 5);
    }

    async fn users_reach_only_their_own_notifications_of_the_tenant(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        let elsewhere = new_tenant();
        let new = |title: &str| NewNotification::new(user(&ada), "comment.live", title);
        it.notify(new("here").tenant(tenant(&ada))).await;
        it.notify(new("elsewhere").tenant(elsewhere)).await;
        it.notify(new("everywhere")).await;
        let colleague = it.app.client_as(
            Identity::user(Id::from_uuid(Uuid::new_v4())).for_tenant(tenant(&ada)).with_permissions(Permissions::all()),
        );
        let views = [
            (ada.clone(), vec!["everywhere", "here"]),
            (it.in_tenant(&ada, Some(elsewhere)), vec!["everywhere", "elsewhere"]),
            (it.in_tenant(&ada, None), vec!["everywhere"]),
            (colleague.clone(), vec![]),
            (it.app.user(), vec![]),
        ];
        for (client, expected) in &views {
            assert_eq!(titles(client, "").await, *expected);
            assert_eq!(unread(client).await, expected.len());
        }

        let page = ada.get(PATH).await.expect(200).json();
        let here = page["items"][1]["id"].as_str().unwrap();
        for (client, _) in &views[1..] {
            client.post(format!("{PATH}/{here}/read"), json!({})).await.expect_error(404, "NOT_FOUND");
        }
        assert_eq!(colleague.post(format!("{PATH}/read-all"), json!({})).await.expect(200).json()["read"], 0);
        let other = it.in_tenant(&ada, Some(elsewhere));
        assert_eq!(other.post(format!("{PATH}/read-all"), json!({})).await.expect(200).json()["read"], 2);
        assert_eq!(titles(&ada, "unread=true").await, ["here"]);

        it.app.anonymous().get(PATH).await.expect(401);
        let key = it.app.client_as(ada.identity().unwrap().clone().into_service_account());
        key.get(PATH).await.expect_error(403, "API_KEY_REFUSED");
        let operator = ada.identity().unwrap().clone().with_impersonator(Id::from_uuid(Uuid::new_v4()));
        it.app.client_as(operator).get(PATH).await.expect_error(403, "IMPERSONATION_REFUSED");
    }

    async fn preferences_decide_what_a_user_gets(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let kinds = ["comment.both", "comment.live", "comment.mail", "comment.none"];
        let effects = [("live", (1, 1, 0)), ("mail", (1, 0, 1)), ("both", (1, 1, 1)), ("none", (0, 0, 0))];
        for kind in kinds {
            for (preference, expected) in effects {
                let ada = it.app.user();
                let default = kind.strip_prefix("comment.").unwrap();
                if preference != default {
                    let choice = json!([{ "kind": kind, "preference": preference }]);
                    set_preferences(&ada, true, choice).await.expect(200);
                }
                it.notify(NewNotification::new(user(&ada), kind, "Hello").tenant(tenant(&ada))).await;
                it.app.run_jobs().await;
                let got = (titles(&ada, "").await.len(), it.messages().len(), it.mails(&ada));
                assert_eq!(got, expected, "{kind} with {preference}");
            }
        }
    }

    async fn preferences_are_listed_replaced_and_checked(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        let path = format!("{PATH}/preferences");
        let kind = |name: &str, title: &str, preference: &str| {
            let default = name.strip_prefix("comment.").unwrap();
            json!({ "kind": name, "title": title, "preference": preference, "default": default })
        };
        let expected = json!({ "digest": true, "kinds": [
            kind("comment.both", "Replies", "both"), kind("comment.live", "Comments", "live"),
            kind("comment.mail", "Mentions", "mail"), kind("comment.none", "Likes", "none"),
        ] });
        assert_eq!(ada.get(&path).await.expect(200).json(), expected);

        set_preferences(&ada, true, json!([{ "kind": "comment.live", "preference": "none" }])).await.expect(200);
        let set = set_preferences(&ada, false, json!([{ "kind": "comment.none", "preference": "live" }])).await;
        let expected = json!({ "digest": false, "kinds": [
            kind("comment.both", "Replies", "both"), kind("comment.live", "Comments", "live"),
            kind("comment.mail", "Mentions", "mail"), kind("comment.none", "Likes", "live"),
        ] });
        assert_eq!(set.expect(200).json(), expected);
        assert_eq!(ada.get(&path).await.expect(200).json(), expected);
        let elsewhere = it.in_tenant(&ada, Some(new_tenant()));
        assert_eq!(elsewhere.get(&path).await.expect(200).json(), expected);
        assert_eq!(it.app.user().get(&path).await.expect(200).json()["digest"], true);

        let live = json!({ "kind": "comment.live", "preference": "live" });
        for kinds in [
            json!([{ "kind": "comment.unknown", "preference": "live" }]),
            json!([{ "kind": "comment.live", "preference": "push" }]),
            json!([live, live]),
            json!([{ "kind": "comment.live" }]),
        ] {
            let refused = set_preferences(&ada, true, kinds.clone()).await;
            assert!([400, 422].contains(&refused.status.as_u16()), "{kinds}: {}", refused.text());
        }
        assert_eq!(ada.get(&path).await.expect(200).json(), expected);
    }

    async fn notifications_are_kept_for_a_while(database: TestDatabase) {
        let it = start(database, |app| app.set("NOTIFICATIONS_KEEP", "10d")).await;
        let ada = it.app.user();
        it.notify(NewNotification::new(user(&ada), "comment.live", "old").tenant(tenant(&ada))).await;
        it.app.clock().advance(DAY * 9);
        it.notify(NewNotification::new(user(&ada), "comment.live", "new")).await;
        for (days, expected) in [(0, vec!["new", "old"]), (2, vec!["new"])] {
            it.app.clock().advance(DAY * days);
            it.app.jobs().enqueue(Purge {}).await.unwrap();
            it.app.run_jobs().await;
            assert_eq!(titles(&ada, "").await, expected);
        }
    }

    async fn notifications_are_deleted_with_their_user_and_tenant(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let (ada, bo) = (it.app.user(), it.app.user());
        for client in [&ada, &bo] {
            it.notify(NewNotification::new(user(client), "comment.live", "own")).await;
            it.notify(NewNotification::new(user(client), "comment.live", "team").tenant(tenant(client))).await;
            set_preferences(client, false, json!([])).await.expect(200);
        }
        it.app.events().publish(&UserDeleted::new(user(&ada))).await.unwrap();
        it.app.run_events().await;
        assert_eq!((titles(&ada, "").await.len(), titles(&bo, "").await.len()), (0, 2));
        let preferences: Vec<(UserId,)> =
            it.app.db().query("select user_id from omni_notification_preferences").fetch_all().await.unwrap();
        assert_eq!(preferences, [(user(&bo),)]);

        it.app.events().publish(&TenantDeleted::new(tenant(&bo))).await.unwrap();
        it.app.run_events().await;
        it.app.run_jobs().await;
        assert_eq!(titles(&bo, "").await, ["own"]);
        assert_eq!(it.rows().await, 1);
    }

    /// On PostgreSQL, row-level security hides the rows of other tenants from a query without a condition.
    async fn row_level_security_hides_other_tenants(database: TestDatabase) {
        let it = start(database, |app| app).await;
        let ada = it.app.user();
        let db = it.app.db();
        for tenant in [Some(tenant(&ada)), Some(new_tenant()), None] {
            let new = NewNotification::new(user(&ada), "comment.live", "Hello");
            it.notify(tenant.into_iter().fold(new, NewNotification::tenant)).await;
        }
        if db.dialect() == db::Dialect::Sqlite {
            return;
        }
        for (tx, expected) in [
            (db.tenant(tenant(&ada)).begin_read().await, 2),
            (db.begin_read().await, 1),
            (db.all_tenants().begin_read().await, 3),
        ] {
            let (rows,): (i64,) =
                tx.unwrap().query("select count(*) from omni_notifications").fetch_one().await.unwrap();
            assert_eq!(rows, expected);
        }
    }
}
