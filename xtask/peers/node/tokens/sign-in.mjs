// An identity provider (oidc-provider) with a form that signs in any user without a password. Prints one line.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

// The time of the tests' clock.
Date.now = () => Date.UTC(2030, 0, 1);

let provider;
const server = createServer((request, response) => provider.callback()(request, response));
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const commands = {
  start({ redirect, client, secret, method }) {
    const jwk = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
    provider = new Provider(issuer, {
      jwks: { keys: [{ ...jwk, alg: "RS256", use: "sig", kid: "k" }] },
      clients: [{ client_id: client, client_secret: secret, redirect_uris: [redirect], token_endpoint_auth_method: method }],
      cookies: { keys: ["secret"] },
      pkce: { required: () => true },
      conformIdTokenClaims: false,
      claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: "Ada Lovelace" }),
      }),
    });
    return { issuer };
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
