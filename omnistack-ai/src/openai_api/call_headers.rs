//! The account of a call as headers of its response, since OpenAI's form has no place for it.

use omnistack_core::http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::stream::{AnswerEncoder, answer_frames, event_stream};
use crate::{call::CallSummary, gateway::GatewayStream};

const CALL: HeaderName = HeaderName::from_static("x-ai-call");
const PROVIDER: HeaderName = HeaderName::from_static("x-ai-provider");
const COST: HeaderName = HeaderName::from_static("x-ai-cost-usd");
const CACHED: HeaderName = HeaderName::from_static("x-ai-cached");
/// The headers with the account of a call.
pub(super) const CALL_HEADERS: [HeaderName; 4] = [CALL, PROVIDER, COST, CACHED];

/// Returns the account of a call as headers.
pub(super) fn call_headers(call: &CallSummary) -> HeaderMap {
    let cost = call.cost.as_ref().map(ToString::to_string);
    let all = [
        (CALL, Some(call.id.to_string())),
        (PROVIDER, Some(call.provider.clone())),
        (COST, cost),
        (CACHED, Some(call.cached.to_string())),
    ];
    let value = |(name, value): (HeaderName, Option<String>)| Some((name, HeaderValue::from_str(&value?).ok()?));
    all.into_iter().filter_map(value).collect()
}

/// Returns the response of an answer in pieces. Its only header of the account is the id, since the rest is not known
/// before the end.
pub(super) fn stream_response(answer: GatewayStream, encoder: impl AnswerEncoder) -> Response {
    let call = HeaderValue::from_str(&answer.id.to_string());
    let mut response = event_stream(answer_frames(answer, encoder));
    if let Ok(call) = call {
        response.headers_mut().insert(CALL, call);
    }
    response
}
