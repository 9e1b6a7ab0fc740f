// An identity provider (oidc-provider) that rotates its keys on command. Reads one JSON object per line and writes
// one for each.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

// The time of the tests' clock.
Date.now = () => Date.UTC(2030, 0, 1);

let provider;
const server = createServer((request, response) => provider.callback()(request, response));
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
let keys = [];

const algorithms = { RS256: ["rsa", { modulusLength: 2048 }], ES256: ["ec", { namedCurve: "P-256" }], EdDSA: ["ed25519", {}] };

const commands = {
  // The newest key signs. The previous keys that are kept are published too.
  rotate({ alg, keep }) {
    const [type, options] = algorithms[alg];
    const jwk = generateKeyPairSync(type, options).privateKey.export({ format: "jwk" });
    keys = [{ ...jwk, alg, use: "sig", kid: randomUUID() }, ...keys.slice(0, keep)];
    const clients = [{ client_id: "web", client_secret: "secret", redirect_uris: ["https://app.example.com/"], id_token_signed_response_alg: alg }];
    provider = new Provider(issuer, { jwks: { keys }, clients, cookies: { keys: ["secret"] } });
    return { issuer };
  },
  // An access token of RFC 9068, as the provider's authorization endpoint issues it.
  async token({ subject, audience, alg }) {
    const client = await provider.Client.find("web");
    const token = new provider.AccessToken({ accountId: subject, client, scope: "api", grantId: "grant", gty: "authorization_code" });
    token.resourceServer = new provider.ResourceServer(audience, {
      scope: "api", audience, accessTokenFormat: "jwt", accessTokenTTL: 300, jwt: { sign: { alg } },
    });
    return { token: await token.save() };
  },
  // An ID token, whose audience is only the client.
  async idToken({ subject }) {
    const client = await provider.Client.find("web");
    const token = new provider.IdToken({ sub: subject }, { client });
    token.set("nonce", "n");
    token.scope = "openid";
    return { token: await token.issue({ use: "idtoken" }) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = await commands[command](rest);
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
server.close();
