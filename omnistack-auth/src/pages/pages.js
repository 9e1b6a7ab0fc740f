// The account pages. Each form posts JSON to the API of the same origin. Nothing is sent before the user clicks.
"use strict";

const PUBLIC = "/api/v1/public/auth";
const APP = "/api/v1/app";
const page = document.body.dataset.page;
const query = new URLSearchParams(location.search);
const fragment = new URLSearchParams(location.hash.slice(1));
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// ---- Calling the API

class Refusal extends Error {
  constructor(status, error = {}, after = null) {
    super(error.message || "The app sent an invalid response. Try again in a moment.");
    this.status = status;
    this.code = error.code || "";
    this.fields = (error.details && error.details.fields) || [];
    // The API's messages have no capital letter at the beginning and no full stop at the end.
    this.message = this.message.charAt(0).toUpperCase() + this.message.slice(1).replace(/([^.!?])$/, "$1.");
    if (after && (status === 429 || status === 503)) this.message += ` Try again in ${waiting(Number(after))}.`;
  }
}

function waiting(seconds) {
  if (!(seconds > 90)) return `${seconds || 1} seconds`;
  return seconds > 5400 ? `${Math.ceil(seconds / 3600)} hours` : `${Math.ceil(seconds / 60)} minutes`;
}

async function send(method, path, body) {
  const request = { method, credentials: "same-origin", cache: "no-store", headers: { accept: "application/json" } };
  if (body !== undefined) {
    request.headers["content-type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Refusal(0, { message: "The app can't be reached. Check your connection and try again." });
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch { /* The response is not from the API. */ }
  if (!response.ok) throw new Refusal(response.status, answer && answer.error, response.headers.get("retry-after"));
  return { status: response.status, body: answer };
}

const post = (path, body) => send("POST", PUBLIC + path, body);

/// Sends a request of a signed-in user. An expired access token is refreshed once.
async function own(method, path, body) {
  try {
    return await send(method, APP + path, body);
  } catch (error) {
    if (error.status !== 401 || error.code !== "UNAUTHORIZED") throw error;
  }
  try {
    await post("/refresh", { mode: "cookie" });
  } catch {
    throw new Refusal(401, { code: "SIGNED_OUT", message: "You are signed out. Sign in again." });
  }
  return send(method, APP + path, body);
}

// ---- Showing things

function tell(place, text, good) {
  if (!place) return;
  place.textContent = text || "";
  place.hidden = !text;
  place.classList.toggle("good", good);
  place.classList.toggle("bad", !good);
}

const note = (text, root, good = false) => tell(find("[data-note]", root), text, good);
const noteOn = (name, text, good = false) => tell(find(`[data-note="${name}"]`), text, good);

function fill(texts) {
  for (const [name, text] of Object.entries(texts)) {
    for (const place of all(`[data-text="${name}"]`)) place.textContent = text;
  }
}

/// Shows one step of the page and hides the others.
function step(name) {
  for (const part of all("[data-step]")) part.hidden = part.dataset.step !== name;
  const shown = find(`[data-step="${name}"]`);
  const first = shown && (find("input:not([readonly]):not([type=hidden])", shown) || find("h1", shown));
  if (first) first.focus({ preventScroll: true });
}

function problems(form, fields) {
  for (const input of all("input", form)) {
    input.removeAttribute("aria-invalid");
    const old = document.getElementById(`${input.id}-problem`);
    if (old) old.remove();
    if (input.dataset.described !== undefined) input.setAttribute("aria-describedby", input.dataset.described);
  }
  let shown = 0;
  for (const { field, message } of fields) {
    const input = form.elements[field];
    if (!input || !input.id) continue;
    const text = document.createElement("p");
    text.className = "problem";
    text.id = `${input.id}-problem`;
    text.textContent = `This ${message}.`;
    input.closest(".field").append(text);
    input.setAttribute("aria-invalid", "true");
    input.dataset.described ??= input.getAttribute("aria-describedby") || "";
    input.setAttribute("aria-describedby", `${text.id} ${input.dataset.described}`.trim());
    if (shown++ === 0) input.focus();
  }
  return shown > 0 && shown === fields.length;
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const button = (text, kind, click) => {
  const made = element("button", { type: "button", className: `button ${kind} small`, textContent: text });
  made.addEventListener("click", () => busy(made, click));
  return made;
};

/// Runs the work of a click. Further clicks are ignored until it is done.
async function busy(what, work) {
  if (!what || what.getAttribute("aria-busy") === "true") return;
  what.setAttribute("aria-busy", "true");
  try {
    await work();
  } finally {
    what.removeAttribute("aria-busy");
  }
}

function form(name, work) {
  const found = find(`form[data-form="${name}"]`);
  if (!found) return;
  const around = find("[data-note]", found) ? found : found.closest("[data-step]");
  found.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(find("button:not([type])", found), async () => {
      note("", around);
      problems(found, []);
      try {
        await work(Object.fromEntries(new FormData(found)), found, around);
      } catch (error) {
        if (!problems(found, error.fields || [])) note(error.message, around);
      }
    });
  });
}

function action(name, work, told) {
  for (const found of all(`[data-action="${name}"]`)) {
    found.addEventListener("click", () => busy(found, async () => {
      const around = found.closest("[data-step]");
      const say = told ? (text) => noteOn(told, text) : (text) => note(text, around);
      say("");
      try {
        await work(found);
      } catch (error) {
        if (error.name !== "NotAllowedError" && error.name !== "AbortError") say(error.message);
      }
    }));
  }
}

// ---- Where to go

/// Returns the full URL of a path of this app, or null for any other text.
function safe(next) {
  if (!next || !/^\/(?![/\\])/.test(next) || /[\u0000-\u0020\\]/.test(next)) return null;
  try {
    const url = new URL(next, location.origin);
    return url.origin === location.origin ? url.href : null;
  } catch {
    return null;
  }
}

const next = query.get("next") || fragment.get("return_to");
const arrive = () => location.assign(safe(next) || safe(document.body.dataset.after) || "/");

for (const link of all("a[data-keep]")) if (safe(next)) link.search = `?next=${encodeURIComponent(next)}`;
for (const link of all("a[data-provider]")) {
  link.href += `?return_to=${encodeURIComponent((safe(next) && next) || document.body.dataset.after)}`;
}

/// The token of the link. It is removed from the URL when it is used.
const token = fragment.get("token");
const forget = () => history.replaceState(null, "", location.pathname + location.search);

// ---- Passkeys

const passkeys = typeof PublicKeyCredential === "function" && "parseRequestOptionsFromJSON" in PublicKeyCredential;

async function show(ceremony) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(ceremony.options);
  const credential = await navigator.credentials.get({ publicKey });
  return { ceremony: ceremony.ceremony, credential: credential.toJSON() };
}

