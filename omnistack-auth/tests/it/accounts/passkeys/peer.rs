//! A test against soft-webauthn. `cargo xtask test --peers` runs it: it needs `TEST_PEERS_PYTHON`, a Python with
//! soft-webauthn.

use super::*;

/// Registers and signs in over HTTP, first with the package's device, which stores no user handle, and then with one
/// that stores it.
const SCRIPT: &str = r#"
import base64, json, sys, urllib.error, urllib.request
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.utils import sha256
from soft_webauthn import SoftWebauthnDevice

base, token, origin = sys.argv[1:]


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(value):
    if isinstance(value, bytes):
        return base64.urlsafe_b64encode(value).decode().rstrip("=")
    return {key: encode(one) for key, one in value.items()} if isinstance(value, dict) else value


def post(path, body, bearer=None):
    headers = {"content-type": "application/json"}
    if bearer:
        headers["authorization"] = "Bearer " + bearer
    request = urllib.request.Request(base + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def options(body):
    options = body["options"]
    options["challenge"] = decode(options["challenge"])
    if "user" in options:
        options["user"]["id"] = decode(options["user"]["id"])
    return {"publicKey": options}


def shown(credential):
    return encode({**credential, "id": encode(credential["rawId"])})


class Verifying(SoftWebauthnDevice):
    def create(self, options, origin):
        made = super().create(options, origin)
        parts = cbor.decode(made["response"]["attestationObject"])
        parts["authData"] = verified(parts["authData"])
        made["response"]["attestationObject"] = cbor.encode(parts)
        return made

    def get(self, options, origin):
        made = super().get(options, origin)
        data = made["response"]["authenticatorData"] = verified(made["response"]["authenticatorData"])
        signed = data + sha256(made["response"]["clientDataJSON"])
        made["response"]["signature"] = self.private_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        return made


def verified(data):
    return data[:32] + bytes([data[32] | 4]) + data[33:]


def add(device):
    status, body = post("/api/v1/app/auth/passkeys/start", {}, token)
    assert status == 200, body
    made = device.create(options(body), origin)
    body = {"ceremony": body["ceremony"], "credential": shown(made), "name": "soft-webauthn"}
    return post("/api/v1/app/auth/passkeys/finish", body, token)


def sign_in(device, origin):
    status, body = post("/api/v1/public/auth/passkeys/start", {})
    assert status == 200, body
    made = device.get(options(body), origin)
    return post("/api/v1/public/auth/passkeys/finish", {"ceremony": body["ceremony"], "credential": shown(made)})


status, body = add(SoftWebauthnDevice())
assert status == 422, body
device = Verifying()
status, body = add(device)
assert status == 201, body
for _ in range(2):
    status, body = sign_in(device, origin)
    assert status == 200, body
assert sign_in(device, "https://evil.example")[0] == 401
assert SoftWebauthnDevice.get is not Verifying.get
device.__class__ = SoftWebauthnDevice
assert sign_in(device, origin)[0] == 401
print(body["access_token"])
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
async fn soft_webauthn_registers_and_signs_in() {
    let post = start(TestDatabase::sqlite()).await;
    post.registered(ADA).await;
    let ada = post.signed_in(ADA).await;
    let listening = post.app.listen_with_defaults().await;
    let (python, base) = (std::env::var("TEST_PEERS_PYTHON").unwrap(), format!("http://{}", listening.address));
    let arguments = [SCRIPT.to_owned(), base, ada.access.clone(), HOME.to_owned()];
    let run = move || std::process::Command::new(python).arg("-c").args(arguments).output();
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let access = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let me = post.app.client_with_token(access).get(ME).await.expect(200).json();
    assert_eq!(me["email"], ADA);
    listening.shut_down().await;
}
