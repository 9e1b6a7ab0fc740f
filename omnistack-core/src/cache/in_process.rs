//! Cache store in this process.

mod leases;
mod tags;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use foldhash::fast::RandomState;
use moka::{ops::compute::Op, policy::EvictionPolicy};

use super::{CacheStore, ClaimKind, Error, ErrorKind, Lease};
use crate::clock::Clock;
use leases::Claims;
use tags::{TagTable, Tags};

/// Approximate size of an entry in addition to its key and value, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 160;
/// Approximate additional size of a field of a hash or a member of a set, in bytes.
const ITEM_OVERHEAD_BYTES: usize = 48;

/// Cache store in this process, limited in size. The least recently used entries are evicted first; the
/// frequency of use is not considered, so that a value that was just stored is not evicted.
#[derive(Clone)]
pub struct MemoryStore(Arc<MemoryStoreInner>);

struct MemoryStoreInner {
    entries: moka::sync::Cache<String, Arc<CacheEntry>, RandomState>,
    tags: TagTable,
    locks: Claims,
    leases: Claims,
    fence: AtomicU64,
    clock: Clock,
}

#[derive(Clone)]
struct CacheEntry {
    value: CacheValue,
    until: Duration,
    tags: Tags,
}

#[derive(Clone)]
enum CacheValue {
    Bytes(Bytes),
    Number(i64),
    Hash(Arc<Mutex<SizedCollection<HashMap<String, Bytes>>>>),
    Set(Arc<Mutex<SizedCollection<HashSet<String>>>>),
}

#[derive(Default)]
struct SizedCollection<T> {
    items: T,
    bytes: usize,
}

/// Operation on an entry, and the result to return.
type EntryChange<T> = (Op<CacheEntry>, Result<T, Error>);

impl MemoryStore {
    /// Creates an empty store of approximately this many bytes.
    pub fn new(size: u64, clock: Clock) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(size)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|key: &String, entry: &Arc<CacheEntry>| {
                u32::try_from(key.len() + entry.value.size() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
            })
            .build_with_hasher(RandomState::default());
        let (tags, locks, leases) = (TagTable::default(), Claims::default(), Claims::default());
        Self(Arc::new(MemoryStoreInner { entries, tags, locks, leases, fence: AtomicU64::new(0), clock }))
    }

    /// Reads the value of a key without copying it.
    pub(crate) fn read<T>(&self, key: &str, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        match self.get_live(key).as_deref() {
            None => Ok(None),
            Some(CacheEntry { value: CacheValue::Bytes(bytes), .. }) => Ok(Some(read(bytes))),
            Some(CacheEntry { value, .. }) => value.to_bytes().map(|bytes| Some(read(&bytes))),
        }
    }

    fn get_live(&self, key: &str) -> Option<Arc<CacheEntry>> {
        let entry = self.0.entries.get(key)?;
        if entry.is_live(self.0.clock.elapsed()) {
            return Some(entry);
        }
        // An expired entry is removed.
        self.change(key, |entry, _| (if entry.is_none() { Op::Remove } else { Op::Nop }, Ok(()))).ok();
        None
    }

    /// Changes an entry; changes of one key run one after another. The closure gets only entries that are not
    /// expired.
    fn change<T>(
        &self,
        key: &str,
        change: impl FnOnce(Option<CacheEntry>, Duration) -> EntryChange<T>,
    ) -> Result<T, Error> {
        let mut answer = None;
        self.0.entries.entry_by_ref(key).and_compute_with(|entry| {
            let now = self.0.clock.elapsed();
            let live = entry.map(moka::Entry::into_value).filter(|entry| entry.is_live(now));
            let (op, result) = change(live.as_deref().cloned(), now);
            answer = Some(result);
            match op {
                Op::Put(entry) => Op::Put(Arc::new(entry)),
                Op::Remove => Op::Remove,
                Op::Nop => Op::Nop,
            }
        });
        answer.unwrap_or_else(|| Err(Error::new(ErrorKind::Other, "the entry was not changed")))
    }

    fn hash(&self, key: &str) -> Result<Option<Arc<Mutex<SizedCollection<HashMap<String, Bytes>>>>>, Error> {
        match self.get_live(key).as_deref().map(|entry| &entry.value) {
            None => Ok(None),
            Some(CacheValue::Hash(hash)) => Ok(Some(Arc::clone(hash))),
            Some(_) => Err(wrong_type("not a hash")),
        }
    }

    fn members(&self, key: &str) -> Result<Option<Arc<Mutex<SizedCollection<HashSet<String>>>>>, Error> {
        match self.get_live(key).as_deref().map(|entry| &entry.value) {
            None => Ok(None),
            Some(CacheValue::Set(set)) => Ok(Some(Arc::clone(set))),
            Some(_) => Err(wrong_type("not a set")),
        }
    }

    fn claims<'a>(&self, claim: ClaimKind<'a>) -> (&Claims, &'a str) {
        match claim {
            ClaimKind::Lock(key) => (&self.0.locks, key),
            ClaimKind::Lease(key) => (&self.0.leases, key),
        }
    }
}

