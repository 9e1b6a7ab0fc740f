// Calls the API with Vercel's AI SDK: ai_sdk.mjs CASE URL KEY MODEL. Prints the result as JSON.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, Output, streamText, tool } from "ai";
import { z } from "zod";

const [name, baseURL, apiKey, modelName] = process.argv.slice(2);
const provider = createOpenAICompatible({
  name: "omnistack",
  baseURL,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider(modelName);
const prompt = "Say hello.";
const place = z.object({ city: z.string() });
const tools = { weather: tool({ description: "Tells the weather.", inputSchema: place }) };
const settings = { model, prompt, maxRetries: 0 };

const cases = {
  async chat() {
    const { text, finishReason } = await generateText(settings);
    return { text, finishReason };
  },
  async stream() {
    const result = streamText(settings);
    let text = "";
    for await (const delta of result.textStream) text += delta;
    const usage = await result.usage;
    return { text, total_tokens: usage.totalTokens, finishReason: await result.finishReason };
  },
  async abort() {
    const controller = new AbortController();
    const result = streamText({ ...settings, abortSignal: controller.signal });
    for await (const part of result.fullStream) {
      if (part.type !== "text-delta") continue;
      controller.abort();
      return { text: part.text };
    }
  },
  async embeddings() {
    const { embedding } = await embed({ model: provider.embeddingModel("fake-embedding"), value: "abc", maxRetries: 0 });
    return { float: embedding };
  },
  async schema() {
    const { output } = await generateText({ ...settings, output: Output.object({ schema: place }) });
    return output;
  },
  async tools() {
    const { toolCalls, finishReason } = await generateText({ ...settings, tools });
    return { name: toolCalls[0].toolName, input: toolCalls[0].input, finishReason };
  },
  async "stream-tools"() {
    const result = streamText({ ...settings, tools });
    const [call] = await result.toolCalls;
    return { name: call.toolName, input: call.input, finishReason: await result.finishReason };
  },
  async error() {
    try {
      await generateText(settings);
    } catch (failure) {
      return { status: failure.statusCode, message: failure.message, retryable: failure.isRetryable };
    }
  },
};
console.log(JSON.stringify(await cases[name]()));
