//! Tests of users who come from another system with their password hashes.

use omnistack_auth::{
    Auth,
    password::{BcryptImporter, Password, PasswordHashImporter, ScryptImporter},
    users::{NewUser, Users},
};
use omnistack_core::{ExposeSecret as _, identity::UserId};
use omnistack_testkit::on_each_database;

use super::*;

/// The hashes of [`PASSWORD`] by Devise with a pepper, by Laravel, and by Better Auth.
const DEVISE: &str = "$2a$04$abcdefghijklmnopqrstuukgtoiuQ8LN721.68970rKNjI12gQRA.";
const LARAVEL: &str = "$2y$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS";
const LARAVEL_ARGON2: &str =
    "$argon2id$v=19$m=65536,t=4,p=1$bGFyYXZlbC1zYWx0LTE2Yg$vKrT2gQZZhoJwlzciRTBIK4fdxo6lCeksSlIEwsJ/+8";
const BETTER_AUTH: &str = "3f2a9d0c77b1e4c85566aa0102030405:354b8bee116a4e31289e41ada6742b20f064560163af40160539ecbb80dd241\
                           dcf09e5fe3e76fe1343afa19560cd652a7e6ceed6cd336b1077a8889f0ea0d331";

/// An importer that knows none of the others' hashes.
struct Reversed;

impl PasswordHashImporter for Reversed {
    fn verify(&self, password: &Password, hash: &str) -> Option<bool> {
        let reversed: String = password.expose_secret().chars().rev().collect();
        Some(hash.strip_prefix("reversed:")? == reversed)
    }
}

impl AccountsApp {
    /// Creates a user whose id is a number, with a hash of another system.
    async fn import(&self, number: i64, email: &str, hash: &str) {
        let users: Users = self.app.app().context().get().unwrap();
        let mut new = NewUser::with_email(email).with_password_hash(hash);
        new.id = Some(UserId::from_number(number));
        new.email_verified = true;
        assert_eq!(users.create(new).await.unwrap().user.number(), Some(number));
    }

    async fn stored_hash(&self, email: &str) -> String {
        let select = self.app.db().query("select password_hash from omni_users where email = $1");
        let (hash,): (String,) = select.bind(email.to_owned()).fetch_one().await.unwrap();
        hash
    }
}

/// Starts an app with importers, one after another.
async fn start_importing(database: TestDatabase, auth: Auth) -> AccountsApp {
    let (sent, mailer) = memory();
    let assemble = |app: AppBuilder| {
        app.with(auth)
            .with(Mail::default())
            .replace(mailer)
            .set("PUBLIC_URL", "https://app.example.com")
            .set("AUTH_ARGON2_MEMORY", "64")
            .set("AUTH_ARGON2_PASSES", "1")
    };
    AccountsApp { app: TestApp::start_with_auth(database, assemble).await, sent }
}

on_each_database! {
    async fn a_hash_of_another_system_is_replaced_at_the_next_sign_in(database: TestDatabase) {
        let auth = Auth::built_in()
            .import_hashes(ScryptImporter)
            .import_hashes(Reversed)
            .import_hashes(BcryptImporter::default());
        let app = start_importing(database, auth).await;
        let reversed = format!("reversed:{}", PASSWORD.chars().rev().collect::<String>());
        let hashes = [LARAVEL, LARAVEL_ARGON2, BETTER_AUTH, reversed.as_str()];
        for (number, hash) in (1..).zip(hashes) {
            let email = format!("user{number}@example.com");
            app.import(number, &email, hash).await;
            app.login(&email, OTHER).await.expect_error(401, "CREDENTIALS_INVALID");
            assert_eq!(app.stored_hash(&email).await, hash, "a wrong password changes nothing");

            let signed = SignedInUser::of(app.login(&email, PASSWORD).await);
            let me = app.client(&signed).get(ME).await.expect(200).json();
            assert_eq!(me["id"], json!(UserId::from_number(number)));
            let stored = app.stored_hash(&email).await;
            assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,"), "{stored}");
            app.login(&email, PASSWORD).await.expect(200);
            assert_eq!(app.stored_hash(&email).await, stored);
            app.login(&email, OTHER).await.expect_error(401, "CREDENTIALS_INVALID");
        }
    }

    async fn a_pepper_belongs_to_the_importer(database: TestDatabase) {
        let auth = Auth::built_in().import_hashes(BcryptImporter::default().pepper("pepper"));
        let app = start_importing(database, auth).await;
        app.import(1, "ada@example.com", DEVISE).await;
        app.import(2, "eve@example.com", LARAVEL).await;
        app.login("eve@example.com", PASSWORD).await.expect_error(401, "CREDENTIALS_INVALID");
        app.login("ada@example.com", PASSWORD).await.expect(200);
        assert!(app.stored_hash("ada@example.com").await.starts_with("$argon2id$"));
    }

    async fn without_an_importer_a_new_password_is_set_by_mail(database: TestDatabase) {
        let app = start(database).await;
        app.import(1, "ada@example.com", LARAVEL).await;
        app.login("ada@example.com", PASSWORD).await.expect_error(401, "CREDENTIALS_INVALID");
        app.post("forgot-password", json!({ "email": "ada@example.com" })).await.expect(202);
        let token = app.token().await;
        app.post("reset-password", json!({ "token": token, "password": PASSWORD })).await.expect(200);
        app.login("ada@example.com", PASSWORD).await.expect(200);
    }
}
