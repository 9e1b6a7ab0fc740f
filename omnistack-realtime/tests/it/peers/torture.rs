//! Frames that no stock client sends, made by wsproto, and the commands of PyPI's websockets.

#![cfg(test)]

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use super::{Tenant, python_script, setting, user};
use crate::{replicas::process::Replica, support::SOCKET};

/// The largest message in bytes.
const MAX_MESSAGE_BYTES: &str = "8192";
/// Longest time of all cases.
const TORTURE_TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn frames_of_wsproto_and_websockets_are_answered_as_the_protocols_say() {
    let replica = Replica::start(&[("REALTIME_MAX_MESSAGE", "8KiB")]).await;
    let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
    command.arg(python_script("torture.py")).arg(format!("ws://{}{SOCKET}", replica.address));
    command.arg(Tenant::new().token(user())).arg(MAX_MESSAGE_BYTES).env("NO_PROXY", "*");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let output = timeout(TORTURE_TIMEOUT, command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}");
    let outcomes: Value = serde_json::from_str(&printed).unwrap();

    let expected = json!({
        "fragments": ["between", true],
        "a character in two fragments": true,
        "second connect": 107,
        "half-closed": "ended",
        "closed by the client": 1000,
        "protobuf": 400,
        "json": 101,
        "bad UTF-8": 1007,
        "cut UTF-8": 1007,
        "reserved bit 1": 1002,
        "reserved bit 2": 1002,
        "reserved opcode": 1002,
        "reserved control opcode": 1002,
        "continuation of nothing": 1002,
        "message in a message": 1002,
        "fragmented ping": 1002,
        "large ping": 1002,
        "not masked": 1002,
        "large message": 1009,
        "large message in fragments": 1009,
        "a length of 2^63": 1009,
        "binary": 3501,
        "id 0": 3501,
        "unasked pong": 3501,
        "no JSON": 3501,
        "an array": 3501,
        "two methods": 3501,
        "a command before connect": 3501,
        "deep JSON": 3501,
        "websockets": [7],
    });
    let cases = expected.as_object().unwrap();
    let different: Vec<_> = cases
        .iter()
        .filter(|(name, expected)| outcomes[name.as_str()] != **expected)
        .map(|(name, expected)| format!("{name}: {} instead of {expected}", outcomes[name.as_str()]))
        .collect();
    assert!(different.is_empty(), "{different:#?}");
    assert_eq!(outcomes.as_object().map(|outcomes| outcomes.len()), Some(cases.len()), "{outcomes}");
}
