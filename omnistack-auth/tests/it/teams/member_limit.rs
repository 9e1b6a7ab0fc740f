//! Tests of the limit `team_members` of a tenant's plan.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use omnistack_auth::{Auth, users::CreatedUser};
use omnistack_core::{
    async_trait,
    email::MemoryProvider,
    http::Error,
    identity::{Entitlements, LimitedResources, Plan, PlanNeed, PlanSource, PlanUpgrade, TenantId},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{TEAMS, token_of};
use crate::support::{client, sign_in, start_app, verified};

const ACCEPT: &str = "/api/v1/app/invitations/accept";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Plans that limit the number of members, with a limit that changes.
#[derive(Clone)]
struct MemberLimit(Arc<AtomicU64>);

#[async_trait]
impl PlanSource for MemberLimit {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(Arc::new(Plan::new("small").limit("team_members", self.0.load(Ordering::SeqCst))))
    }

    fn upgrade(&self, _: &Plan, need: PlanNeed<'_>) -> Option<PlanUpgrade> {
        let large = PlanUpgrade { plan: "large".into(), name: "Large".into() };
        matches!(need, PlanNeed::Limit { name: "team_members", .. }).then_some(large)
    }
}

struct LimitedTeam {
    app: TestApp,
    outbox: MemoryProvider,
    limit: MemberLimit,
    id: TenantId,
    owner: CreatedUser,
    client: TestClient,
}

impl LimitedTeam {
    /// Creates a team whose only member is its owner.
    async fn start(database: TestDatabase, limit: u64) -> Self {
        let limit = MemberLimit(Arc::new(AtomicU64::new(limit)));
        let entitlements = Entitlements::new(limit.clone());
        let (app, outbox) = start_app(database, |app| app.with(Auth::built_in()).replace(entitlements)).await;
        let (owner, client) = verified(&app, "owner@example.com").await;
        let made = client.post(TEAMS, json!({ "name": "Acme", "slug": "acme" })).await.expect(201).json();
        let id = made["id"].as_str().unwrap().parse().unwrap();
        Self { app, outbox, limit, id, owner, client }
    }

    fn set_limit(&self, limit: u64) {
        self.limit.0.store(limit, Ordering::SeqCst);
    }

    fn path(&self, rest: &str) -> String {
        format!("{TEAMS}/{}{rest}", self.id)
    }

    async fn invite(&self, email: &str) -> TestResponse {
        self.client.post(self.path("/invitations"), json!({ "email": email, "role": "viewer" })).await
    }

    async fn resend(&self, invitation: &Value) -> TestResponse {
        let path = self.path(&format!("/invitations/{}/resend", invitation["id"].as_str().unwrap()));
        self.client.post(path, ()).await
    }

    async fn members(&self) -> usize {
        self.client.get(self.path("/members")).await.expect(200).json()["items"].as_array().unwrap().len()
    }

    async fn counted(&self) -> u64 {
        let resources: LimitedResources = self.app.app().context().get().unwrap();
        resources.count("team_members", self.id).await.unwrap().unwrap()
    }
}

/// Returns the details of a refusal by the plan.
fn refusal(response: TestResponse) -> Value {
    response.expect_error(402, "PLAN_LIMIT_REACHED").json()["error"]["details"].clone()
}

on_each_database! {
    async fn members_and_open_invitations_count(database: TestDatabase) {
        let team = LimitedTeam::start(database, 2).await;
        assert_eq!(team.counted().await, 1);
        team.invite("ada@example.com").await.expect(201);
        assert_eq!(team.counted().await, 2);
        let upgrade = json!({ "plan": "large", "name": "Large" });
        assert_eq!(
            refusal(team.invite("eve@example.com").await),
            json!({ "limit": "team_members", "used": 2, "allowed": 2, "plan": "small", "upgrade": upgrade })
        );
        let invitations = team.client.get(team.path("/invitations")).await.expect(200).json();
        assert_eq!(invitations["items"].as_array().unwrap().len(), 1, "the refused one was not stored");

        // The invitation holds a place, also under a limit that was lowered since.
        team.set_limit(1);
        team.app.run_jobs().await;
        let token = token_of(&team.outbox.take().pop().unwrap());
        let (_, ada) = verified(&team.app, "ada@example.com").await;
        ada.post(ACCEPT, json!({ "token": token })).await.expect(200);
        assert_eq!((team.members().await, team.counted().await), (2, 2), "no member was removed");
        let refused = refusal(team.invite("eve@example.com").await);
        assert_eq!((&refused["used"], &refused["allowed"]), (&json!(2), &json!(1)));

        team.set_limit(3);
        team.invite("eve@example.com").await.expect(201);
    }

    async fn an_expired_invitation_holds_no_place(database: TestDatabase) {
        let mut team = LimitedTeam::start(database, 2).await;
        let ada = team.invite("ada@example.com").await.expect(201).json();
        team.resend(&ada).await.expect(200);
        team.app.clock().advance(WEEK);
        team.client = client(&team.app, &sign_in(&team.app, team.owner).await);
        assert_eq!(team.counted().await, 1);
        let eve = team.invite("eve@example.com").await.expect(201).json();
        assert_eq!(refusal(team.resend(&ada).await)["used"], 2);
        team.client.delete(team.path(&format!("/invitations/{}", eve["id"].as_str().unwrap()))).await.expect(204);
        team.resend(&ada).await.expect(200);
        refusal(team.invite("eve@example.com").await);
    }

    async fn concurrent_invitations_never_exceed_the_limit(database: TestDatabase) {
        let team = LimitedTeam::start(database, 4).await;
        let emails: Vec<_> = (0..8).map(|number| format!("user{number}@example.com")).collect();
        let responses = join_all(emails.iter().map(|email| team.invite(email))).await;
        let (created, refused): (Vec<_>, Vec<_>) = responses.into_iter().partition(|response| response.status == 201);
        assert_eq!((created.len(), team.counted().await), (3, 4));
        for response in refused {
            assert_eq!(refusal(response)["used"], 4);
        }
    }
}
