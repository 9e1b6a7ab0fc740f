//! Tests of SMS codes.

use omnistack_auth::users::{NewUser, Users};
use omnistack_messaging::sms::{Sms, SmsMemory, SmsMessage, SmsSender};
use omnistack_testkit::on_each_database;

use super::{second_factors::wrong, *};
use crate::{sessions::MaintenanceJob, support};

const ADA: &str = "ada@example.com";
const EVE: &str = "eve@example.com";
const NUMBER: &str = "+491701234567";
const OTHER_NUMBER: &str = "+442079460018";

/// An app, and the mails and text messages it has sent.
struct SmsApp {
    post: AccountsApp,
    texts: SmsMemory,
}

impl SmsApp {
    async fn start(database: TestDatabase) -> Self {
        let texts = SmsMemory::default();
        let texter = SmsSender::new(texts.clone());
        let more = |app: AppBuilder| app.with(Sms::default()).replace(texter).set("AUTH_SMS_CODES", "true");
        Self { post: start_with(database, more).await, texts }
    }

    async fn messages(&self) -> Vec<SmsMessage> {
        self.post.app.run_jobs().await;
        self.texts.take()
    }

    /// Returns the code in the only message.
    async fn code(&self) -> String {
        let messages = self.messages().await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages[0].text[..6].to_owned()
    }

    async fn begin(&self, signed: &SignedInUser, number: &str) -> TestResponse {
        self.post.mfa(signed, "/sms", json!({ "phone": number })).await
    }

    async fn confirm(&self, signed: &SignedInUser, code: &str) -> TestResponse {
        self.post.mfa(signed, "/sms/confirm", json!({ "code": code })).await
    }

    /// Creates a signed-in user whose number was confirmed just now.
    async fn enrolled(&self, email: &str, number: &str) -> SignedInUser {
        self.post.registered(email).await;
        let signed = self.post.signed_in(email).await;
        self.begin(&signed, number).await.expect(202);
        self.confirm(&signed, &self.code().await).await.expect(204);
        _ = self.post.take_mails().await;
        signed
    }

    /// Requests a code to complete a sign-in.
    async fn request_code(&self, challenge: &str) -> TestResponse {
        self.post.post("mfa/sms", json!({ "challenge": challenge })).await
    }

    /// Requests a code for step-up authentication in a session.
    async fn ask_signed_in(&self, signed: &SignedInUser) -> TestResponse {
        self.post.client(signed).post(format!("{APP}/mfa/sms/send"), json!({})).await
    }

    async fn remove(&self, signed: &SignedInUser) -> TestResponse {
        self.post.client(signed).delete(format!("{APP}/mfa/sms")).await
    }

    /// Advances the clock and refreshes the session.
    async fn advance_and_refresh(&self, signed: &SignedInUser, by: Duration) -> SignedInUser {
        self.post.app.clock().advance(by);
        SignedInUser::of(self.post.refresh(signed).await)
    }
}

