//! Requests as they are sent.

use std::time::Duration;

use omnistack_ai::{
    Ai, Call, ChatRequest, EmbeddingRequest, HttpProvider, LlmErrorKind, LlmProvider as _, Message, ProviderModel,
};
use omnistack_core::health::Health;
use omnistack_testkit::{
    TestApp, TestDatabase,
    llm::{Scripted, ScriptedUpstream},
};

use super::{USAGE, assemble, client, openai, request, stream};

fn key() -> secrecy::SecretString {
    "secret\n".to_owned().into()
}

#[tokio::test]
async fn each_provider_sends_its_key_to_its_path() {
    let upstream = ScriptedUpstream::start().await;
    let url = upstream.url();
    let azure = |version: Option<&str>| HttpProvider::azure(client(), url, key(), version.map(str::to_owned));
    let chat = Scripted::openai_chat("hi", USAGE);
    for (provider, response, path, header, value) in [
        (
            HttpProvider::openai(client(), key()).with_base_url(url),
            chat.clone(),
            "/chat/completions",
            "authorization",
            "Bearer secret",
        ),
        (
            HttpProvider::openai(client(), key()).with_base_url(url).responses(),
            Scripted::openai_responses("hi", USAGE),
            "/responses",
            "authorization",
            "Bearer secret",
        ),
        (
            HttpProvider::groq(client(), key()).with_base_url(format!("{url}/openai/v1/")),
            chat.clone(),
            "/openai/v1/chat/completions",
            "authorization",
            "Bearer secret",
        ),
        (
            HttpProvider::compatible(client(), "ollama", format!("{url}/v1")).with_key(&key()),
            chat.clone(),
            "/v1/chat/completions",
            "authorization",
            "Bearer secret",
        ),
        (
            HttpProvider::anthropic(client(), key()).with_base_url(url),
            Scripted::anthropic("hi", USAGE),
            "/v1/messages",
            "x-api-key",
            "secret",
        ),
        (
            HttpProvider::gemini(client(), key()).with_base_url(url),
            Scripted::gemini("hi", USAGE),
            "/v1beta/models/scripted-model:generateContent",
            "x-goog-api-key",
            "secret",
        ),
        (azure(None), chat.clone(), "/openai/v1/chat/completions", "api-key", "secret"),
        (
            azure(Some("2026-10-21")),
            chat.clone(),
            "/openai/deployments/scripted-model/chat/completions",
            "api-key",
            "secret",
        ),
    ] {
        upstream.respond(response);
        let answer = provider.complete(&request(), &Call::default()).await.unwrap();
        assert_eq!(answer.text(), "hi", "{path}");
        assert_eq!((answer.usage.unwrap().input, answer.usage.unwrap().output), (10, 3), "{path}");
        let received = upstream.requests().pop().unwrap();
        assert_eq!((received.path.as_str(), received.header(header)), (path, Some(value)));
        assert!(!format!("{provider:?}").contains("secret"), "{provider:?}");
    }
    let queries: Vec<_> = upstream.requests().into_iter().filter_map(|request| request.query).collect();
    assert_eq!(queries, ["api-version=2026-10-21"]);
}

#[tokio::test]
async fn a_server_without_a_key_receives_none() {
    let upstream = ScriptedUpstream::start().await;
    upstream.respond(Scripted::openai_chat("hi", None));
    let provider = HttpProvider::compatible(client(), "vllm", upstream.url());
    let answer = provider.complete(&request(), &Call::default()).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.usage), ("hi", None));
    assert_eq!(upstream.requests()[0].header("authorization"), None);
    assert_eq!((provider.name(), provider.account()), ("vllm", "vllm"));
}

