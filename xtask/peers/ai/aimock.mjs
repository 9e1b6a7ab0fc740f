// Starts aimock, a mock of model providers, and prints its port. It ends with its standard input.
import { LLMock } from "@copilotkit/aimock";

const mock = new LLMock({ port: 0 });
const text = "The quick brown fox jumps over the lazy dog.";
mock.onMessage("fox", { content: text });
mock.onMessage("cut", { content: text }, { chunkSize: 4, truncateAfterChunks: 3 });
mock.onMessage("weather", { toolCalls: [{ name: "weather", arguments: JSON.stringify({ city: "Rome" }) }] });
await mock.start();
console.log(JSON.stringify({ port: Number(new URL(mock.url).port) }));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
