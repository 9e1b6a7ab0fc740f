// Calls the API with OpenAI's client for JavaScript: clients.mjs CASE URL KEY MODEL. Prints the result as JSON.
import OpenAI from "openai";

const [name, baseURL, apiKey, model] = process.argv.slice(2);
let sent = 0;
const counted = (...request) => {
  sent += 1;
  return fetch(...request);
};
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, fetch: counted });
const messages = [{ role: "user", content: "Say hello." }];
const input = "Say hello.";
const parameters = { type: "object", properties: { city: { type: "string" } } };
const schema = { ...parameters, required: ["city"], additionalProperties: false };

const cases = {
  async chat() {
    const answer = await client.chat.completions.create({ model, messages });
    return { text: answer.choices[0].message.content };
  },
  async stream() {
    const options = { model, messages, stream: true, stream_options: { include_usage: true } };
    let text = "";
    let total_tokens = null;
    for await (const chunk of await client.chat.completions.create(options)) {
      total_tokens = chunk.usage?.total_tokens ?? total_tokens;
      text += chunk.choices[0]?.delta.content ?? "";
    }
    return { text, total_tokens };
  },
  async abort() {
    const chunks = await client.chat.completions.create({ model, messages, stream: true });
    for await (const chunk of chunks) {
      const text = chunk.choices[0]?.delta.content;
      if (text) {
        chunks.controller.abort();
        return { text };
      }
    }
  },
  async models() {
    for await (const found of client.models.list()) {
      if (found.id === model) return { found: true };
    }
    return { found: false };
  },
  async embeddings() {
    const request = { model: "fake-embedding", input: "abc" };
    const standard = await client.embeddings.create(request);
    const floats = await client.embeddings.create({ ...request, encoding_format: "float" });
    return { default: standard.data[0].embedding, float: floats.data[0].embedding };
  },
  async schema() {
    const response_format = { type: "json_schema", json_schema: { name: "place", schema, strict: true } };
    const answer = await client.chat.completions.create({ model, messages, response_format });
    return JSON.parse(answer.choices[0].message.content);
  },
  async tools() {
    const tools = [{ type: "function", function: { name: "weather", parameters } }];
    const answer = await client.chat.completions.create({ model, messages, tools });
    return { arguments: answer.choices[0].message.tool_calls[0].function.arguments };
  },
  async respond() {
    const answer = await client.responses.create({ model, input, instructions: "Be brief.", store: false });
    return { text: answer.output_text, status: answer.status, total_tokens: answer.usage.total_tokens };
  },
  async respond_stream() {
    let text = "";
    const events = client.responses.stream({ model, input });
    for await (const event of events) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    const answer = await events.finalResponse();
    return { text, whole: answer.output_text, total_tokens: answer.usage.total_tokens };
  },
  async respond_abort() {
    const events = await client.responses.create({ model, input, stream: true });
    for await (const event of events) {
      if (event.type === "response.output_text.delta") {
        events.controller.abort();
        return { text: event.delta };
      }
    }
  },
  async respond_schema() {
    const format = { type: "json_schema", name: "place", schema, strict: true };
    const answer = await client.responses.create({ model, input: "Where?", text: { format } });
    return JSON.parse(answer.output_text);
  },
  async respond_tools() {
    const tools = [{ type: "function", name: "weather", parameters }];
    const conversation = [{ role: "user", content: "Weather?" }];
    let given = "";
    const events = client.responses.stream({ model, input: conversation, tools });
    for await (const event of events) {
      if (event.type === "response.function_call_arguments.delta") given += event.delta;
    }
    const answer = await events.finalResponse();
    const [call] = answer.output;
    const output = { type: "function_call_output", call_id: call.call_id, output: "sun" };
    await client.responses.create({ model, input: [...conversation, ...answer.output, output], tools });
    return { arguments: given, whole: call.arguments };
  },
  async respond_error() {
    let text = "";
    try {
      for await (const event of await client.responses.create({ model, input, stream: true })) {
        if (event.type === "response.output_text.delta") text += event.delta;
      }
    } catch (failure) {
      return { text, message: failure.message, code: failure.code };
    }
  },
  async error() {
    try {
      await client.chat.completions.create({ model, messages });
    } catch (failure) {
      const retry_after = failure.headers.get("retry-after");
      return { class: failure.constructor.name, request_id: failure.requestID, retry_after };
    }
  },
  async retries() {
    try {
      await client.chat.completions.create({ model, messages }, { maxRetries: 2 });
    } catch {
      return { requests: sent };
    }
  },
};
console.log(JSON.stringify(await cases[name]()));
