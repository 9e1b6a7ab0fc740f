//! The manifest of an archive: what is in it, with sizes and hashes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{audit::ChainHead, clock::Timestamp, crypto::Sha256, identity::TenantId};

/// The version of the format of archives that this build writes and reads.
pub(super) const ARCHIVE_VERSION: u32 = 1;
/// The names of the last two entries: the manifest, and its hash.
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const MANIFEST_HASH: &str = "manifest.sha256";

/// The manifest of an archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) omnistack_backup: u32,
    pub(super) app: String,
    pub(super) app_version: String,
    pub(super) created_at: Timestamp,
    /// `postgres` or `sqlite`.
    pub(super) dialect: String,
    /// The name and version of the server.
    pub(super) server: String,
    /// The major version of PostgreSQL.
    pub(super) server_major: Option<u32>,
    pub(super) databases: Vec<DatabaseRecord>,
    pub(super) entries: Vec<EntryRecord>,
    /// The names of objects that are not in the archive, and the reasons.
    pub(super) skipped: BTreeMap<String, String>,
}

/// A database in an archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DatabaseRecord {
    /// The name of the entry.
    pub(super) entry: String,
    /// The tenant of a tenant database.
    pub(super) tenant: Option<TenantId>,
    #[serde(flatten)]
    pub(super) inventory: Inventory,
}

/// The contents of a database, by which a restore is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inventory {
    /// The number of rows of each table.
    pub(super) tables: BTreeMap<String, u64>,
    /// The heads of the audit chains.
    pub(super) audit_chains: Vec<ChainRecord>,
}

/// An audit chain, and its last entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChainRecord {
    /// The tenant of the chain, or `None` for the app's.
    pub(super) tenant: Option<TenantId>,
    pub(super) head: ChainHead,
}

/// An entry of an archive, other than the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EntryRecord {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) sha256: Sha256,
    pub(super) content_type: Option<String>,
}

impl Manifest {
    /// Returns the number of rows in all databases.
    pub(super) fn rows(&self) -> u64 {
        self.databases.iter().flat_map(|database| database.inventory.tables.values()).sum()
    }

    /// Returns the number of entries that are not databases.
    pub(super) fn objects(&self) -> usize {
        self.entries.len().saturating_sub(self.databases.len())
    }

    /// Returns whether an entry is a database.
    pub(super) fn is_database(&self, entry: &str) -> bool {
        self.databases.iter().any(|database| database.entry == entry)
    }
}
