// The calls of a web page, as chapter "Frontends" of the book shows them.

// ANCHOR: cookies
export type ApiError = { code: string; message: string; details?: unknown; request_id: string };

export class Failure extends Error {
  constructor(readonly status: number, readonly error: ApiError) {
    super(error.message);
  }
}

/** Calls the app with the cookies of the browser's session. `base` is empty on the app's own origin. */
export function createApi(base = "", send: typeof fetch = (...request) => fetch(...request)) {
  let team: string | undefined;
  let refreshing: Promise<boolean> | undefined;

  function request(path: string, init: RequestInit = {}) {
    const headers = new Headers(init.headers);
    if (typeof init.body === "string") headers.set("Content-Type", "application/json");
    if (team) headers.set("X-Tenant-Id", team);
    return send(base + path, { ...init, headers, credentials: "include" });
  }

  /** Renews the cookies, once for all calls that wait for it. */
  function refresh() {
    refreshing ??= request("/api/v1/public/auth/refresh", { method: "POST", body: '{"mode":"cookie"}' })
      .then((response) => response.ok)
      .finally(() => (refreshing = undefined));
    return refreshing;
  }

  async function call<T>(path: string, init?: RequestInit): Promise<T> {
    let response = await request(path, init);
    if (response.status === 401 && (await errorOf(response.clone())).code === "UNAUTHORIZED" && (await refresh())) {
      response = await request(path, init);
    }
    if (!response.ok) throw new Failure(response.status, await errorOf(response));
    return response.status === 204 ? (undefined as T) : await response.json();
  }

  return {
    get: <T>(path: string, signal?: AbortSignal) => call<T>(path, { signal }),
    post: <T>(path: string, body: unknown) => call<T>(path, { method: "POST", body: JSON.stringify(body) }),
    upload: <T>(path: string, file: File) => {
      const form = new FormData();
      form.append("file", file);
      return call<T>(path, { method: "POST", body: form });
    },
    chooseTeam: (id: string | undefined) => (team = id),
  };
}

async function errorOf(response: Response): Promise<ApiError> {
  return (await response.json()).error;
}
// ANCHOR_END: cookies

// ANCHOR: bearer
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./openapi.js";

export type Session = { access: string; refresh: string; expires: number };
/** The only place of the tokens, such as an entry of `localStorage` or the key chain of a phone. */
export type SessionStore = { load(): Session | undefined; save(session: Session | undefined): void };

/** Calls the app with tokens, and renews them before they expire. */
export function createBearerClient(baseUrl: string, store: SessionStore) {
  const anonymous = createClient<paths>({ baseUrl });
  const app = createClient<paths>({ baseUrl });
  let renewing: Promise<Session | undefined> | undefined;

  function keep({ access_token, refresh_token, expires_in }: components["schemas"]["SessionTokens"]) {
    const session = { access: access_token, refresh: refresh_token, expires: Date.now() + expires_in * 1000 };
    store.save(session);
    return session;
  }

  async function renew(refresh_token: string) {
    const { data, response } = await anonymous.POST("/api/v1/public/auth/refresh", { body: { refresh_token } });
    if (data?.mode === "token") return keep(data);
    if (response.status === 401) store.save(undefined); // the session has ended: sign in again
    return undefined;
  }

  /** Returns a session of at least another half minute. Reads the store, because another tab may have renewed it. */
  async function current() {
    const session = store.load();
    if (!session || session.expires > Date.now() + 30_000) return session;
    renewing ??= renew(session.refresh).finally(() => (renewing = undefined));
    return renewing;
  }

  const authorize: Middleware = {
    async onRequest({ request }) {
      const session = await current();
      if (session) request.headers.set("Authorization", `Bearer ${session.access}`);
      return request;
    },
  };
  app.use(authorize);

  return {
    app,
    /** Returns a challenge if a second factor is needed: post it with a code to `/api/v1/public/auth/mfa`. */
    async signIn(email: string, password: string) {
      const { data, error } = await anonymous.POST("/api/v1/public/auth/login", { body: { email, password } });
      if (!data) throw error;
      if ("challenge" in data) return data;
      if (data.mode === "token") keep(data);
      return undefined;
    },
  };
}
// ANCHOR_END: bearer