#[async_trait]
impl CacheStore for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.get_live(key).map(|entry| entry.value.to_bytes()).transpose()
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Duration, tags: &[String]) -> Result<(), Error> {
        self.0.leases.end(key);
        let (value, until) = (CacheValue::Bytes(value), self.0.clock.elapsed() + ttl);
        self.0.entries.insert(key.to_owned(), Arc::new(CacheEntry { value, until, tags: self.0.tags.get(tags) }));
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.0.leases.end(key);
        self.change(key, |entry, _| (Op::Remove, Ok(entry.is_some())))
    }

    async fn ttl(&self, key: &str) -> Result<Option<Duration>, Error> {
        Ok(self.get_live(key).map(|entry| entry.until.saturating_sub(self.0.clock.elapsed())))
    }

    async fn expire(&self, key: &str, ttl: Duration) -> Result<bool, Error> {
        self.change(key, |entry, now| match entry {
            None => (Op::Nop, Ok(false)),
            Some(entry) => (Op::Put(CacheEntry { until: now + ttl, ..entry }), Ok(true)),
        })
    }

    async fn increment(&self, key: &str, by: i64, ttl: Duration) -> Result<i64, Error> {
        self.change(key, |entry, now| {
            let (before, until, tags) = match entry {
                None => (0, now + ttl, Tags::default()),
                Some(CacheEntry { value: CacheValue::Number(number), until, tags }) => (number, until, tags),
                Some(_) => return (Op::Nop, Err(wrong_type("not a number"))),
            };
            match before.checked_add(by) {
                None => (Op::Nop, Err(wrong_type("the sum is out of range"))),
                Some(sum) => (Op::Put(CacheEntry { value: CacheValue::Number(sum), until, tags }), Ok(sum)),
            }
        })
    }

    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.hash(key)?.and_then(|hash| open(&hash).items.get(field).cloned()))
    }

    async fn hash_set(&self, key: &str, field: &str, value: Bytes, ttl: Duration) -> Result<(), Error> {
        self.change(key, |entry, now| {
            let hash = match entry.map(|entry| entry.value) {
                None => Arc::default(),
                Some(CacheValue::Hash(hash)) => hash,
                Some(_) => return (Op::Nop, Err(wrong_type("not a hash"))),
            };
            let mut items = open(&hash);
            items.bytes += value.len();
            match items.items.insert(field.to_owned(), value) {
                Some(before) => items.bytes -= before.len(),
                None => items.bytes += field.len() + ITEM_OVERHEAD_BYTES,
            }
            drop(items);
            (Op::Put(CacheEntry { value: CacheValue::Hash(hash), until: now + ttl, tags: Tags::default() }), Ok(()))
        })
    }

    async fn hash_all(&self, key: &str) -> Result<HashMap<String, Bytes>, Error> {
        Ok(self.hash(key)?.map(|hash| open(&hash).items.clone()).unwrap_or_default())
    }

    async fn hash_delete(&self, key: &str, field: &str) -> Result<bool, Error> {
        self.change(key, |entry, _| {
            let Some(entry) = entry else { return (Op::Nop, Ok(false)) };
            let CacheValue::Hash(hash) = &entry.value else { return (Op::Nop, Err(wrong_type("not a hash"))) };
            let mut items = open(hash);
            let Some(before) = items.items.remove(field) else { return (Op::Nop, Ok(false)) };
            items.bytes -= before.len() + field.len() + ITEM_OVERHEAD_BYTES;
            let empty = items.items.is_empty();
            drop(items);
            (if empty { Op::Remove } else { Op::Put(entry) }, Ok(true))
        })
    }

    async fn set_add(&self, key: &str, member: &str, ttl: Duration) -> Result<bool, Error> {
        self.change(key, |entry, now| {
            let set = match entry.map(|entry| entry.value) {
                None => Arc::default(),
                Some(CacheValue::Set(set)) => set,
                Some(_) => return (Op::Nop, Err(wrong_type("not a set"))),
            };
            let mut items = open(&set);
            let new = items.items.insert(member.to_owned());
            if new {
                items.bytes += member.len() + ITEM_OVERHEAD_BYTES;
            }
            drop(items);
            (Op::Put(CacheEntry { value: CacheValue::Set(set), until: now + ttl, tags: Tags::default() }), Ok(new))
        })
    }

    async fn set_remove(&self, key: &str, member: &str) -> Result<bool, Error> {
        self.change(key, |entry, _| {
            let Some(entry) = entry else { return (Op::Nop, Ok(false)) };
            let CacheValue::Set(set) = &entry.value else { return (Op::Nop, Err(wrong_type("not a set"))) };
            let mut items = open(set);
            if !items.items.remove(member) {
                return (Op::Nop, Ok(false));
            }
            items.bytes -= member.len() + ITEM_OVERHEAD_BYTES;
            let empty = items.items.is_empty();
            drop(items);
            (if empty { Op::Remove } else { Op::Put(entry) }, Ok(true))
        })
    }

    async fn set_members(&self, key: &str) -> Result<HashSet<String>, Error> {
        Ok(self.members(key)?.map(|set| open(&set).items.clone()).unwrap_or_default())
    }

    async fn set_contains(&self, key: &str, member: &str) -> Result<bool, Error> {
        Ok(self.members(key)?.is_some_and(|set| open(&set).items.contains(member)))
    }

    async fn invalidate(&self, tag: &str) -> Result<(), Error> {
        self.0.tags.invalidate(tag);
        Ok(())
    }

    async fn lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, Error> {
        if !self.0.locks.acquire(key, owner, self.0.clock.elapsed(), ttl, Tags::default()) {
            return Ok(None);
        }
        // At least the number of microseconds since 1970, so that tokens also grow across restarts.
        let now = u64::try_from(self.0.clock.now().as_micros()).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.0.fence.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_default();
        Ok(next(last))
    }

    async fn lease(
        &self,
        key: &str,
        owner: &str,
        lease: Duration,
        _: Duration,
        tags: &[String],
    ) -> Result<Lease, Error> {
        // The tags are read before the computation begins: a value with a tag that is invalidated meanwhile is
        // never valid.
        let tags = self.0.tags.get(tags);
        if let Some(value) = self.get(key).await? {
            return Ok(Lease::Value(value));
        }
        Ok(if self.0.leases.acquire(key, owner, self.0.clock.elapsed(), lease, tags) {
            Lease::Granted
        } else {
            Lease::Busy
        })
    }

    async fn store_leased(&self, key: &str, owner: &str, value: Bytes, ttl: Duration) -> Result<bool, Error> {
        let now = self.0.clock.elapsed();
        let filled = self.0.leases.release_then(key, owner, now, |tags| {
            let entry = CacheEntry { value: CacheValue::Bytes(value), until: now + ttl, tags };
            self.0.entries.insert(key.to_owned(), Arc::new(entry));
        });
        Ok(filled.is_some())
    }

    async fn extend(&self, claim: ClaimKind<'_>, owner: &str, ttl: Duration) -> Result<bool, Error> {
        let (claims, key) = self.claims(claim);
        Ok(claims.extend(key, owner, self.0.clock.elapsed(), ttl))
    }

    async fn release(&self, claim: ClaimKind<'_>, owner: &str) -> Result<bool, Error> {
        let (claims, key) = self.claims(claim);
        Ok(claims.release(key, owner, self.0.clock.elapsed()))
    }
}

impl CacheEntry {
    fn is_live(&self, now: Duration) -> bool {
        self.until > now && self.tags.are_valid()
    }
}

impl CacheValue {
    fn to_bytes(&self) -> Result<Bytes, Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Number(number) => Ok(Bytes::from(number.to_string())),
            Self::Hash(_) | Self::Set(_) => Err(wrong_type("a hash or a set, not a value")),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Number(_) => 0,
            Self::Hash(hash) => open(hash).bytes,
            Self::Set(set) => open(set).bytes,
        }
    }
}

fn open<T>(items: &Mutex<T>) -> MutexGuard<'_, T> {
    items.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wrong_type(what: &'static str) -> Error {
    Error::new(ErrorKind::WrongType, what)
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("bytes", &self.0.entries.weighted_size()).finish_non_exhaustive()
    }
}
