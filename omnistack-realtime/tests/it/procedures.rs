//! Procedures that clients call on their connection.

use omnistack_core::{http::Error, identity::Identity};
use omnistack_realtime::Realtime;
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::{Value, json};

use crate::live::LiveClient;

async fn divide(caller: Identity, data: Value) -> Result<Value, Error> {
    let [Some(by), Some(what)] = ["by", "what"].map(|name| data[name].as_i64()) else {
        return Err(Error::bad_request("NO_NUMBERS", "send `what` and `by`"));
    };
    let result = what.checked_div(by).ok_or_else(|| Error::internal("division by zero"))?;
    Ok(json!({ "user": caller.user, "result": result }))
}

#[tokio::test]
async fn procedures_get_the_caller_and_return_results_or_codes() {
    let realtime = Realtime::from_env().procedure("divide", divide);
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(realtime)).await;
    let server = app.listen_with_defaults().await;
    let alice = app.user();
    let user = alice.identity().unwrap().user;
    let mut client = LiveClient::connect(server.address, &alice).await;
    for (method, data, expected) in [
        ("divide", json!({ "what": 6, "by": 3 }), json!({ "rpc": { "data": { "user": user, "result": 2 } } })),
        ("divide", Value::Null, json!({ "error": { "code": 400, "message": "400 NO_NUMBERS: send `what` and `by`" } })),
        (
            "divide",
            json!({ "what": 6, "by": 0 }),
            json!({ "error": { "code": 100, "message": "internal server error", "temporary": true } }),
        ),
    ] {
        let mut reply = client.command("rpc", json!({ "method": method, "data": data })).await;
        reply.as_object_mut().unwrap().remove("id");
        assert_eq!(reply, expected, "{data}");
    }
    let reply = client.command("rpc", json!({ "method": "unknown" })).await;
    assert_eq!(reply["error"]["code"], 104);
}

#[tokio::test]
async fn a_procedure_is_added_once() {
    let realtime = || Realtime::from_env().procedure("divide", divide).procedure("divide", divide);
    let build = |database: &TestDatabase| omnistack_core::app::App::builder(database.config()).with(realtime()).build();
    let error = build(&TestDatabase::sqlite()).unwrap_err().to_string();
    assert!(error.contains("the procedure `divide` is added twice"), "{error}");
}