on_each_database! {
    async fn a_number_is_a_second_factor_once_its_code_was_shown(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        post.registered(ADA).await;
        let (laptop, tablet) = (post.signed_in(ADA).await, post.signed_in(ADA).await);
        post.client(&tablet).get(ME).await.expect(200);
        phones.confirm(&laptop, "123456").await.expect_error(409, "NOTHING_TO_CONFIRM");
        for wrong in ["", "0170 1234567", "+49170x", "+49", "somebody"] {
            let refused = phones.begin(&laptop, wrong).await.expect_error(422, "VALIDATION_FAILED");
            assert_eq!(refused.json()["error"]["details"]["fields"][0]["field"], "phone", "{wrong}");
        }
        let begun = phones.begin(&laptop, "+49 170 123-4567").await.expect(202).json();
        assert_eq!(begun, json!({ "phone": "+49•••••67", "expires_in": 600 }));
        let messages = phones.messages().await;
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        let code = message.text[..6].to_owned();
        assert_eq!((message.to.as_str(), message.segments().count), (NUMBER, 1));
        assert!(message.text.contains("is your code for ") && message.text.contains("Do not share it"), "{}", message.text);
        assert!(message.text.ends_with(&format!("\n\n@app.example.com #{code}")), "{}", message.text);

        // No code is required yet, and this one is valid only for confirming the number.
        post.login(ADA, PASSWORD).await.expect(200);
        assert_eq!(post.verify(&laptop, &code).await, 422);
        assert!(post.state(&laptop).await.get("sms").is_none());
        phones.confirm(&laptop, &wrong(&code)).await.expect(422);
        phones.confirm(&laptop, &format!(" {} {}", &code[..3], &code[3..])).await.expect(204);
        phones.confirm(&laptop, &code).await.expect_error(409, "NOTHING_TO_CONFIRM");
        phones.begin(&laptop, OTHER_NUMBER).await.expect_error(409, "PHONE_EXISTS");

        // From now on the factor is required: this session counts as verified, other sessions must verify.
        post.client(&tablet).get(ME).await.expect(401);
        assert_eq!(post.state(&laptop).await["sms"]["phone"], "+49•••••67");
        assert_eq!(post.login(ADA, PASSWORD).await.expect(202).json()["methods"], json!(["sms"]));
        let challenge = post.challenge(ADA).await;
        assert_eq!(phones.request_code(&challenge).await.expect(202).json()["phone"], "+49•••••67");
        let code = phones.code().await;
        SignedInUser::of(post.finish(&challenge, &code).await);
        let export = post.client(&laptop).post(format!("{ME}/export"), json!({})).await.expect(200).json();
        assert_eq!(export["phone"], NUMBER, "one's own data");

        let audited = post.audit_actions().await;
        for action in ["account.code_sent", "account.phone_added", "account.code_refused"] {
            assert!(audited.contains(&action.to_owned()), "{audited:?}");
        }
        let mut tx = post.app.db().all_tenants().begin_read().await.unwrap();
        let sql = "select cast(details as text) from omni_audit_entries where details is not null";
        for (details,) in tx.query(sql).fetch_all::<(String,)>().await.unwrap() {
            assert!(!details.contains("1701234567") && !details.contains(&code), "{details}");
        }
        tx.commit().await.unwrap();
        let mails = post.take_mails().await;
        assert!(mails.iter().any(|mail| text(mail).contains("phone number for codes was added")), "{mails:?}");
    }

    async fn a_code_is_one_users_once_for_ten_minutes_and_five_guesses(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        let ada = phones.enrolled(ADA, NUMBER).await;
        phones.enrolled(EVE, OTHER_NUMBER).await;

        // Another user's challenge is rejected, and each code works once, also in two concurrent requests.
        let (mine, theirs) = (post.challenge(ADA).await, post.challenge(EVE).await);
        phones.request_code(&mine).await.expect(202);
        let code = phones.code().await;
        post.finish(&theirs, &code).await.expect_error(401, "SECOND_FACTOR_INVALID");
        let (finished, shown) = tokio::join!(post.finish(&mine, &code), post.verify(&ada, &code));
        let finished = finished.status.as_u16();
        assert!(matches!((finished, shown), (200, 422) | (401, 204)), "{finished} {shown}");
        assert_eq!(post.verify(&ada, &code).await, 422, "used up");
        post.finish(&post.challenge(ADA).await, &code).await.expect_error(401, "SECOND_FACTOR_INVALID");

        // A newer code replaces it.
        let mut ada = phones.advance_and_refresh(&ada, 16 * MINUTE).await;
        phones.ask_signed_in(&ada).await.expect(202);
        let older = phones.code().await;
        phones.ask_signed_in(&ada).await.expect(202);
        let newer = phones.code().await;
        if older != newer {
            assert_eq!(post.verify(&ada, &older).await, 422);
        }
        assert_eq!(post.verify(&ada, &newer).await, 204);

        // The code expires.
        for (seconds, status) in [(599, 204), (600, 422)] {
            ada = phones.advance_and_refresh(&ada, 16 * MINUTE).await;
            phones.ask_signed_in(&ada).await.expect(202);
            let code = phones.code().await;
            ada = phones.advance_and_refresh(&ada, Duration::from_secs(seconds)).await;
            assert_eq!(post.verify(&ada, &code).await, status, "{seconds}");
        }
        let ada = SignedInUser::of({
            post.app.clock().advance(16 * MINUTE);
            let challenge = post.challenge(ADA).await;
            phones.request_code(&challenge).await.expect(202);
            post.finish(&challenge, &phones.code().await).await
        });

        // After five wrong guesses the code is invalid, whatever the time between them.
        phones.ask_signed_in(&ada).await.expect(202);
        let code = phones.code().await;
        for guess in 0..5 {
            assert_eq!(post.verify(&ada, &wrong(&code)).await, 422, "{guess}");
        }
        assert_eq!(post.verify(&ada, &code).await, 429);
        post.app.clock().advance(MINUTE);
        assert_eq!(post.verify(&ada, &code).await, 422, "the right one, too late");
        post.app.clock().advance(2 * MINUTE);
        phones.ask_signed_in(&ada).await.expect(202);
        assert_eq!(post.verify(&ada, &phones.code().await).await, 204);
    }

    async fn a_code_is_kept_so_that_trying_all_of_them_finds_none(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        let ada = phones.enrolled(ADA, NUMBER).await;
        phones.ask_signed_in(&ada).await.expect(202);
        let code = phones.code().await;
        let sql = "select code_key, code_hash from omni_sms_code_phones";
        let (key, hash): (String, Vec<u8>) = post.app.db().query(sql).fetch_one().await.unwrap();
        assert!(key.starts_with("v1.") && !key.contains(&code), "{key}");
        let user = post.client(&ada).get(ME).await.expect(200).json()["id"].as_str().unwrap().to_owned();
        for guessed in [code.clone(), format!("{user} {NUMBER} {code}")] {
            assert_ne!(omnistack_core::crypto::Sha256::digest(&guessed).as_bytes().as_slice(), hash);
        }
        // The code is not kept in the outbox after it was sent.
        let mut tx = post.app.db().all_tenants().begin_read().await.unwrap();
        let sql = "select count(*) from omni_messages where content is not null";
        assert_eq!(tx.query(sql).fetch_one::<(i64,)>().await.unwrap(), (0,));
        tx.commit().await.unwrap();
        // A code's row copied to another user is not valid there.
        let eve = phones.enrolled(EVE, OTHER_NUMBER).await;
        let sql = "update omni_sms_code_phones set code_key = $1, code_hash = $2, \
                   code_until = (select code_until from omni_sms_code_phones where number = $3)";
        let stolen = post.app.db().query(sql).bind(key).bind(hash).bind(NUMBER);
        assert_eq!(stolen.execute().await.unwrap(), 2);
        assert_ne!(post.verify(&eve, &code).await, 204);
        assert_eq!(post.verify(&ada, &code).await, 204);
    }

    async fn a_number_that_changes_takes_its_code_along(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        post.registered(ADA).await;
        let ada = post.signed_in(ADA).await;
        phones.begin(&ada, NUMBER).await.expect(202);
        let first = phones.code().await;
        phones.begin(&ada, OTHER_NUMBER).await.expect(202);
        let messages = phones.messages().await;
        assert_eq!(messages[0].to.as_str(), OTHER_NUMBER);
        let second = messages[0].text[..6].to_owned();
        if first != second {
            phones.confirm(&ada, &first).await.expect(422);
        }
        phones.confirm(&ada, &second).await.expect(204);
        assert_eq!(post.state(&ada).await["sms"]["phone"], "+44•••••18");

        // A confirmed number stays until it is removed, and its codes don't confirm another number.
        phones.ask_signed_in(&ada).await.expect(202);
        let old = phones.code().await;
        phones.remove(&ada).await.expect(204);
        assert_eq!(post.verify(&ada, &old).await, 422);
        let ada = phones.advance_and_refresh(&ada, 16 * MINUTE).await;
        phones.begin(&ada, NUMBER).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        let ada = post.signed_in(ADA).await;
        phones.begin(&ada, NUMBER).await.expect(202);
        _ = phones.code().await;
        phones.confirm(&ada, &old).await.expect(422);
        // A new number can be confirmed as long as its code is valid.
        let ada = phones.advance_and_refresh(&ada, 11 * MINUTE).await;
        phones.confirm(&ada, &old).await.expect_error(409, "NOTHING_TO_CONFIRM");
        // An unconfirmed number is deleted.
        post.app.clock().advance(25 * 60 * MINUTE);
        post.app.jobs().enqueue(MaintenanceJob {}).await.unwrap();
        post.app.run_jobs().await;
        for sql in ["select count(*) from omni_sms_code_phones", "select count(*) from omni_sms_code_sends"] {
            assert_eq!(post.app.db().query(sql).fetch_one::<(i64,)>().await.unwrap(), (0,), "{sql}");
        }
    }

    async fn nobody_is_flooded(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        // Adding the number sent one message.
        phones.enrolled(ADA, NUMBER).await;
        let mut sent = 1;
        for quarter in 0..3 {
            while sent < 3 * (quarter + 1) {
                let challenge = post.challenge(ADA).await;
                phones.request_code(&challenge).await.expect(202);
                sent += 1;
            }
            let challenge = post.challenge(ADA).await;
            let refused = phones.request_code(&challenge).await.expect_error(429, "TOO_MANY_MESSAGES");
            assert_eq!(refused.header("retry-after"), Some("900"));
            assert!(!refused.text().contains("1701234567"), "{}", refused.text());
            post.app.clock().advance(15 * MINUTE);
        }
        phones.request_code(&post.challenge(ADA).await).await.expect(202);
        let day = phones.request_code(&post.challenge(ADA).await).await.expect_error(429, "TOO_MANY_MESSAGES");
        assert_eq!(day.header("retry-after"), Some("83700"), "a day after the first");
        assert_eq!(phones.messages().await.len(), 9);
        // The limit holds per number, also for a caller with many accounts.
        post.registered(EVE).await;
        let eve = post.signed_in(EVE).await;
        phones.begin(&eve, NUMBER).await.expect_error(429, "TOO_MANY_MESSAGES");
        assert_eq!(phones.messages().await.len(), 0);
        phones.begin(&eve, OTHER_NUMBER).await.expect(202);
        assert_eq!(phones.messages().await.len(), 1);
        post.app.clock().advance(Duration::from_secs(83_700));
        phones.request_code(&post.challenge(ADA).await).await.expect(202);
    }

    async fn of_many_at_once_no_more_are_sent(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let ada = phones.enrolled(ADA, NUMBER).await;
        let asked: Vec<_> = (0..10)
            .map(|_| {
                let request = phones.post.client(&ada).post(format!("{APP}/mfa/sms/send"), json!({}));
                tokio::spawn(async move { request.await.status.as_u16() })
            })
            .collect();
        let mut sent = 0;
        for asked in asked {
            match asked.await.unwrap() {
                202 => sent += 1,
                status => assert_eq!(status, 429),
            }
        }
        assert_eq!((sent, phones.messages().await.len()), (2, 2), "and one before");
    }

    async fn a_code_is_sent_to_nobody_who_has_not_shown_the_first_factor(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        let ada = phones.enrolled(ADA, NUMBER).await;
        // The request contains neither an address nor a number, so it can't be used to probe them.
        for (body, status) in [
            (json!({ "challenge": "omo_made-up" }), 400),
            (json!({ "email": ADA }), 422),
            (json!({ "phone": NUMBER }), 422),
        ] {
            let refused = post.post("mfa/sms", body.clone()).await;
            assert_eq!(refused.status.as_u16(), status, "{body}");
        }
        let challenge = post.challenge(ADA).await;
        post.finish(&challenge, "000000").await.expect_error(401, "SECOND_FACTOR_INVALID");
        phones.request_code(&challenge).await.expect_error(400, "TOKEN_INVALID");
        let challenge = post.challenge(ADA).await;
        post.app.clock().advance(6 * MINUTE);
        phones.request_code(&challenge).await.expect_error(400, "TOKEN_INVALID");
        // Eve has another factor and no number. She can add Ada's number, and the response does not reveal Ada.
        let (eve, _) = post.enrolled(EVE).await;
        phones.request_code(&post.challenge(EVE).await).await.expect_error(409, "NO_PHONE");
        phones.ask_signed_in(&eve).await.expect_error(409, "NO_PHONE");
        let begun = phones.begin(&eve, NUMBER).await.expect(202);
        assert_eq!(begun.json(), json!({ "phone": "+49•••••67", "expires_in": 600 }));
        phones.confirm(&eve, &phones.code().await).await.expect(204);
        assert_eq!(post.login(EVE, PASSWORD).await.expect(202).json()["methods"], json!(["totp", "sms"]));
        assert_eq!(phones.messages().await.len(), 0);
        post.client(&ada).get(ME).await.expect(200);
    }

    async fn a_number_is_taken_away_by_who_has_shown_a_factor(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        post.registered(EVE).await;
        let eve = post.signed_in(EVE).await;
        phones.remove(&eve).await.expect_error(401, "SECOND_FACTOR_REQUIRED");
        let ada = phones.enrolled(ADA, NUMBER).await;
        let ada = phones.advance_and_refresh(&ada, 11 * MINUTE).await;
        phones.remove(&ada).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
        let challenge = post.challenge(ADA).await;
        phones.request_code(&challenge).await.expect(202);
        let other = SignedInUser::of(post.finish(&challenge, &phones.code().await).await);
        phones.ask_signed_in(&ada).await.expect(202);
        assert_eq!(post.verify(&ada, &phones.code().await).await, 204);
        post.client(&other).get(ME).await.expect(200);
        phones.remove(&ada).await.expect(204);
        phones.remove(&ada).await.expect_error(404, "NOT_FOUND");
        post.client(&other).get(ME).await.expect(401);
        assert!(post.audit_actions().await.contains(&"account.phone_removed".to_owned()));
        let mails = post.take_mails().await;
        assert!(mails.iter().any(|mail| text(mail).contains("phone number was removed")), "{mails:?}");
        post.login(ADA, PASSWORD).await.expect(200);
        phones.ask_signed_in(&ada).await.expect_error(409, "NO_PHONE");
    }

    async fn an_operator_takes_a_lost_number_away(database: TestDatabase) {
        let phones = SmsApp::start(database).await;
        let post = &phones.post;
        let ada = phones.enrolled(ADA, NUMBER).await;
        let me = post.client(&ada).get(ME).await.expect(200).json()["id"].as_str().unwrap().to_owned();
        let users: Users = post.app.app().context().get().unwrap();
        let mut new = NewUser::with_email("boss@example.com");
        new.operator = true;
        let boss = users.create(new).await.unwrap();
        let operator = support::client(&post.app, &support::sign_in(&post.app, boss).await);
        let reset = || operator.post(format!("/api/v1/admin/users/{me}/reset-factors"), json!({}));
        let done = reset().await.expect(200).json();
        assert_eq!((&done["totp"], &done["phone"]), (&json!(false), &json!(true)), "{done}");
        reset().await.expect_error(409, "NO_SECOND_FACTOR");
        post.client(&ada).get(ME).await.expect(401);
        post.login(ADA, PASSWORD).await.expect(200);
    }
}

#[tokio::test]
async fn without_the_setting_there_are_no_codes() {
    let post = start_with(TestDatabase::sqlite(), |app| app.with(Sms::default())).await;
    post.registered(ADA).await;
    let ada = post.signed_in(ADA).await;
    post.mfa(&ada, "/sms", json!({ "phone": NUMBER })).await.expect(404);
    post.post("mfa/sms", json!({ "challenge": "omo_" })).await.expect(404);
}

#[tokio::test]
async fn who_has_not_confirmed_an_address_has_nothing_sent() {
    let more =
        |app: AppBuilder| app.with(Sms::default()).set("AUTH_SMS_CODES", "true").set("AUTH_VERIFIED_EMAIL", "false");
    let post = start_with(TestDatabase::sqlite(), more).await;
    post.post("register", json!({ "email": ADA, "password": PASSWORD })).await.expect(202);
    let stranger = post.signed_in(ADA).await;
    let begun = post.mfa(&stranger, "/sms", json!({ "phone": NUMBER })).await;
    begun.expect_error(403, "EMAIL_NOT_VERIFIED");
}
