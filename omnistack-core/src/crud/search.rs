//! `?q=`: text that occurs in declared columns, found by trigrams.

use std::collections::BTreeSet;

use crate::{
    db::{Args, Dialect},
    identity::TenantId,
};

/// How many trigrams of the text SQLite looks up. The columns themselves are compared with the whole text.
const MAX_TRIGRAMS: usize = 32;

/// Text to look for in columns of a table, whatever the case of letters (on SQLite, of ASCII letters).
///
/// The table's migration makes the index, see [`crud`](super): on PostgreSQL by `select omnistack_search('notes', 'title');`, on
/// SQLite as a virtual table `notes_search`.
#[derive(Clone, Debug)]
#[must_use]
pub struct Search<'a> {
    table: &'a str,
    columns: Vec<&'a str>,
    text: &'a str,
    tenant: Option<TenantId>,
}

impl<'a> Search<'a> {
    /// Looks for a text in columns of a table. Returns `None` when the text is blank.
    pub fn new(table: &'a str, columns: impl IntoIterator<Item = &'a str>, text: &'a str) -> Option<Self> {
        let text = text.trim();
        let columns: Vec<_> = columns.into_iter().collect();
        (!text.is_empty() && !columns.is_empty()).then_some(Self { table, columns, text, tenant: None })
    }

    /// Looks for it among the rows of one tenant, for a table with a column `tenant_id`.
    pub fn of_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    pub(super) fn columns(&self) -> String {
        self.columns.join(", ")
    }

    /// Whether the index can find the text: it has no part shorter than three characters.
    pub(super) fn is_indexed(&self) -> bool {
        self.text.chars().nth(2).is_some()
    }

    /// The condition that a column contains the text, every character taken as itself.
    pub(super) fn contains(&self, dialect: Dialect, args: &mut Args) -> String {
        let escaped = self.text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let number = args.push(format!("%{escaped}%"));
        let like = if dialect == Dialect::Postgres { "ilike" } else { "like" };
        let any = self.columns.iter().map(|column| format!("{column} {like} ${number} escape '\\'"));
        format!("({})", any.collect::<Vec<_>>().join(" or "))
    }

    /// Narrows a statement to the rows whose trigrams the index has: those that contain the text, and few others.
    ///
    /// PostgreSQL uses an operator as a condition of an index beside row-level security only if the operator is `leakproof`, and
    /// those of trigrams are not. So the index is on a table beside, and its ids are found before the rows.
    pub(super) fn narrow(&self, dialect: Dialect, from: &mut String, conditions: &mut Vec<String>, args: &mut Args) {
        let table = self.table;
        match dialect {
            Dialect::Postgres => {
                let (text, tenant) = (args.push(self.text.to_owned()), args.push(self.tenant.map(|id| id.to_string())));
                conditions.push(format!(
                    "id = any(array(select id from {table}_search where grams @> omnistack_grams(${text}, ${tenant})))"
                ));
            }
            // `cross join` keeps the order of the loops.
            Dialect::Sqlite => {
                let text = args.push(self.trigrams());
                *from = format!(
                    "(select ids.id as found from {table}_search cross join {table}_search_ids as ids \
                     on ids.number = {table}_search.rowid where {table}_search match ${text}) as search \
                     cross join {table} on {table}.id = search.found"
                );
            }
        }
    }

    /// As FTS5 reads it. Of the tenant the index has the last three digits, which are random.
    fn trigrams(&self) -> String {
        let letters: Vec<_> = self.text.chars().collect();
        let trigrams: BTreeSet<String> = letters.windows(3).map(|three| three.iter().collect()).collect();
        let quoted = trigrams.iter().take(MAX_TRIGRAMS).map(|three| format!("\"{}\"", three.replace('"', "\"\"")));
        let words = format!("words : ({})", quoted.collect::<Vec<_>>().join(" AND "));
        match self.tenant {
            Some(tenant) => {
                let digits = tenant.uuid().simple().to_string();
                format!("tenant : \"{}\" AND {words}", &digits[digits.len() - 3..])
            }
            None => words,
        }
    }
}
