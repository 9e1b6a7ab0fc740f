//! Other gateways: LiteLLM, TensorZero and Portkey. `cargo xtask bench ai` installs them.

use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    CHAT,
    load::{LoadRequest, Question},
    process::BenchProcess,
};

/// The time in which a gateway must answer its first request.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// LiteLLM's master key.
const KEY: &str = "sk-omnistack-bench";

/// A gateway that may be installed.
pub(crate) struct OtherKind {
    pub(crate) name: &'static str,
    /// The environment variable with its program or script.
    variable: &'static str,
    kind: OtherForm,
}

enum OtherForm {
    LiteLlm,
    TensorZero,
    Portkey,
}

/// The gateways. Their versions are those in `xtask/peers`.
pub(crate) const OTHERS: &[OtherKind] = &[
    OtherKind { name: "litellm[proxy] 1.108.1", variable: "BENCH_AI_LITELLM", kind: OtherForm::LiteLlm },
    OtherKind { name: "tensorzero 2026.6.0", variable: "BENCH_AI_TENSORZERO", kind: OtherForm::TensorZero },
    OtherKind { name: "@portkey-ai/gateway 1.15.2", variable: "BENCH_AI_PORTKEY", kind: OtherForm::Portkey },
];

/// A running gateway, and requests to it.
pub(crate) struct OtherGateway {
    pub(crate) process: BenchProcess,
    pub(crate) whole: LoadRequest,
    pub(crate) stream: LoadRequest,
}

impl OtherGateway {
    /// Starts a gateway in front of the upstream. Fails with the reason for which it can't be measured.
    pub(crate) async fn start(other: &OtherKind, upstream: SocketAddr) -> Result<Self, String> {
        let Ok(program) = env::var(other.variable) else { return Err("not installed".to_owned()) };
        let mut started = match other.kind {
            OtherForm::LiteLlm => Self::start_litellm(&program, upstream).await,
            OtherForm::TensorZero => Self::start_tensorzero(&program, upstream).await?,
            OtherForm::Portkey => Self::start_portkey(&program, upstream).await,
        };
        let begun = Instant::now();
        while !started.whole.works().await {
            if started.process.has_ended() {
                return Err("it ended at its start".to_owned());
            }
            if begun.elapsed() > START_TIMEOUT {
                started.process.stop().await;
                return Err(format!("no answer within {} s", START_TIMEOUT.as_secs()));
            }
            sleep(PROBE_INTERVAL).await;
        }
        Ok(started)
    }

    async fn start_litellm(program: &str, upstream: SocketAddr) -> Self {
        let file = config_file(
            "litellm.yaml",
            &format!(
                "model_list:\n  - model_name: fake-small\n    litellm_params:\n      model: openai/fake-small\n      \
                 api_base: http://{upstream}/v1\n      api_key: key\ngeneral_settings:\n  master_key: {KEY}\n"
            ),
        );
        let address = free_address();
        let port = address.port().to_string();
        let arguments = ["--config", &file, "--host", "127.0.0.1", "--port", &port, "--num_workers", "1"];
        let variables = [("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("LITELLM_LOG", "ERROR")];
        let process = BenchProcess::start_gateway(program, &arguments, &variables, false).await;
        let key = format!("Bearer {KEY}");
        let to = |question| LoadRequest::new(address, CHAT, &[("authorization", &key)], "fake-small", question);
        Self { process, whole: to(Question::Whole), stream: to(Question::Stream) }
    }

    async fn start_tensorzero(python: &str, upstream: SocketAddr) -> Result<Self, String> {
        let file = config_file(
            "tensorzero.toml",
            &format!(
                "[gateway]\nobservability.enabled = false\n\n[models.small]\nrouting = [\"upstream\"]\n\n\
                 [models.small.providers.upstream]\ntype = \"openai\"\napi_base = \"http://{upstream}/v1\"\n\
                 model_name = \"fake-small\"\napi_key_location = \"none\"\n"
            ),
        );
        let script = env::var("BENCH_AI_TENSORZERO_SCRIPT").map_err(|_| "not installed".to_owned())?;
        let variables = [("TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS", "1")];
        let mut process = BenchProcess::start_gateway(python, &[&script, &file], &variables, true).await;
        // It prints lines of its log before its base URL.
        let address = loop {
            let Some(line) = process.next_line().await else { return Err("it ended at its start".to_owned()) };
            let host = line.strip_prefix("http://").and_then(|rest| rest.split('/').next());
            if let Some(address) = host.and_then(|host| host.parse().ok()) {
                break address;
            }
        };
        process.ignore_output();
        let path = format!("/openai{CHAT}");
        let to = |question| LoadRequest::new(address, &path, &[], "tensorzero::model_name::small", question);
        Ok(Self { whole: to(Question::Whole), stream: to(Question::Stream), process })
    }

    async fn start_portkey(script: &str, upstream: SocketAddr) -> Self {
        let address = free_address();
        let port = format!("--port={}", address.port());
        let variables = [("TRUSTED_CUSTOM_HOSTS", "127.0.0.1,localhost")];
        let process = BenchProcess::start_gateway("node", &[script, "--headless", &port], &variables, false).await;
        let host = format!("http://{upstream}/v1");
        let headers =
            [("authorization", "Bearer key"), ("x-portkey-provider", "openai"), ("x-portkey-custom-host", &host)];
        let to = |question| LoadRequest::new(address, CHAT, &headers, "fake-small", question);
        Self { process, whole: to(Question::Whole), stream: to(Question::Stream) }
    }
}

/// Writes a file with the settings of a gateway, and returns its path.
fn config_file(name: &str, text: &str) -> String {
    let path: PathBuf = env::temp_dir().join(format!("omnistack-bench-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
