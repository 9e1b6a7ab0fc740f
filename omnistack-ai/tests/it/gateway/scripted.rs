//! Tests with the bytes of an upstream.

#![cfg(test)]
#![cfg(feature = "providers")]

use omnistack_ai::{Ai, Media, Part, Role};
use omnistack_testkit::{
    TestApp, TestDatabase,
    llm::{Scripted, ScriptedUpstream, ScriptedUsage},
};
use serde_json::{Value, json};

use super::{CallOptions, ChatRequest, Message, gateway, options, read, refusal, tenant};

/// Starts an app whose only provider is an upstream with the API of OpenAI.
async fn start(upstream: &ScriptedUpstream) -> TestApp {
    TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("AI_COMPATIBLE_URL", upstream.url())
            .set("AI_COMPATIBLE_NAME", "upstream")
            .set("AI_COMPATIBLE_API_KEY", "key")
            .set("HTTP_CLIENT_ALLOWED_NETWORKS", "127.0.0.0/8")
            .with(Ai::from_env())
    })
    .await
}

/// Starts an app whose only provider is an upstream with the API of Gemini, which does not fetch images itself.
async fn start_gemini(upstream: &ScriptedUpstream, (name, value): (&str, &str)) -> TestApp {
    TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("GEMINI_API_KEY", "key")
            .set("GEMINI_BASE_URL", upstream.url())
            .set("HTTP_CLIENT_ALLOWED_NETWORKS", "127.0.0.0/8")
            // The server of the images is on this machine.
            .set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")
            .set(name, value)
            .with(Ai::from_env())
    })
    .await
}

/// Returns a question about an image at a URL.
fn image_request(images: &ScriptedUpstream) -> (ChatRequest, CallOptions) {
    let image = Part::Image(Media::url(format!("{}/house.png", images.url())));
    let message = Message::new(Role::User, vec![Part::text("What is it?"), image]);
    (ChatRequest::new("scripted-model", [message]), options().provider("gemini"))
}

fn request() -> (ChatRequest, CallOptions) {
    let options = options().provider("upstream");
    (ChatRequest::new("deployed", [Message::user("hello")]), options)
}

#[tokio::test]
async fn the_rate_limits_in_headers_are_seen_by_operators() {
    let upstream = ScriptedUpstream::start().await;
    let answer = Scripted::openai_chat("a", ScriptedUsage::new(10, 5));
    let answer = answer.header("x-ratelimit-limit-requests", "500").header("x-ratelimit-remaining-requests", "3");
    upstream.respond(answer.header("x-ratelimit-remaining-tokens", "1000"));
    let app = start(&upstream).await;
    let (request, options) = request();
    gateway(&app).complete(tenant(), request, options).await.unwrap();
    let providers = app.operator().get("/api/v1/admin/ai/providers").await.expect(200).json();
    let providers = providers["items"].as_array().unwrap();
    let upstream = providers.iter().find(|provider| provider["name"] == "upstream").unwrap();
    let health = &upstream["models"][0];
    assert_eq!((&health["remaining_requests"], &health["remaining_tokens"]), (&json!(3), &json!(1_000)), "{health}");
}

/// The image has the type of its bytes, whatever its server says.
#[tokio::test]
async fn an_image_at_a_url_is_fetched_for_a_provider_that_fetches_none() {
    const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0....";
    let (upstream, images) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    upstream.respond(Scripted::gemini("a house", ScriptedUsage::new(10, 5)));
    images.respond(Scripted::status(200).header("content-type", "image/png").body(JPEG));
    images.respond(Scripted::status(200).header("content-type", "image/jpeg").body([JPEG, &[0; 2_000]].concat()));
    let app = start_gemini(&upstream, ("AI_MAX_MEDIA_BYTES", "1024")).await;
    let gateway = gateway(&app);
    let (request, options) = image_request(&images);
    let answer = gateway.complete(tenant(), request, options).await.unwrap();
    assert_eq!(answer.response.text(), "a house");
    let sent: Value = serde_json::from_str(&upstream.requests()[0].text()).unwrap();
    let data = json!({ "inlineData": { "mimeType": "image/jpeg", "data": "/9j/4C4uLi4=" } });
    assert_eq!(sent["contents"][0]["parts"][1], data, "{sent}");

    let (request, options) = image_request(&images);
    let refused = refusal(gateway.complete(tenant(), request, options).await.unwrap_err());
    assert_eq!((refused.status().as_u16(), upstream.requests().len()), (422, 1), "the image is too large: {refused}");
}

/// An app with `AI_FETCH_MEDIA=false` fetches nothing from the URLs of its callers.
#[tokio::test]
async fn an_image_at_a_url_is_refused_by_an_app_that_fetches_none() {
    let (upstream, images) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let app = start_gemini(&upstream, ("AI_FETCH_MEDIA", "false")).await;
    let (request, options) = image_request(&images);
    let refused = refusal(gateway(&app).complete(tenant(), request, options).await.unwrap_err());
    assert_eq!((refused.status().as_u16(), refused.code()), (422, "VALIDATION_FAILED"), "{refused}");
    assert_eq!((upstream.requests().len(), images.requests().len()), (0, 0));
}

/// An error as the first event of a 200 stream is repeated, because the caller has seen nothing yet.
#[tokio::test]
async fn an_error_in_the_first_event_is_not_seen_by_the_caller() {
    let upstream = ScriptedUpstream::start().await;
    let failed =
        b"data: {\"error\":{\"message\":\"overloaded\",\"type\":\"overloaded_error\",\"code\":\"overloaded\"}}\n\n";
    upstream.respond(Scripted::status(200).header("content-type", "text/event-stream").chunk(failed).end());
    upstream.respond(Scripted::openai_chat_stream(["a", "b"], ScriptedUsage::new(10, 5)));
    let app = start(&upstream).await;
    let (request, options) = request();
    let seen = read(gateway(&app).stream(tenant(), request, options).await.unwrap()).await;
    assert_eq!((seen.text().as_str(), seen.error.is_none(), seen.call.attempts.len()), ("ab", true, 2));
    assert_eq!((seen.call.usage.input, seen.call.usage.output), (10, 5));
    assert_eq!(upstream.requests().len(), 2);
}
