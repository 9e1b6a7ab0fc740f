// Creates tokens and verifies OmniStack's, with jose. Reads one JSON object per line and writes one for each.
import { createInterface } from "node:readline";
import * as jose from "jose";

const commands = {
  async make({ alg, header, claims }) {
    const pair = await jose.generateKeyPair(alg, { extractable: true });
    const jwk = { ...(await jose.exportJWK(pair.publicKey)), kid: "jose", alg, use: "sig" };
    const token = await new jose.SignJWT(claims).setProtectedHeader({ alg, kid: "jose", ...header }).sign(pair.privateKey);
    return { jwk, token };
  },
  async shared({ secret, claims }) {
    const key = new TextEncoder().encode(secret);
    return { token: await new jose.SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(key) };
  },
  async unsecured({ claims }) {
    return { token: new jose.UnsecuredJWT(claims).encode() };
  },
  async verify({ keys, token, issuer, now }) {
    const options = { issuer, audience: issuer, typ: "at+jwt", algorithms: ["ES256"], currentDate: new Date(now * 1000) };
    const { payload } = await jose.jwtVerify(token, jose.createLocalJWKSet(keys), options);
    return { claims: payload };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  const answer = await commands[command](rest).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify(answer));
}
