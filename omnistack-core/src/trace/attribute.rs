//! Keys of span attributes, by OpenTelemetry's semantic conventions 1.44.

macro_rules! attributes {
    ($($name:ident = $key:literal;)*) => {
        $(#[doc = concat!("`", $key, "`")] pub const $name: &str = $key;)*
    };
}

attributes! {
    CLIENT_ADDRESS = "client.address";
    DB_COLLECTION_NAME = "db.collection.name";
    DB_OPERATION_NAME = "db.operation.name";
    DB_QUERY_SUMMARY = "db.query.summary";
    DB_SYSTEM_NAME = "db.system.name";
    ERROR_TYPE = "error.type";
    EXCEPTION_MESSAGE = "exception.message";
    GEN_AI_OPERATION_NAME = "gen_ai.operation.name";
    GEN_AI_PROVIDER_NAME = "gen_ai.provider.name";
    GEN_AI_REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens";
    GEN_AI_REQUEST_MODEL = "gen_ai.request.model";
    GEN_AI_REQUEST_TEMPERATURE = "gen_ai.request.temperature";
    GEN_AI_REQUEST_TOP_P = "gen_ai.request.top_p";
    GEN_AI_RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons";
    GEN_AI_RESPONSE_MODEL = "gen_ai.response.model";
    GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens";
    GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    HTTP_REQUEST_METHOD = "http.request.method";
    HTTP_REQUEST_METHOD_ORIGINAL = "http.request.method_original";
    HTTP_RESPONSE_STATUS_CODE = "http.response.status_code";
    HTTP_ROUTE = "http.route";
    MESSAGING_CONSUMER_GROUP_NAME = "messaging.consumer.group.name";
    MESSAGING_DESTINATION_NAME = "messaging.destination.name";
    MESSAGING_MESSAGE_ID = "messaging.message.id";
    MESSAGING_OPERATION_NAME = "messaging.operation.name";
    MESSAGING_OPERATION_TYPE = "messaging.operation.type";
    MESSAGING_SYSTEM = "messaging.system";
    NETWORK_PROTOCOL_VERSION = "network.protocol.version";
    OMNISTACK_ATTEMPT = "omnistack.attempt";
    OMNISTACK_TENANT_ID = "omnistack.tenant.id";
    SERVER_ADDRESS = "server.address";
    SERVER_PORT = "server.port";
    URL_FULL = "url.full";
    URL_PATH = "url.path";
    URL_SCHEME = "url.scheme";
    USER_AGENT_ORIGINAL = "user_agent.original";
    USER_ID = "user.id";
}
