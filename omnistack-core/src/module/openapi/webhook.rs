//! The description of webhooks that the app sends.

use serde_json::{json, value::RawValue};
use utoipa::openapi::Ref;

use crate::webhook_event::WebhookEvent;

/// Returns the path item of the request that a receiver gets.
pub(super) fn request<E: WebhookEvent>() -> Box<RawValue> {
    let header = |name: &str, description: &str, example: &str| {
        json!({ "name": name, "in": "header", "required": true, "description": description,
            "schema": { "type": "string" }, "example": example })
    };
    super::json(&json!({ "post": {
        "operationId": format!("webhook_{}", E::TYPE.replace(['.', '-'], "_")),
        "summary": E::TYPE,
        "description": E::DESCRIPTION,
        "tags": ["webhooks"],
        "security": [],
        "parameters": [
            header("webhook-id", "The id of the message, the same in all attempts.", "msg_01jx"),
            header("webhook-timestamp", "The time of the attempt, in seconds since 1970.", "1893456000"),
            header("webhook-signature", "The signatures of Standard Webhooks, separated by spaces.", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": {
            "type": "object",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": { "type": "string", "const": E::TYPE },
                "timestamp": { "type": "string", "format": "date-time", "description": "When the event occurred." },
                "data": Ref::from_schema_name(E::name()),
            },
        } } } },
        "responses": {
            "2XX": { "description": "The receiver has accepted the event." },
            "4XX": { "description": "The receiver has not accepted the event, which is sent again." },
        },
    } }))
}