// ---- Signing in

let challenge = null;

/// Continues after a sign-in: to the next page, or to the second factor.
function signedIn({ status, body }) {
  if (status !== 202) {
    arrive();
    return;
  }
  second(body.challenge, body.methods);
}

function second(given, methods) {
  challenge = given;
  step("second");
  const texts = methods.includes("sms");
  const codes = texts || methods.some((method) => method === "totp" || method === "recovery_code");
  const device = passkeys && methods.includes("passkey");
  find('form[data-form="code"]').hidden = !codes;
  find("[data-sms]").hidden = !texts;
  find("[data-passkey]").hidden = !device;
  find("[data-or]").hidden = !codes;
  if (!codes && !device) note("This browser supports none of your second factors. Use another browser or device.", find('[data-step="second"]'));
  else if (codes) find("#code").focus();
}

/// Runs the second step of a sign-in. A wrong second factor uses up the challenge.
async function finish(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof Refusal && error.status >= 400 && error.status < 429) {
      challenge = null;
      find('form[data-form="code"]').hidden = true;
      find("[data-sms]").hidden = true;
      find("[data-passkey]").hidden = true;
    }
    throw error;
  }
}

form("code", ({ code }) => finish(async () => signedIn(await post("/mfa", { challenge, code: code.trim(), mode: "cookie" }))));
action("second-sms", async () => {
  const { body } = await post("/mfa/sms", { challenge });
  note(`We have sent a code to ${body.phone}.`, find('[data-step="second"]'), true);
  find("#code-hint").textContent = "The six digits from our message.";
  find("#code").focus();
});
action("second-passkey", async () => {
  const { body } = await post("/mfa/passkey/start", { challenge });
  const shown = await show(body);
  await finish(async () => signedIn(await post("/mfa/passkey/finish", { challenge, ...shown, mode: "cookie" })));
});
action("passkey", async () => {
  const { body } = await post("/passkeys/start");
  signedIn(await post("/passkeys/finish", { ...(await show(body)), mode: "cookie" }));
});
if (!passkeys) for (const found of all('[data-action="passkey"], [data-action="add-passkey"]')) found.hidden = true;

