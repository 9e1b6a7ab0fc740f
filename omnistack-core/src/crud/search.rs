//! Searches with `?q=`: finds rows by the trigrams of a text in declared columns.

use std::collections::BTreeSet;

use crate::{
    db::{Arguments, Dialect},
    identity::TenantId,
};

/// Most trigrams that are looked up in SQLite's index. The columns themselves are compared with the whole text.
const MAX_TRIGRAMS: usize = 32;

/// A text to search for in columns of a table, ignoring the case of letters (on SQLite, of ASCII letters).
///
/// The migration of the table creates the index, see [`crud`](super): on PostgreSQL with
/// `select omnistack_search('notes', 'title');`, on SQLite as a virtual table `notes_search`. A list of at most 2,000
/// rows is searched without it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Search<'a> {
    table: &'a str,
    columns: Vec<&'a str>,
    text: &'a str,
    tenant: Option<TenantId>,
}

impl<'a> Search<'a> {
    /// Creates a search for a text in columns of a table. Returns `None` if the text is blank or there are no
    /// columns.
    pub fn new(table: &'a str, columns: impl IntoIterator<Item = &'a str>, text: &'a str) -> Option<Self> {
        let text = text.trim();
        let columns: Vec<_> = columns.into_iter().collect();
        (!text.is_empty() && !columns.is_empty()).then_some(Self { table, columns, text, tenant: None })
    }

    /// Limits the search to rows of one tenant. The table must have a column `tenant_id`.
    pub fn in_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Returns whether the index can find the text: it must have at least three characters.
    pub(super) fn is_indexed(&self) -> bool {
        self.text.chars().nth(2).is_some()
    }

    /// Returns the condition that a column contains the text. No character of the text is a wildcard.
    pub(super) fn contains(&self, dialect: Dialect, args: &mut Arguments) -> String {
        let escaped = self.text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let number = args.push(format!("%{escaped}%"));
        let like = if dialect == Dialect::Postgres { "ilike" } else { "like" };
        let any = self.columns.iter().map(|column| format!("{column} {like} ${number} escape '\\'"));
        format!("({})", any.collect::<Vec<_>>().join(" or "))
    }

    /// Narrows a statement to rows that the index returns for the text's trigrams: those that contain the text,
    /// and few other rows.
    ///
    /// With row-level security PostgreSQL evaluates an operator in an index condition only if the operator is
    /// `leakproof`, and the operators of trigrams are not. So the index is on a separate table, and its ids are
    /// looked up before the rows.
    pub(super) fn narrow(
        &self,
        dialect: Dialect,
        from: &mut String,
        conditions: &mut Vec<String>,
        args: &mut Arguments,
    ) {
        let (table, alias) = (self.table, short_name(self.table));
        match dialect {
            Dialect::Postgres => {
                let (text, tenant) = (args.push(self.text.to_owned()), args.push(self.tenant.map(|id| id.to_string())));
                conditions.push(format!(
                    "id = any(array(select id from {table}_search where grams @> omnistack_grams(${text}, ${tenant})))"
                ));
            }
            // `cross join` fixes the order of the loops. The ids have a name that no column of the table has.
            Dialect::Sqlite => {
                let text = args.push(self.trigrams());
                *from = format!(
                    "(select ids.id as omnistack_found from {table}_search cross join {table}_search_ids as ids \
                     on ids.number = {alias}_search.rowid where {alias}_search match ${text}) \
                     cross join {table} on {alias}.id = omnistack_found"
                );
            }
        }
    }

    /// Returns the query for FTS5. Of the tenant id the index has the last three hex digits, which are random.
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

/// Returns a table's name without its schema. An alias can't have one.
pub(super) fn short_name(table: &str) -> &str {
    table.rsplit_once('.').map_or(table, |(_, name)| name)
}
