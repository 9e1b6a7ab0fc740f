// What openapi-typescript makes of the API's description, with openapi-fetch.

import { strict as assert } from "node:assert";
import createClient from "openapi-fetch";
import type { components, paths } from "./openapi.js";

const { CLIENT_URL: baseUrl = "", CLIENT_EMAIL: email = "", CLIENT_PASSWORD: password = "" } = process.env;

const anonymous = createClient<paths>({ baseUrl });
const login = await anonymous.POST("/api/v1/public/auth/login", { body: { email, password } });
assert(login.data && "access_token" in login.data);
const token: string | undefined = login.data.access_token;
assert(token);

const app = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } });
const me = await app.GET("/api/v1/app/users/me");
const tenant = me.data?.tenant_id;
assert(tenant);

const created = await app.POST("/api/v1/app/projects", {
  params: { header: { "X-Tenant-Id": tenant, "Idempotency-Key": "openapi-fetch-1" } },
  body: { name: "Made by openapi-fetch" },
});
const project: components["schemas"]["Project"] | undefined = created.data;
assert(project);
// Always there, and null.
const description: string | null = project.description;
assert.equal(description, null);

const list = await app.GET("/api/v1/app/projects");
assert(list.data?.items.some((item) => item.id === project.id));
const filtered = await app.GET("/api/v1/app/projects", {
  params: { query: { name: ["Made by openapi-fetch", "No such name"], created_at_gte: "2020-01-01T00:00:00Z", limit: 5 } },
});
assert.equal(filtered.data?.items.length, 1);
const byNumber = await app.GET("/api/v1/app/projects", { params: { query: { page: 1, page_size: 5 } } });
assert((byNumber.data?.items.length ?? 0) >= 1);

const text = "A text file, sent as a form.\n";
const uploaded = await app.POST("/api/v1/app/files", {
  body: { file: text },
  bodySerializer: () => {
    const form = new FormData();
    form.append("file", new Blob([text], { type: "text/plain" }), "openapi-fetch.txt");
    return form;
  },
});
const file: components["schemas"]["StoredFile"] | undefined = uploaded.data;
assert(file);
assert.equal(file.name, "openapi-fetch.txt");
const content = await app.GET("/api/v1/app/files/{id}/content", {
  params: { path: { id: file.id } },
  parseAs: "text",
});
assert.equal(content.data, text);

const missing = await app.GET("/api/v1/app/projects/{id}", {
  params: { path: { id: "0191d9c0-0000-7000-8000-000000000001" } },
});
assert.equal(missing.response.status, 404);
assert(missing.error && "error" in missing.error);
assert.equal(missing.error.error.code, "NOT_FOUND");
const refused = await anonymous.POST("/api/v1/public/auth/login", { body: { email, password: "not the password" } });
assert.equal(refused.response.status, 401);
assert(refused.error && "error" in refused.error && refused.error.error.code);
console.log("openapi-fetch: every call was answered as described");