form("sign-in", async ({ email, password }) => signedIn(await post("/login", { email, password, mode: "cookie" })));
form("verify-link", async () => {
  const answer = await post("/magic-link/verify", { token, mode: "cookie" });
  forget();
  signedIn(answer);
});

// ---- Without a session

const mailed = (path) => async ({ email, ...rest }) => {
  await post(path, { email, ...rest });
  fill({ email });
  step("done");
};
form("register", mailed("/register"));
form("forgot-password", mailed("/forgot-password"));
form("magic-link", mailed("/magic-link"));
const confirmed = async (shown) => {
  await post("/verify-email", { token, ...shown });
  forget();
  step("done");
};
form("verify-email", ({ password }) => confirmed({ password }));
form("choose", ({ new_password }) => confirmed({ new_password }));
action("choose", () => step("choose"));
/// Returns the message about API keys after a sign-out, which leaves them valid unless they are revoked too.
function keysLeft({ api_keys: left, api_keys_revoked: revoked }) {
  if (left.length) return `These API keys are still valid: ${left.map((key) => key.name).join(", ")}.`;
  return revoked ? "Your API keys were revoked." : "";
}
form("reset-password", async ({ password, api_keys: revoke }) => {
  const { body } = await post("/reset-password", { token, password, api_keys: Boolean(revoke) });
  forget();
  note(keysLeft(body), find('[data-step="done"]'));
  step("done");
});

// ---- An invitation

const REASONS = new Map([
  ["SIGN_IN_CANCELLED", "You have cancelled the sign-in at the provider. Try again, or sign in another way."],
  ["SIGN_IN_STATE_LOST", "The sign-in took too long, or was begun in another browser. Try again."],
  ["ACCOUNT_EXISTS", "An account with this email address exists. Sign in as before, and link the provider on the page of your account."],
  ["ACCOUNT_DISABLED", "This account is disabled. Contact the operators of the app."],
  ["IDENTITY_TAKEN", "Your account at the provider is linked with another account of this app. Sign in to that account instead."],
  ["PROVIDER_LINKED", "Your account is linked with another account at this provider. Unlink that one first."],
  ["IDENTITY_PROVIDER_UNAVAILABLE", "The provider can't be reached. Try again in a minute."],
  ["RATE_LIMIT_EXCEEDED", "There were too many attempts. Try again in a minute."],
]);

/// The key under which this tab stores the token of a link while the user signs in, so that it is not in a URL.
const place = `omnistack.${page}`;
const drop = () => sessionStorage.removeItem(place);
function keep() {
  const given = token || sessionStorage.getItem(place);
  if (given) sessionStorage.setItem(place, given);
  forget();
  return given;
}

async function leave() {
  await post("/logout", { mode: "cookie" });
  location.reload();
}

