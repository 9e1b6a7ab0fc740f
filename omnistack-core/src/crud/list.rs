//! List requests: page, order, filters and search.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{Column, Resource, resource::columns};
use crate::{
    db::Arguments,
    http::{Error, FieldError, PageRequest, check_url_text},
};

/// The rows that a list includes, for resources with soft delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletedFilter {
    /// Rows that are not deleted.
    #[default]
    Exclude,
    /// All rows.
    Include,
    /// Rows that are deleted.
    Only,
}

/// One key of `?sort=`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SortKey {
    pub(super) column: Column,
    pub(super) descending: bool,
}

#[derive(Clone, Debug)]
pub(super) struct ColumnFilter {
    column: Column,
    operator: &'static str,
    values: Vec<String>,
}

/// A request for a list: its page, order, filters and search.
#[doc(alias = "pagination")]
#[derive(Clone, Debug)]
pub struct ListRequest {
    pub(super) page: PageRequest,
    pub(super) sort: Vec<SortKey>,
    pub(super) filters: Vec<ColumnFilter>,
    pub(super) search: Option<String>,
    pub(super) deleted: DeletedFilter,
}

const OPERATORS: [(&str, &str); 4] = [("_gte", ">="), ("_gt", ">"), ("_lte", "<="), ("_lt", "<")];
/// Most keys of a sort.
const MAX_SORT_KEYS: usize = 3;
pub(super) const MAX_FILTER_VALUES: usize = 50;

impl ListRequest {
    /// Parses a query string.
    ///
    /// # Errors
    /// 422 with a problem for each parameter that is unknown, repeated or invalid.
    pub fn parse<R: Resource>(query: &str) -> Result<Self, Error> {
        check_url_text(query)?;
        let columns = columns::<R>();
        let mut given = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            match given.entry(name.to_string()) {
                Entry::Vacant(first) => _ = first.insert(text.into_owned()),
                // Several values of a filter: `status=open&status=closed` is `status=open,closed`.
                Entry::Occupied(mut values) if columns.iter().any(|column| column.filters && column.name == name) => {
                    values.get_mut().extend([",", &text]);
                }
                Entry::Occupied(_) => problems.push(FieldError::new(name, "is given more than once")),
            }
        }
        let mut take = |name: &str| given.remove(name);
        let (limit, cursor, page, page_size) = (take("limit"), take("cursor"), take("page"), take("page_size"));
        let (sort, search, deleted) = (take("sort"), take("q"), take("deleted"));
        let page =
            PageRequest::from_parameters(limit.as_deref(), cursor.as_deref(), page.as_deref(), page_size.as_deref());
        let page = page.unwrap_or_else(|problem| {
            problems.push(problem);
            PageRequest::Numbered { page: 1, page_size: 1 }
        });
        let sort = read_sort(sort.as_deref().unwrap_or("-created_at"), &columns).unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        });
        if search.is_some() && !columns.iter().any(|column| column.searches) {
            problems.push(FieldError::new("q", "is not a parameter of this route"));
        }
        let deleted = read_deleted::<R>(deleted.as_deref()).unwrap_or_else(|problem| {
            problems.push(problem);
            DeletedFilter::Exclude
        });
        let mut filters = Vec::new();
        for (name, text) in given {
            match read_filter(&name, &text, &columns) {
                Ok(filter) => filters.push(filter),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        Ok(Self { page, sort, filters, search, deleted })
    }

    /// Returns the conditions of the filters and binds their values.
    pub(super) fn conditions(&self, columns: &[Column], args: &mut Arguments) -> Vec<String> {
        let mut conditions: Vec<_> = self.filters.iter().map(|filter| filter.condition(args)).collect();
        match self.deleted {
            DeletedFilter::Exclude if columns.iter().any(|column| column.name == "deleted_at") => {
                conditions.push("deleted_at is null".into());
            }
            DeletedFilter::Only => conditions.push("deleted_at is not null".into()),
            _ => {}
        }
        conditions
    }
}

impl ColumnFilter {
    fn condition(&self, args: &mut Arguments) -> String {
        let name = self.column.name;
        // All values were checked when the request was parsed.
        let numbers: Vec<_> = self.values.iter().filter_map(|text| self.column.kind.bind_text(text, args)).collect();
        match numbers.as_slice() {
            [number] => format!("{name} {} ${number}", self.operator),
            many => {
                format!("{name} in ({})", many.iter().map(|number| format!("${number}")).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn read_sort(text: &str, columns: &[Column]) -> Result<Vec<SortKey>, FieldError> {
    let mut sort: Vec<SortKey> = Vec::new();
    for key in text.split(',') {
        let (descending, name) = key.strip_prefix('-').map_or((false, key), |name| (true, name));
        let Some(column) = columns.iter().find(|column| column.sorts && column.name == name) else {
            let known: Vec<_> = columns.iter().filter(|column| column.sorts).map(|column| column.name).collect();
            return Err(FieldError::new(
                "sort",
                format!("must be one of {}, with `-` for descending", known.join(", ")),
            ));
        };
        if sort.iter().any(|other| other.column.name == name) || sort.len() == MAX_SORT_KEYS {
            return Err(FieldError::new("sort", format!("names at most {MAX_SORT_KEYS} columns, each once")));
        }
        sort.push(SortKey { column: *column, descending });
    }
    Ok(sort)
}

fn read_deleted<R: Resource>(text: Option<&str>) -> Result<DeletedFilter, FieldError> {
    match text {
        None => Ok(DeletedFilter::Exclude),
        Some(_) if !R::SOFT_DELETE => Err(FieldError::new("deleted", "is not a parameter of this route")),
        Some("exclude") => Ok(DeletedFilter::Exclude),
        Some("include") => Ok(DeletedFilter::Include),
        Some("only") => Ok(DeletedFilter::Only),
        Some(_) => Err(FieldError::new("deleted", "must be exclude, include or only")),
    }
}

fn read_filter(name: &str, text: &str, columns: &[Column]) -> Result<ColumnFilter, FieldError> {
    let declared = |name: &str| columns.iter().find(|column| column.filters && column.name == name);
    let range = |(suffix, operator): &(&str, &'static str)| Some((declared(name.strip_suffix(suffix)?)?, *operator));
    // A column whose name looks like a range of another column takes precedence.
    let known = declared(name).map(|column| (column, "=")).or_else(|| OPERATORS.iter().find_map(range));
    let Some((column, operator)) = known.filter(|(column, operator)| *operator == "=" || column.kind.has_order())
    else {
        return Err(FieldError::new(name, "is not a parameter of this route"));
    };
    let values: Vec<String> =
        if operator == "=" { text.split(',').map(Into::into).collect() } else { vec![text.into()] };
    if values.len() > MAX_FILTER_VALUES {
        return Err(FieldError::new(name, format!("takes at most {MAX_FILTER_VALUES} values")));
    }
    if !values.iter().all(|text| column.kind.is_valid(text)) {
        return Err(FieldError::new(name, format!("must be {}", column.kind.expected())));
    }
    Ok(ColumnFilter { column: *column, operator, values })
}
