//! A replica of an app in a process of its own, which a test can kill.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::request::Parts;
use omnistack_core::{
    ShutdownToken,
    app::{App, Server},
    async_trait,
    clock::Clock,
    config::Config,
    http::Error,
    identity::{Authenticate, Authenticator, Identity, Permissions, TenantId, UserId, bearer_token},
    module::{Module, Registry},
};
use omnistack_realtime::{ChannelRule, Channels, Realtime};
use omnistack_testkit::TestDatabase;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use uuid::Uuid;

/// The variables by which a replica gets the URL of its database and its settings, as a JSON object.
const DATABASE: &str = "REALTIME_REPLICA_DATABASE";
const SETTINGS: &str = "REALTIME_REPLICA_SETTINGS";
/// The text that a replica writes before its address.
const LISTENING: &str = "listening on ";
/// Longest time until a replica has started or ended.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The rules of the replicas' channels.
pub(crate) fn channels() -> Channels {
    let day = Duration::from_secs(24 * 60 * 60);
    let open = |pattern: &str| ChannelRule::new(pattern).subscribe(|_, _| true).publish(|_, _| true);
    Channels::new()
        .rule(open("room:{id}").join_leave())
        .rule(open("run:{id}").history(10_000, day))
        .rule(open("wide:{id}").history(100, day))
        .rule(ChannelRule::new("secret:{id}").subscribe(|caller, _| caller.can("secrets:read")))
}

/// Callers whose access tokens say who they are, so that all processes of a test agree on them.
#[derive(Clone, Default)]
pub(crate) struct TokenCallers(Arc<OnceLock<Clock>>);

#[derive(Deserialize)]
struct TokenClaims {
    sub: UserId,
    tenant: TenantId,
    permissions: String,
    exp: Option<i64>,
}

impl Module for TokenCallers {
    fn name(&self) -> &'static str {
        "test-callers"
    }

    fn register(&self, registry: &mut Registry) {
        _ = self.0.set(registry.clock());
        registry.provide(Authenticator::new(self.clone()));
    }
}

#[async_trait]
impl Authenticate for TokenCallers {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let Some(token) = bearer_token(request) else { return Ok(None) };
        let refused = || Error::unauthorized("the token is not one of the test");
        let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims = claims.and_then(|claims| serde_json::from_slice::<TokenClaims>(&claims).ok());
        let claims = claims.ok_or_else(refused)?;
        let now = self.0.get().ok_or_else(refused)?.now().as_seconds();
        if claims.exp.is_some_and(|expiry| expiry <= now) {
            return Err(refused());
        }
        let permissions = match claims.permissions.as_str() {
            "all" => Permissions::all(),
            permissions => permissions.parse().map_err(|_| refused())?,
        };
        Ok(Some(Identity::user(claims.sub).for_tenant(claims.tenant).with_permissions(permissions)))
    }
}

/// Creates an access token of a user, which expires after a number of seconds if there is one.
pub(crate) fn token(tenant: TenantId, user: UserId, permissions: &str, expires_in: Option<i64>) -> String {
    let exp = expires_in.map(|seconds| Clock::system().now().as_seconds() + seconds);
    // Tokens of the same user differ, as those of a real provider do.
    let claims = json!({
        "sub": user.to_string(), "tenant": tenant.to_string(), "permissions": permissions, "exp": exp,
        "jti": Uuid::new_v4(),
    });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// The procedure that returns the id of the caller.
async fn caller(caller: Identity, _: Value) -> Result<Value, Error> {
    Ok(json!(caller.user))
}

fn variable(name: &str) -> Option<String> {
    Config::from_env().get(name).map(|(value, _)| value.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child process of other tests"]
async fn child_that_serves() {
    let (Some(database), Some(settings)) = (variable(DATABASE), variable(SETTINGS)) else { return };
    let settings: BTreeMap<String, String> = serde_json::from_str(&settings).unwrap();
    let config = Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", database.as_str()),
        ("DATABASE_SYNCHRONOUS", "off"),
        ("HTTP_RATE_LIMIT", "off"),
    ]);
    let builder = App::builder(config)
        .clock(Clock::system())
        .with(TokenCallers::default())
        .with(Realtime::from_env().channels(channels()).procedure("caller", caller));
    let app = settings.into_iter().fold(builder, |app, (name, value)| app.set(name, value)).build().unwrap();
    app.migrate().await.unwrap();
    app.start().await.unwrap();
    let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), app.server_settings()).await.unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    println!("{LISTENING}{}", server.local_addr().unwrap());
    let shutdown = ShutdownToken::new();
    let terminated = async {
        terminate.recv().await;
        shutdown.cancel();
    };
    tokio::join!(app.serve(server, shutdown.clone()), terminated);
}

/// A replica. Dropping it kills it.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    process: Child,
    _database: TestDatabase,
}

impl Replica {
    /// Starts a replica on a database of its own.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::sqlite();
        let settings: BTreeMap<&str, &str> = settings.iter().copied().collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "replicas::process::child_that_serves", "--ignored", "--nocapture"]);
        command.env(DATABASE, database.url()).env(SETTINGS, json!(settings).to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    return address.parse().unwrap();
                }
            }
            panic!("the replica ended")
        };
        let address = timeout(START_TIMEOUT, address).await.unwrap();
        // Read the rest of its output, so that the pipe does not fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, process, _database: database }
    }

    /// Kills the process by SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Shuts the process down by SIGTERM, and waits until it has ended.
    pub(crate) async fn terminate(&mut self) {
        let id = self.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let ended = timeout(START_TIMEOUT, self.process.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }
}