async function me() {
  try {
    return (await own("GET", "/users/me")).body;
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

async function invitation() {
  const given = keep();
  if (!given) return step("missing");
  const around = find('[data-step="wait"]');
  try {
    const { body: invited } = await post("/invitation", { token: given });
    const { email, inviter, role, tenant: team } = invited;
    const user = await me();
    fill({ email, role, team, inviter: inviter || "The team", me: (user && (user.email || user.name)) || "" });
    find("#email").value = email;
    if (!user) step(invited.registered ? "known" : "new");
    else step(user.email === email ? "join" : "other");
  } catch (error) {
    find("[role=status]", around).hidden = true;
    if (error.code === "INVITATION_INVALID") drop();
    note(error.message, around);
  }
  const done = () => {
    drop();
    step("done");
  };
  form("accept", async () => {
    await own("POST", "/invitations/accept", { token: given });
    done();
  });
  form("join-new", async ({ name, password }) => {
    const answer = await post("/invitation/register", { token: given, name, password, mode: "cookie" });
    drop();
    if (answer.status === 202) signedIn(answer);
    else done();
  });
  action("leave-and-join", leave);
}

// ---- A new email address

async function newAddress() {
  const given = keep();
  if (!given) return step("missing");
  try {
    const user = await me();
    fill({ me: (user && (user.email || user.name)) || "" });
    step(user ? "first" : "known");
  } catch (error) {
    const around = find('[data-step="wait"]');
    find("[role=status]", around).hidden = true;
    note(error.message, around);
  }
  form("change-email", async () => {
    try {
      await own("POST", "/auth/email/confirm", { token: given });
    } catch (error) {
      if (error.code === "TOKEN_INVALID") drop();
      throw error;
    }
    drop();
    step("done");
  });
  action("leave", leave);
}

// ---- The account

const when = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
const password = (text) => text || undefined;
let state = { user: null, passkeys: [], factors: {} };

function rows(name, items, nothing) {
  const list = find(`[data-rows="${name}"]`);
  if (list) list.replaceChildren(...(items.length ? items : [element("li", { className: "meta", textContent: nothing })]));
}

const line = (title, meta, ...more) => element("li", {}, element("span", {}, title, element("span", { className: "meta", textContent: meta })), ...more);

function device(agent) {
  if (!agent) return "An unknown device";
  const name = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]].find(([mark]) => agent.includes(mark));
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS", "macOS"], ["Linux", "Linux"]].find(([mark]) => agent.includes(mark));
  if (!name && !system) return agent.slice(0, 60);
  return [name && name[1], system && system[1]].filter(Boolean).join(" on ");
}

/// Runs the work. If it needs a fresh sign-in or a second factor, asks for that and runs the work again.
async function proven(work, told) {
  try {
    await work();
    return;
  } catch (error) {
    if (error.code !== "REAUTHENTICATION_REQUIRED" && error.code !== "SECOND_FACTOR_REQUIRED") throw error;
  }
  if (passkeys && state.passkeys.length) {
    const { body } = await own("POST", "/auth/passkeys/verify/start");
    await own("POST", "/auth/passkeys/verify/finish", await show(body));
    await work();
  } else if (state.factors.totp_since || state.factors.sms) {
    if (!state.factors.totp_since) await own("POST", "/auth/mfa/sms/send");
    const asked = find('form[data-form="show-code"]');
    asked.hidden = false;
    asked.scrollIntoView({ block: "center" });
    find("input", asked).focus();
    again = { work, told };
  } else {
    location.assign(`/auth/sign-in?next=${encodeURIComponent("/auth/security")}`);
  }
}
let again = null;

async function sessions() {
  const { body } = await own("GET", "/auth/sessions");
  rows("sessions", body.items.map((session) => {
    const meta = [session.address, `since ${when(session.created_at)}`].filter(Boolean).join(" · ");
    const end = button("Sign out", "plain", async () => {
      try {
        await own("DELETE", `/auth/sessions/${session.id}`);
        await sessions();
      } catch (error) {
        noteOn("sessions", error.message);
      }
    });
    return line(device(session.user_agent), meta, session.current ? element("span", { className: "tag", textContent: "This device" }) : end);
  }), "No sessions.");
}

