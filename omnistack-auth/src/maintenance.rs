//! Maintenance jobs that run on a schedule.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::jobs::{Job, JobContext, JobError};
use serde::{Deserialize, Serialize};

use crate::{
    api_key::ApiKeys,
    tenant::{Tenants, invitation::Invitations},
    wiring::Services,
};

/// The job that rotates signing keys and deletes expired sessions, tokens, counters and accounts. Runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AuthMaintenance {}

/// The maximum number of rows that one statement deletes.
const MAX_ROWS_PER_DELETE: i64 = 1000;

#[async_trait]
impl Job for AuthMaintenance {
    const NAME: &'static str = "auth.run_maintenance";
    type State = (Services, (Duration, Duration));

    async fn run(self, (services, (key, token)): &Self::State, _: &JobContext) -> Result<(), JobError> {
        services.keys.rotate(*key, *token + Duration::from_secs(60 * 60)).await?;
        while services.sessions.sweep(MAX_ROWS_PER_DELETE).await? > 0 {}
        while services.authenticator.sync.delete_expired_deliveries(MAX_ROWS_PER_DELETE).await? > 0 {}
        services.accounts.sweep(MAX_ROWS_PER_DELETE).await?;
        Ok(())
    }
}

/// The job that deletes teams whose deletion is due, expired invitations and expired API keys. Runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TeamMaintenance {}

#[async_trait]
impl Job for TeamMaintenance {
    const NAME: &'static str = "auth.run_team_maintenance";
    type State = (Tenants, Invitations, ApiKeys);

    async fn run(self, (tenants, invitations, keys): &Self::State, _: &JobContext) -> Result<(), JobError> {
        while tenants.sweep(10).await? > 0 {}
        while invitations.sweep(MAX_ROWS_PER_DELETE).await? > 0 {}
        while keys.sweep(MAX_ROWS_PER_DELETE).await? > 0 {}
        Ok(())
    }
}
