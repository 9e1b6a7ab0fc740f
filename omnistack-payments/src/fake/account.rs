//! Transactions of an account at the fake: the SQL of its objects.

use std::fmt::Display;

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{self, Dialect, Tx},
    id::Id,
    jobs::NewJob,
    payment::{PaymentError, ProviderEventObject},
    webhook::DataEnvironment,
};

use super::{
    FakeBank,
    delivery::{AdvanceFakePayments, event_jobs},
    objects::{FakeEvent, FakeKey, FakeObject, KeyResult},
};

/// Largest number of objects that a list of the fake has.
const MAX_LISTED_OBJECTS: i64 = 1_000;

/// An account at the fake.
#[derive(Clone, Debug)]
pub(super) struct FakeAccount {
    /// The name of the service.
    pub(super) service: String,
    pub(super) environment: DataEnvironment,
}

/// A transaction that changes objects of an account. On PostgreSQL too, those of one account run one after another.
pub(super) struct FakeTx {
    pub(super) bank: FakeBank,
    pub(super) account: FakeAccount,
    /// The time at which the changes take place.
    pub(super) now: Timestamp,
    tx: Tx,
}

/// Returns the error for a call that had no effect because the state could not be read or written.
pub(super) fn unavailable(error: impl Display) -> PaymentError {
    let message = format!("the state of the fake could not be used: {error}");
    PaymentError::Unavailable { message, retry_after: None }
}

/// Returns the error for a request that will never succeed.
pub(super) fn rejected(code: &str, message: impl Into<String>) -> PaymentError {
    PaymentError::Rejected { code: Some(code.into()), message: message.into() }
}

impl FakeTx {
    /// Begins a transaction at the time of the app's clock.
    pub(super) async fn begin(bank: &FakeBank, account: FakeAccount) -> Result<Self, PaymentError> {
        let now = bank.inner().clock.now();
        Self::begin_at(bank, account, now).await
    }

    /// Begins a transaction at a time.
    pub(super) async fn begin_at(bank: &FakeBank, account: FakeAccount, now: Timestamp) -> Result<Self, PaymentError> {
        let mut tx = bank.inner().db.begin().await.map_err(unavailable)?;
        if tx.dialect() == Dialect::Postgres {
            let lock = format!("omni_fake/{}/{}", account.service, account.environment);
            let sql = "select pg_advisory_xact_lock(hashtextextended($1, 0))";
            tx.query(sql).bind(lock).execute().await.map_err(unavailable)?;
        }
        Ok(Self { bank: bank.clone(), account, now, tx })
    }

    /// Begins a transaction that only reads, which waits for no other one.
    pub(super) async fn begin_read(bank: &FakeBank, account: FakeAccount) -> Result<Self, PaymentError> {
        let tx = bank.inner().db.begin_read().await.map_err(unavailable)?;
        Ok(Self { bank: bank.clone(), account, now: bank.inner().clock.now(), tx })
    }

    /// Makes the changes durable.
    pub(super) async fn commit(self) -> Result<(), PaymentError> {
        // The commit may have reached the database before the connection failed.
        let unknown = |error: db::Error| PaymentError::Unknown { message: format!("the state of the fake: {error}") };
        self.tx.commit().await.map_err(unknown)
    }

    /// Returns a new id of an object.
    pub(super) fn new_id(&self, kind: &str) -> String {
        format!("fake_{kind}_{}", Id::<()>::new(self.now).uuid().simple())
    }

    /// Returns an object of the account. Returns `None` if there is none.
    pub(super) async fn find<T: FakeObject>(&mut self, id: &str) -> Result<Option<T>, PaymentError> {
        // Ids come from forms too. PostgreSQL refuses a NUL.
        if id.contains('\0') {
            return Ok(None);
        }
        let sql = "select body from omni_fake_objects where kind = $1 and id = $2 and service = $3
            and environment = $4";
        let found = self.tx.query(sql).bind(T::KIND).bind(id).bind(self.account.service.as_str());
        let found: Option<(String,)> =
            found.bind(self.account.environment.as_str()).fetch_optional().await.map_err(unavailable)?;
        found.map(|(body,)| serde_json::from_str(&body).map_err(unavailable)).transpose()
    }

    /// Returns an object of the account.
    ///
    /// # Errors
    /// [`PaymentError::NotFound`] if there is none.
    pub(super) async fn get<T: FakeObject>(&mut self, id: &str) -> Result<T, PaymentError> {
        self.find(id).await?.ok_or(PaymentError::NotFound { object: T::KIND })
    }

    /// Returns the newest objects of the account with a reference, the oldest of them first.
    pub(super) async fn with_reference<T: FakeObject>(&mut self, reference: &str) -> Result<Vec<T>, PaymentError> {
        let sql = "select body from omni_fake_objects where service = $1 and environment = $2 and kind = $3
            and reference = $4 order by id desc limit $5";
        let found = self.tx.query(sql).bind(self.account.service.as_str()).bind(self.account.environment.as_str());
        let found = found.bind(T::KIND).bind(reference).bind(MAX_LISTED_OBJECTS);
        let found: Vec<(String,)> = found.fetch_all().await.map_err(unavailable)?;
        found.into_iter().rev().map(|(body,)| serde_json::from_str(&body).map_err(unavailable)).collect()
    }