async function factors() {
  const { body } = await own("GET", "/auth/mfa");
  state.factors = body;
  const there = Boolean(body.totp_since);
  fill({ factors: there
    ? `You have used an app for codes since ${when(body.totp_since)}. You have ${body.recovery_codes} recovery codes left.`
    : "None yet. With an app on your phone, signing in also needs a code that the app shows." });
  for (const part of all("[data-totp]")) part.hidden = part.dataset.totp !== (there ? "there" : "none");
  const sms = body.sms;
  fill({ phone: sms
    ? `Codes are sent to ${sms.phone} since ${when(sms.since)}.`
    : "None yet. An app for codes or a passkey is safer, because text messages can be intercepted." });
  for (const part of all("[data-phone]")) part.hidden = part.dataset.phone !== (sms ? "there" : "none");
}

async function keys() {
  if (!find('[data-rows="passkeys"]')) return;
  state.passkeys = (await own("GET", "/auth/passkeys")).body.items;
  rows("passkeys", state.passkeys.map((key) => line(key.name, `Added ${when(key.created_at)}`, button("Remove", "bad", async () => {
    try {
      await proven(async () => {
        await own("DELETE", `/auth/passkeys/${key.id}`);
        await Promise.all([keys(), sessions()]);
      }, "passkeys");
    } catch (error) {
      noteOn("passkeys", error.message);
    }
  }))), "None yet.");
}

async function identities() {
  const list = find('[data-rows="identities"]');
  if (!list) return;
  const linked = (await own("GET", "/auth/identities")).body.items;
  const attempt = (work) => async () => {
    try {
      await proven(work, "identities");
    } catch (error) {
      noteOn("identities", error.message);
    }
  };
  const lines = list.dataset.providers.split(",").map((name) => {
    const found = linked.find((identity) => identity.provider === name);
    const shown = { google: "Google", github: "GitHub", microsoft: "Microsoft" }[name] || name;
    return found
      ? line(shown, `Linked ${when(found.created_at)}`, button("Unlink", "bad", attempt(async () => {
        await own("DELETE", `/auth/identities/${name}`);
        await identities();
      })))
      : line(shown, "Not linked", button("Link", "plain", attempt(async () => {
        const { body } = await own("POST", `/auth/identities/${name}/start?return_to=${encodeURIComponent("/auth/security")}`);
        location.assign(body.url);
      })));
  });
  rows("identities", lines, "None.");
}

const toSignIn = () => location.replace(`/auth/sign-in?next=${encodeURIComponent("/auth/security")}`);