#[tokio::test]
async fn a_key_that_no_header_can_have_is_a_wrong_key() {
    let upstream = ScriptedUpstream::start().await;
    let provider = HttpProvider::openai(client(), "a\nb".to_owned().into()).with_base_url(upstream.url());
    let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Unauthorized);
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn the_name_of_a_model_leads_nowhere_else() {
    let upstream = ScriptedUpstream::start().await;
    let provider = HttpProvider::gemini(client(), key()).with_base_url(upstream.url());
    for model in ["../../files", "m?key=x", "m:generateContent#", "", "m%2f..", "a b"] {
        let request = ChatRequest::new(model, [Message::user("hi")]);
        let error = provider.complete(&request, &Call::default()).await.unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::UnknownModel, "{model}");
        let error = provider.stream(&request, &Call::default()).await.err().unwrap();
        assert_eq!(error.kind, LlmErrorKind::UnknownModel, "{model}");
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn openai_receives_our_id_of_the_request() {
    let upstream = ScriptedUpstream::start().await;
    upstream.respond_always(Scripted::openai_chat("hi", USAGE));
    let mut call = Call::default();
    call.request_id = Some("req-7".into());
    openai(&upstream).complete(&request(), &call).await.unwrap();
    assert_eq!(upstream.requests()[0].header("x-client-request-id"), Some("req-7"));
    call.request_id = Some("not\na header".into());
    openai(&upstream).complete(&request(), &call).await.unwrap();
    assert_eq!(upstream.requests()[1].header("x-client-request-id"), None);
}

#[tokio::test]
async fn usage_is_asked_for_until_the_provider_refuses() {
    let upstream = ScriptedUpstream::start().await;
    let provider = openai(&upstream);
    let refusal = "Unrecognized request argument supplied: stream_options";
    upstream
        .respond(Scripted::openai_chat_stream(["a"], USAGE))
        .respond(Scripted::openai_error(400, "invalid_request_error", "unknown_parameter", refusal))
        .respond_always(Scripted::openai_chat_stream(["b"], None));
    let (response, _) = assemble(stream(&provider).await).await;
    assert_eq!(response.usage.map(|usage| usage.output), Some(3));
    for _ in 0..2 {
        let (response, error) = assemble(stream(&provider).await).await;
        assert_eq!((response.text().as_str(), response.usage, error.is_none()), ("b", None, true));
    }
    let asked: Vec<bool> =
        upstream.requests().iter().map(|request| request.text().contains("stream_options")).collect();
    assert_eq!(asked, [true, true, false, false]);
}

#[tokio::test]
async fn a_refusal_of_a_callers_options_is_not_remembered() {
    let upstream = ScriptedUpstream::start().await;
    let provider = openai(&upstream);
    upstream
        .respond(Scripted::openai_error(400, "invalid_request_error", "invalid", "stream_options is no object"))
        .respond_always(Scripted::openai_chat_stream(["a"], USAGE));
    let mut odd = request();
    odd.extra.insert("stream_options".to_owned(), 7.into());
    drop(provider.stream(&odd, &Call::default()).await.unwrap());
    let (response, _) = assemble(stream(&provider).await).await;
    assert!(response.usage.is_some());
    assert!(upstream.requests()[2].text().contains("include_usage"));
}

#[tokio::test]
async fn another_refusal_is_not_repeated() {
    let upstream = ScriptedUpstream::start().await;
    upstream.respond(Scripted::openai_error(400, "invalid_request_error", "invalid", "temperature is too high"));
    let error = openai(&upstream).stream(&request(), &Call::default()).await.err().unwrap();
    assert_eq!((error.kind, error.status), (LlmErrorKind::InvalidRequest, Some(400)));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn embeddings_arrive() {
    let upstream = ScriptedUpstream::start().await;
    let vectors = vec![vec![0.5, -0.25], vec![1.0, 0.0]];
    upstream.respond(Scripted::openai_embeddings(&vectors, USAGE));
    let request = EmbeddingRequest::new("scripted-model", ["a", "b"]);
    let embeddings = openai(&upstream).embed(&request, &Call::default()).await.unwrap();
    assert_eq!((embeddings.vectors, embeddings.usage.unwrap().input), (vectors, 10));
    assert_eq!(upstream.requests()[0].path, "/v1/embeddings");

    let anthropic = HttpProvider::anthropic(client(), key()).with_base_url(upstream.url());
    let error = anthropic.embed(&request, &Call::default()).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::NotSupported);
    assert!(!anthropic.capabilities("scripted-model").embeddings);
}

#[tokio::test]
async fn a_provider_is_a_service_that_lists_its_models() {
    let upstream = ScriptedUpstream::start().await;
    upstream
        .respond(Scripted::json(200, r#"{"object":"list","data":[{"id":"a"}]}"#))
        .respond(Scripted::openai_error(401, "invalid_request_error", "invalid_api_key", "wrong key"))
        .respond(Scripted::json(404, r#"{"detail":"Not Found"}"#));
    let provider = openai(&upstream);
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Ai::from_env().provider(provider))).await;
    let health: Health = app.app().context().get().unwrap();
    let check = health.checks().into_iter().find(|check| check.name() == "openai").unwrap();
    let deadline = Duration::from_secs(10);
    check.run(deadline).await.unwrap();
    let error = check.run(deadline).await.unwrap_err().to_string();
    assert!(error.contains("rejects the app's credentials"), "{error}");
    // A server without a list of models works.
    check.run(deadline).await.unwrap();
}

#[tokio::test]
async fn models_are_listed() {
    let upstream = ScriptedUpstream::start().await;
    upstream
        .respond(Scripted::json(200, r#"{"object":"list","data":[{"id":"a","owned_by":"o"},{"id":"b"}]}"#))
        .respond(Scripted::json(200, r#"{"models":[{"name":"models/g"}]}"#))
        .respond(Scripted::openai_error(401, "invalid_request_error", "invalid_api_key", "wrong key"))
        .respond(Scripted::json(200, "<html>"));
    let provider = openai(&upstream);
    let mut owned = ProviderModel::new("a");
    owned.owned_by = Some("o".to_owned());
    assert_eq!(provider.models().await.unwrap(), [owned, ProviderModel::new("b")]);
    let gemini = HttpProvider::gemini(client(), key()).with_base_url(upstream.url());
    assert_eq!(gemini.models().await.unwrap(), [ProviderModel::new("g")]);
    assert_eq!(provider.models().await.unwrap_err().kind, LlmErrorKind::Unauthorized);
    assert_eq!(provider.models().await.unwrap_err().kind, LlmErrorKind::Protocol);
    let paths: Vec<_> = upstream.requests().iter().map(ToString::to_string).collect();
    assert_eq!(paths[..2], ["GET /v1/models", "GET /v1beta/models?pageSize=1000"]);
}
