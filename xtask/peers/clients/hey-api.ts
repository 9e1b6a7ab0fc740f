// What @hey-api/openapi-ts makes of the API's description.

import { strict as assert } from "node:assert";
import { client } from "./hey-api/client.gen.js";
import {
  createProject,
  downloadFile,
  getCurrentTenant,
  getProject,
  listProjects,
  signIn,
  uploadFile,
} from "./hey-api/index.js";

const { CLIENT_URL: baseUrl = "", CLIENT_EMAIL: email = "", CLIENT_PASSWORD: password = "" } = process.env;

client.setConfig({ baseUrl });
const login = await signIn({ body: { email, password } });
assert(login.data && "access_token" in login.data);
const token = login.data.access_token;
assert(token);

client.setConfig({ auth: token });
const tenant = await getCurrentTenant();
assert(tenant.data);

const created = await createProject({
  body: { name: "Made by hey-api" },
  headers: { "X-Tenant-Id": tenant.data.id, "Idempotency-Key": "hey-api-1" },
});
assert(created.data);
const description: string | null = created.data.description;
assert.equal(description, null);

const list = await listProjects();
assert(list.data?.items.some((item) => item.id === created.data.id));
const filtered = await listProjects({
  query: { name: ["Made by hey-api", "No such name"], created_at_gte: "2020-01-01T00:00:00Z", limit: 5 },
});
assert.equal(filtered.data?.items.length, 1);

const text = "A text file, sent as it is.\n";
const uploaded = await uploadFile({ body: new Blob([text]), query: { name: "hey-api.txt" } });
assert(uploaded.data);
const content = await downloadFile({ path: { id: uploaded.data.id }, parseAs: "text" });
assert.equal(content.data, text);

const missing = await getProject({ path: { id: "0191d9c0-0000-7000-8000-000000000001" } });
assert.equal(missing.response?.status, 404);
assert.equal(missing.error?.error.code, "NOT_FOUND");
console.log("hey-api: every call was answered as described");
