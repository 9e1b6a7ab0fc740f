// The page /live: a job's progress, a bell and a chat, over one connection that the session's cookie signs in.
"use strict";

async function start() {
  const user = await me();
  if (!user) return;
  const realtime = new Centrifuge(`${location.origin.replace(/^http/, "ws")}${api}/ws`);
  realtime.on("connected", () => say("Connected")).on("connecting", () => say("Connecting …"));
  // The session may have ended. The reason of a connection that was refused is hidden from scripts.
  realtime.on("error", () => me().catch(() => {}));
  // 101: the cookie had expired. It is renewed, and the client connects again.
  realtime.on("disconnected", ({ code, reason }) => {
    say(`Disconnected: ${reason}`);
    if (code === 101) me().then((user) => user && setTimeout(() => realtime.connect(), 1000), () => {});
  });

  on("start", "click", async () => {
    const progress = realtime.newSubscription(`job:${(await call("POST", "/live/counts")).job}`);
    progress.on("publication", ({ data }) => {
      find("bar").value = data.percent;
      find("note").textContent = `${data.note} (${data.state})`;
      if (data.state === "done") realtime.removeSubscription(progress);
    }).subscribe();
  });

  // Each message says that something has changed; the number comes from the app, so none can be missed or counted twice.
  const count = async () => { find("unread").textContent = (await call("GET", "/notifications/unread-count")).count; };
  realtime.newSubscription(`user:${user.id}`).on("publication", count).on("subscribed", count).subscribe();
  on("bell", "click", () => call("POST", "/notifications/read-all"));

  const room = realtime.newSubscription("room:lobby");
  room.on("publication", ({ data, offset }) => show(user, data, offset)).on("subscribed", async ({ recovered }) => {
    if (recovered) return;                      // what was missed has arrived as publications
    find("messages").replaceChildren();
    const { publications } = await room.history({ limit: 50, reverse: true });
    for (const { data, offset } of publications) show(user, data, offset);
  }).subscribe();
  on("say", "submit", async () => {
    await room.publish({ text: find("text").value });
    find("text").value = "";
  });
  realtime.connect();
}

// Shows a message in the order of the offsets, once: the history and the live messages overlap.
function show(user, { author, text }, offset) {
  const lines = [...find("messages").children];
  if (lines.some((line) => Number(line.dataset.offset) === offset)) return;
  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  const [line, mention] = [document.createElement("li"), make("button", "Mention")];
  line.dataset.offset = offset;
  line.append(make("b", author === user.id ? "You" : `…${author.slice(-6)}`), make("span", text), mention);
  mention.addEventListener("click", () => {
    call("POST", "/live/mentions", { user: author, room: "lobby" }).catch((error) => say(error.message));
  });
  find("messages").insertBefore(line, lines.find((next) => Number(next.dataset.offset) > offset) ?? null);
}

start().catch((error) => say(error.message));
