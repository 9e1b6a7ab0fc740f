// Calls the app as the pages of the book do: with cookies, and with tokens.

import { strict as assert } from "node:assert";
import { Failure, type Session, createApi, createBearerClient } from "./frontend.js";

const { CLIENT_URL: baseUrl = "", CLIENT_EMAIL: email = "", CLIENT_PASSWORD: password = "" } = process.env;
const LOGIN = "/api/v1/public/auth/login";

/** A browser's cookies, and what it says about the origin of a page. */
class Browser {
  cookies = new Map<string, string>();
  requests: string[] = [];

  fetch: typeof fetch = async (input, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("Origin", baseUrl);
    headers.set("Cookie", [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; "));
    this.requests.push(`${init.method ?? "GET"} ${input}`);
    const response = await fetch(input, { ...init, headers });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      this.cookies.set(name, value);
    }
    return response;
  };

  forget(name: string) {
    assert(this.cookies.delete(name), name);
  }

  count(part: string) {
    return this.requests.filter((request) => request.includes(part)).length;
  }
}

const browser = new Browser();
const api = createApi(baseUrl, browser.fetch);
type Signed = { tenant_id: string; access_token?: string };
const signed = await api.post<Signed>(LOGIN, { email, password, mode: "cookie" });
assert.equal(signed.access_token, undefined);

// The browser deletes the cookie of an access token that has expired. Calls at the same time renew it once.
browser.forget("__Host-omnistack-access");
type Me = { id: string; tenant_id: string };
const [me] = await Promise.all([api.get<Me>("/api/v1/app/users/me"), api.get("/api/v1/app/projects")]);
assert.equal(me.tenant_id, signed.tenant_id);
assert.equal(browser.count("/refresh"), 1);

// Two tabs share the cookies, and may renew them at the same time.
browser.forget("__Host-omnistack-access");
const tabs = [createApi(baseUrl, browser.fetch), createApi(baseUrl, browser.fetch)];
await Promise.all(tabs.map((tab) => tab.get("/api/v1/app/projects")));
assert.equal(browser.count("/refresh"), 3);

const team = await api.post<{ id: string }>("/api/v1/app/teams", { name: "Frontend" });
api.chooseTeam(team.id);
assert.equal((await api.get<Me>("/api/v1/app/users/me")).tenant_id, team.id);
const file = await api.upload<{ id: string }>("/api/v1/app/files", new File(["Eagle"], "eagle.txt", { type: "text/plain" }));
const link = await api.post<{ url: string }>(`/api/v1/app/files/${file.id}/link`, { inline: true });
const shown = await fetch(link.url);
assert.equal(await shown.text(), "Eagle");
assert.equal(shown.headers.get("cross-origin-resource-policy"), "cross-origin");
await assert.rejects(api.post("/api/v1/app/projects", { name: "" }), (failure) => {
  assert(failure instanceof Failure);
  return failure.status === 422 && failure.error.code === "VALIDATION_FAILED";
});

let session: Session | undefined;
const store = { load: () => session, save: (saved: Session | undefined) => void (session = saved) };
const [one, two] = [createBearerClient(baseUrl, store), createBearerClient(baseUrl, store)];
assert.equal(await one.signIn(email, password), undefined);
const first = session as Session | undefined;
assert(first);
for (const client of [one, two]) {
  session = { ...first, expires: 0 };
  const { data } = await client.app.GET("/api/v1/app/users/me");
  assert.equal(data?.id, me.id);
}
assert.notEqual((session as Session | undefined)?.refresh, first.refresh);
console.log("frontend: pages sign in and stay signed in");