async function account() {
  try {
    state.user = await me();
    if (!state.user) return toSignIn();
    fill({ name: state.user.name, email: state.user.email || "" });
    find('form[data-form="password"] [name=username]').value = state.user.email || "";
    const banner = find("[data-banner]");
    if (state.user.impersonated_by) {
      banner.textContent = "An operator is signed in as this user.";
      banner.hidden = false;
    }
    await Promise.all([sessions(), factors(), keys(), identities()]);
    step("first");
    find("h1[data-text=name]").focus({ preventScroll: true });
  } catch (error) {
    if (error.code === "SIGNED_OUT") return toSignIn();
    find('[data-step="wait"] [role=status]').hidden = true;
    note(error.message, find('[data-step="wait"]'));
  }
  action("sign-out", async () => {
    await post("/logout", { mode: "cookie" });
    location.assign("/auth/sign-in");
  }, "sessions");
  const endOthers = async (query) => {
    const { body } = await own("DELETE", `/auth/sessions${query}`);
    noteOn("keys", keysLeft(body), !body.api_keys.length);
    find('[data-action="revoke-keys"]').hidden = !body.api_keys.length;
    await sessions();
  };
  action("end-others", () => endOthers(""), "sessions");
  action("revoke-keys", () => endOthers("?api_keys=true"), "sessions");
  form("password", async (given, found) => {
    const { body } = await own("POST", "/auth/password", { current_password: password(given.current_password), new_password: given.new_password });
    for (const input of all("input[type=password]", found)) input.value = "";
    note(`Your password was changed. Other devices were signed out. ${keysLeft(body)}`.trim(), found, true);
    find('[data-action="revoke-keys"]').hidden = !body.api_keys.length;
    await sessions();
  });
  form("email", async (given, found) => {
    await own("POST", "/auth/email", { email: given.email, password: password(given.password) });
    found.reset();
    note(`We have sent a link to ${given.email}. Your email address changes when you confirm it with that link.`, found, true);
  });
  form("delete", async (given) => {
    const { body } = await own("DELETE", "/users/me", { password: password(given.password) });
    fill({ until: when(body.delete_at) });
    step("done");
  });
  action("add-totp", () => proven(async () => {
    const { body } = await own("POST", "/auth/mfa/totp");
    fill({ secret: body.secret.replace(/(.{4})(?=.)/g, "$1 ") });
    find("[data-totp-link]").href = body.url;
    for (const part of all("[data-totp]")) part.hidden = part.dataset.totp !== "adding";
    find("#first-code").focus();
  }, "factors"), "factors");
  const newCodes = async () => {
    const { body } = await own("POST", "/auth/mfa/recovery-codes");
    rows("codes", body.codes.map((code) => element("li", { textContent: code })), "");
    find("[data-codes]").hidden = false;
    await Promise.all([factors(), sessions()]);
  };
  form("totp", async ({ code }, found) => {
    await own("POST", "/auth/mfa/totp/confirm", { code: code.trim() });
    found.reset();
    await newCodes();
  });
  action("codes", () => proven(newCodes, "factors"), "factors");
  action("remove-totp", () => proven(async () => {
    await own("DELETE", "/auth/mfa/totp");
    find("[data-codes]").hidden = true;
    await Promise.all([factors(), sessions()]);
  }, "factors"), "factors");
  form("phone", ({ phone }) => proven(async () => {
    const { body } = await own("POST", "/auth/mfa/sms", { phone });
    fill({ phone: `We have sent a code to ${body.phone}.` });
    for (const part of all("[data-phone]")) part.hidden = part.dataset.phone !== "adding";
    find("#phone-code").focus();
  }, "phone"));
  form("phone-code", async ({ code }, found) => {
    await own("POST", "/auth/mfa/sms/confirm", { code: code.trim() });
    found.reset();
    await Promise.all([factors(), sessions()]);
  });
  action("remove-phone", () => proven(async () => {
    await own("DELETE", "/auth/mfa/sms");
    await Promise.all([factors(), sessions()]);
  }, "phone"), "phone");
  form("show-code", async ({ code }, found) => {
    await own("POST", "/auth/mfa/verify", { code: code.trim() });
    found.reset();
    found.hidden = true;
    const { work, told } = again || {};
    again = null;
    try {
      if (work) await work();
    } catch (error) {
      noteOn(told, error.message);
    }
  });
  action("add-passkey", () => proven(async () => {
    const { body } = await own("POST", "/auth/passkeys/start");
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(body.options);
    const made = await navigator.credentials.create({ publicKey });
    await own("POST", "/auth/passkeys/finish", { ceremony: body.ceremony, credential: made.toJSON(), name: device(navigator.userAgent) });
    await keys();
  }, "passkeys"), "passkeys");
}

// ---- Start

for (const around of all(".secret")) {
  const input = find("input", around);
  const toggle = element("button", { type: "button", textContent: "Show" });
  toggle.setAttribute("aria-label", "Show the password");
  toggle.setAttribute("aria-pressed", "false");
  toggle.addEventListener("click", () => {
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    toggle.textContent = shown ? "Show" : "Hide";
    toggle.setAttribute("aria-pressed", String(!shown));
  });
  around.append(toggle);
}

if (page === "invitation") invitation();
else if (page === "change-email") newAddress();
else if (page === "security") account();
else if (page === "error") fill({ reason: REASONS.get(fragment.get("code")) || "The sign-in was not completed. Try again." });
else if (page === "second-factor") {
  const given = fragment.get("challenge");
  forget();
  if (given) second(given, (fragment.get("methods") || "").split(","));
  else location.replace("/auth/sign-in");
} else if (page === "magic-link") step(token ? "first" : "ask");
else if ((page === "verify-email" || page === "reset-password") && !token) step("missing");
else {
  const input = find("input:not([type=hidden])");
  if (input) input.focus({ preventScroll: true });
}
