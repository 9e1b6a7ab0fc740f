// Opens the page /live of an app in two tabs of Chromium: it signs in, starts a job, chats and mentions. Then other
// transports of the browser: EventSource alone, and the client over SSE. Environment: APP_URL, APP_EMAIL, APP_PASSWORD,
// CHROMIUM.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const { APP_URL, APP_EMAIL, APP_PASSWORD, CHROMIUM } = process.env;
const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
const browser = await chromium.launch({ executablePath: CHROMIUM, args });
try {
  const context = await browser.newContext({ baseURL: APP_URL });
  context.setDefaultTimeout(20_000);
  const problems = [];
  // A response that refuses is logged too, and is part of the sign-in.
  context.on("console", (line) => {
    if (line.type() === "error" && !line.text().startsWith("Failed to load resource")) problems.push(line.text());
  });
  context.on("weberror", (error) => problems.push(String(error.error())));
  const count = async (tab, selector, expected) => {
    await tab.waitForFunction(([selector, expected]) => document.querySelectorAll(selector).length === expected, [selector, expected]);
  };

  // The client is that of the npm package, byte for byte, after its licences.
  const served = await (await fetch(`${APP_URL}/realtime/client.js`)).text();
  const published = await readFile(new URL("node_modules/centrifuge/dist/centrifuge.js", import.meta.url), "utf8");
  assert.ok(served.endsWith(published) && served.startsWith("/*!"), "the client differs from npm's");

  // Without a session, the page leads to the sign-in and comes back.
  const first = await context.newPage();
  await first.goto("/live");
  await first.waitForURL("**/auth/sign-in?next=/live");
  await first.getByLabel("Email").fill(APP_EMAIL);
  await first.locator("input[name=password]").first().fill(APP_PASSWORD);
  await first.locator("form[data-form=sign-in] button:not([type])").click();
  // Not a pattern: the address of the sign-in ends with `/live` too.
  await first.waitForURL((url) => url.pathname === "/live");
  const second = await context.newPage();
  await second.goto("/live");
  for (const tab of [first, second]) await tab.getByText("Connected", { exact: true }).waitFor();

  // The bar moves while the job runs.
  const seen = new Set();
  await first.exposeFunction("seen", (value) => seen.add(value));
  await first.evaluate(() => {
    const bar = document.getElementById("bar");
    const timer = setInterval(() => {
      window.seen(bar.value);
      if (bar.value === 100) clearInterval(timer);
    }, 20);
  });
  await first.getByRole("button", { name: "Start a count" }).click();
  await first.getByText("(done)").waitFor();
  assert.ok([...seen].filter((value) => value > 0 && value < 100).length >= 3, `the bar jumped: ${[...seen]}`);

  // Both tabs get each message once, in the same order, and a new tab gets the history.
  const text = (tab) => tab.locator("#messages li span").allTextContents();
  for (const [tab, message] of [[first, "hello"], [second, "<b>hi</b>"], [first, "bye"]]) {
    const before = (await text(tab)).length;
    await tab.getByLabel("Message").fill(message);
    await tab.getByRole("button", { name: "Send" }).click();
    for (const other of [first, second]) await count(other, "#messages li", before + 1);
  }
  const messages = ["hello", "<b>hi</b>", "bye"];
  assert.deepEqual(await text(first), messages);
  assert.deepEqual(await text(second), messages);
  await second.reload();
  await count(second, "#messages li", messages.length);
  assert.deepEqual(await text(second), messages);

  // A tab that was offline recovers.
  await second.evaluate(() => window.dispatchEvent(new Event("offline")));
  await first.getByLabel("Message").fill("anyone there?");
  await first.getByRole("button", { name: "Send" }).click();
  await count(first, "#messages li", messages.length + 1);
  await second.evaluate(() => window.dispatchEvent(new Event("online")));
  await count(second, "#messages li", messages.length + 1);

  // The bell counts in both tabs, and is cleared in both.
  const unread = (tab, expected) => tab.waitForFunction((expected) => document.getElementById("unread").textContent === expected, expected);
  for (const tab of [first, second]) await unread(tab, "0");
  await first.getByRole("button", { name: "Mention" }).first().click();
  for (const tab of [first, second]) await unread(tab, "1");
  await second.locator("#bell").click();
  for (const tab of [first, second]) await unread(tab, "0");

  // EventSource without a library, and the client over SSE with its back-channel.
  const received = await first.evaluate(async () => {
    const next = (work) => new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error("nothing arrived within 20 s")), 20_000);
      work(resolve, reject);
    });
    const stream = new EventSource("/api/v1/app/events?channels=room:hall");
    await next((resolve) => { stream.onopen = resolve; });
    const event = next((resolve) => {
      stream.onmessage = ({ data }) => JSON.parse(data).channel === "room:hall" && resolve(JSON.parse(data));
    });
    const client = new Centrifuge([{ transport: "sse", endpoint: "/api/v1/app/sse" }], { emulationEndpoint: "/api/v1/app/emulation" });
    const hall = client.newSubscription("room:hall");
    const push = next((resolve) => hall.on("publication", resolve));
    await next((resolve, reject) => {
      hall.on("subscribed", resolve).on("unsubscribed", ({ reason }) => reject(new Error(reason)));
      hall.subscribe();
      client.connect();
    });
    await hall.publish({ text: "over SSE" });
    const both = [(await event).data.text, (await push).data.text];
    stream.close();
    client.disconnect();
    return both;
  });
  assert.deepEqual(received, ["over SSE", "over SSE"]);
  assert.deepEqual(problems, []);
  console.log("the live page works");
} finally {
  await browser.close();
}