    /// Returns the newest objects that belong to an object, the oldest of them first.
    pub(super) async fn of_parent<T: FakeObject>(&mut self, parent: &str) -> Result<Vec<T>, PaymentError> {
        let sql = "select body from omni_fake_objects where parent = $1 and kind = $2 order by id desc limit $3";
        let found = self.tx.query(sql).bind(parent).bind(T::KIND).bind(MAX_LISTED_OBJECTS);
        let found: Vec<(String,)> = found.fetch_all().await.map_err(unavailable)?;
        found.into_iter().rev().map(|(body,)| serde_json::from_str(&body).map_err(unavailable)).collect()
    }

    /// Returns the newest objects of the account, the oldest of them first.
    pub(super) async fn all<T: FakeObject>(&mut self) -> Result<Vec<T>, PaymentError> {
        let sql = "select body from omni_fake_objects where service = $1 and environment = $2 and kind = $3
            order by id desc limit $4";
        let found = self.tx.query(sql).bind(self.account.service.as_str()).bind(self.account.environment.as_str());
        let found: Vec<(String,)> =
            found.bind(T::KIND).bind(MAX_LISTED_OBJECTS).fetch_all().await.map_err(unavailable)?;
        found.into_iter().rev().map(|(body,)| serde_json::from_str(&body).map_err(unavailable)).collect()
    }

    /// Stores an object, and enqueues a job for the time at which it changes by itself.
    pub(super) async fn put<T: FakeObject>(&mut self, object: &T) -> Result<(), PaymentError> {
        let sql = "insert into omni_fake_objects (kind, id, service, environment, reference, parent, due_at, body)
            values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (kind, id) do update set reference = excluded.reference,
            parent = excluded.parent, due_at = excluded.due_at, body = excluded.body";
        let body = serde_json::to_string(object).map_err(unavailable)?;
        let due_at = object.due_at();
        let insert = self.tx.query(sql).bind(T::KIND).bind(object.id()).bind(self.account.service.as_str());
        let insert = insert.bind(self.account.environment.as_str()).bind(object.reference().map(str::to_owned));
        let insert = insert.bind(object.parent().map(str::to_owned));
        insert.bind(due_at).bind(body).execute().await.map_err(unavailable)?;
        if let Some(due_at) = due_at {
            let key = format!("{}/{}", object.id(), due_at.as_micros());
            let job = NewJob::new(AdvanceFakePayments {}).run_at(due_at).unique(key);
            self.enqueue(job).await?;
        }
        Ok(())
    }

    async fn enqueue(&mut self, job: NewJob) -> Result<(), PaymentError> {
        let jobs = self.bank.inner().jobs.clone();
        jobs.enqueue_in(&mut self.tx, job).await.map_err(unavailable)?;
        Ok(())
    }

    /// Stores an event, which the app receives after the commit.
    pub(super) async fn emit(
        &mut self,
        kind: &str,
        object: ProviderEventObject,
        reference: Option<&str>,
    ) -> Result<(), PaymentError> {
        let event = FakeEvent {
            id: self.new_id("event"),
            kind: kind.into(),
            created: self.now,
            environment: self.account.environment,
            object,
            reference: reference.map(str::to_owned),
        };
        self.put(&event).await?;
        for job in event_jobs(&event.id, self.bank.inner().chaos) {
            self.enqueue(job).await?;
        }
        Ok(())
    }

    fn key_id(&self, key: &str) -> String {
        format!("{}/{}/{key}", self.account.service, self.account.environment)
    }

    /// Returns the id of the object of an earlier request with the same idempotency key. Returns `None` if there was
    /// none. `request` has everything that the request says.
    ///
    /// # Errors
    /// [`PaymentError::Declined`] if the earlier request was declined; [`PaymentError::Rejected`] if it was another
    /// request.
    pub(super) async fn replay(&mut self, key: &str, request: &str) -> Result<Option<String>, PaymentError> {
        let id = self.key_id(key);
        let Some(used) = self.find::<FakeKey>(&id).await? else { return Ok(None) };
        if used.request != Sha256::digest(request).to_string() {
            let message = "the idempotency key was used for another request; use a new key";
            return Err(rejected("idempotency_key_reused", message));
        }
        match used.result {
            KeyResult::Object(id) => Ok(Some(id)),
            KeyResult::Declined(decline) => Err(decline.into_error()),
        }
    }

    /// Stores the result of a request with an idempotency key.
    pub(super) async fn remember(&mut self, key: &str, request: &str, result: KeyResult) -> Result<(), PaymentError> {
        let key = FakeKey { id: self.key_id(key), request: Sha256::digest(request).to_string(), result };
        self.put(&key).await
    }

    /// Returns whether this is the first call with this text.
    pub(super) async fn is_first(&mut self, text: &str) -> Result<bool, PaymentError> {
        let id = self.key_id(&format!("seen/{text}"));
        if self.find::<FakeKey>(&id).await?.is_some() {
            return Ok(false);
        }
        let mark = FakeKey { request: String::new(), result: KeyResult::Object(id.clone()), id };
        self.put(&mark).await?;
        Ok(true)
    }
}
