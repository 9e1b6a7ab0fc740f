//! The commands below `webhooks`.

use std::{io::Read as _, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::health::local_address;
use crate::{
    RunError,
    app::{App, output::print_line},
    clock::Clock,
    config::PublicUrl,
    identity::TenantId,
    module::MissingDependency,
    webhook::{SampleKeys, WebhookRequest, WebhookSources},
};

/// Longest time for the app to respond. It answers a provider within milliseconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the subcommands and their arguments.
pub(super) fn command() -> Command {
    Command::new("webhooks")
        .about("Lists the sources of webhooks, and sends samples to the running app")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("sources").about("Lists the sources and their URLs"))
        .subcommand(
            Command::new("send")
                .about("Signs a sample and sends it to the running app, as the provider would")
                .arg(Arg::new("source").required(true).help("Name of the source, such as `stripe`"))
                .arg(Arg::new("file").required(true).help("File with the body, or `-` for standard input"))
                .arg(Arg::new("tenant").long("tenant").help("Sends it to the URL of the tenant with this id"))
                .arg(
                    Arg::new("header")
                        .long("header")
                        .action(ArgAction::Append)
                        .help("Adds a header, such as `X-GitHub-Event: push`. May be repeated"),
                )
                .arg(Arg::new("address").long("address").help("Address of the app; default: HOST and PORT")),
        )
}

/// Runs the selected subcommand.
pub(super) async fn run(app: &App, matches: &ArgMatches) -> crate::Result<()> {
    let missing = |missing: MissingDependency| RunError::new(missing.to_string());
    let sources: WebhookSources = app.context().get().map_err(missing)?;
    let public_url: PublicUrl = app.context().get().map_err(missing)?;
    match matches.subcommand() {
        Some(("sources", _)) => {
            for name in sources.names() {
                print_line(format_args!("{name:<20}  {}{}", public_url, path(name, None)))?;
            }
            Ok(())
        }
        Some(("send", matches)) => send(app, &sources, &public_url, matches).await,
        _ => Ok(()),
    }
}

async fn send(app: &App, sources: &WebhookSources, public_url: &PublicUrl, matches: &ArgMatches) -> crate::Result<()> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let name = text("source").unwrap_or_default();
    let Some((name, source)) = sources.get(name) else {
        let known = sources.names().join(", ");
        let known = if known.is_empty() { "no source is configured".to_owned() } else { format!("known: {known}") };
        return Err(RunError::new(format!("there is no source `{name}`: {known}")));
    };
    let tenant = text("tenant").map(|id| {
        id.parse::<TenantId>().map_err(|_| RunError::new(format!("--tenant: `{id}` is not the id of a tenant")))
    });
    let path = path(name, tenant.transpose()?);
    let body = read(text("file").unwrap_or_default())?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for line in matches.get_many::<String>("header").into_iter().flatten() {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::try_from(value.trim()).ok()?))
        });
        let (name, value) =
            parsed.ok_or_else(|| RunError::new(format!("--header: `{line}` is not a header such as `Name: value`")))?;
        headers.insert(name, value);
    }
    let now = app.context().get::<Clock>().map_err(|missing| RunError::new(missing.to_string()))?.now();
    let url = format!("{public_url}{path}");
    let request = WebhookRequest { url: &url, headers: &headers, body: &body, now };
    let signed = match source.sign(&request) {
        Some(signed) => signed,
        None if app.environment().is_production() => {
            return Err(RunError::new(format!("only the provider can sign webhooks of `{name}` in production")));
        }
        None => {
            let keys = SampleKeys::of_app(app.context());
            let signed = keys.and_then(|keys| keys.sign(name, &body));
            signed.ok_or_else(|| {
                RunError::new(format!("only the provider has the key of `{name}`: set SECRET_KEYS to sign samples"))
            })?
        }
    };
    headers.extend(signed);
    let address = text("address").map_or_else(|| local_address(&app.http).to_string(), str::to_owned);
    let response = timeout(RESPONSE_TIMEOUT, post(&address, &path, headers, body)).await;
    let (status, answer) = response.unwrap_or_else(|_| {
        Err(RunError::new(format!("no response from {address} within {RESPONSE_TIMEOUT:?}; check the app's log")))
    })?;
    print_line(format_args!("{status} {answer}"))?;
    if (200..300).contains(&status) { Ok(()) } else { Err(RunError::new("the app has not accepted the webhook")) }
}

fn path(source: &str, tenant: Option<TenantId>) -> String {
    let tenant = tenant.map(|tenant| format!("/{tenant}")).unwrap_or_default();
    format!("/api/v1/public/webhooks/{source}{tenant}")
}

fn read(file: &str) -> crate::Result<Vec<u8>> {
    let read = match file {
        "-" => {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).map(|_| body)
        }
        file => std::fs::read(file),
    };
    read.map_err(|error| RunError::new(format!("{file}: {error}")))
}

/// Posts to the app, and returns the status and the body of the response.
async fn post(address: &str, path: &str, headers: HeaderMap, body: Vec<u8>) -> crate::Result<(u16, String)> {
    let failed = |error: &dyn std::fmt::Display| {
        RunError::new(format!("no response from {address}: {error}; start the app, or set --address"))
    };
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let mut request = Request::post(path).body(Full::new(bytes::Bytes::from(body))).map_err(|error| failed(&error))?;
    *request.headers_mut() = headers;
    let host = HeaderValue::try_from(address).map_err(|error| failed(&error))?;
    request.headers_mut().insert(header::HOST, host);
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
