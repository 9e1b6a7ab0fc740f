//! List requests: page, order, filters and search.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use axum::extract::{FromRequestParts, OriginalUri};
use http::{HeaderValue, Uri, request::Parts};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::{Column, Resource, cursor::ListCursor, describe::list_parameters, resource::columns};
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

/// A request for a list of a resource: its page, order, filters and search. It is an extractor that reads the query
/// string, and describes the query parameters as `params(ListRequest<…>)` in `#[utoipa::path]`. A handler of your own
/// answers it as the routes of the resource do:
///
/// ```
/// use axum::extract::State;
/// use omnistack_core::{crud::{Crud, ListPage, ListRequest, Resource}, http::Error, identity::Identity};
///
/// async fn list_books<Book: Resource>(
///     State(books): State<Crud<Book>>,
///     caller: Identity,
///     request: ListRequest<Book>,
/// ) -> Result<ListPage<Book>, Error> {
///     let request = request.with_condition(|args| format!("author = ${}", args.push("Ende")));
///     books.list(&caller, &request).await
/// }
/// ```
///
/// # Errors
/// As an extractor it fails with 422 and a problem for each parameter that is unknown, repeated or invalid.
#[doc(alias = "pagination")]
pub struct ListRequest<R> {
    pub(super) page: PageRequest,
    pub(super) sort: Vec<SortKey>,
    pub(super) filters: Vec<ColumnFilter>,
    pub(super) search: Option<String>,
    pub(super) deleted: DeletedFilter,
    conditions: Vec<ListCondition>,
    /// The URL of the request, for the link to the next page.
    uri: Option<Uri>,
    resource: PhantomData<fn() -> R>,
}

/// Returns a condition on the rows of a list, and binds its values.
type ListCondition = Arc<dyn Fn(&mut Arguments) -> String + Send + Sync>;

const OPERATORS: [(&str, &str); 4] = [("_gte", ">="), ("_gt", ">"), ("_lte", "<="), ("_lt", "<")];
/// Most keys of a sort.
const MAX_SORT_KEYS: usize = 3;
pub(super) const MAX_FILTER_VALUES: usize = 50;

impl<R: Resource> ListRequest<R> {
    /// Parses a query string.
    ///
    /// # Errors
    /// 422 with a problem for each parameter that is unknown, repeated or invalid.
    pub fn parse(query: &str) -> Result<Self, Error> {
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
        let (conditions, uri, resource) = (Vec::new(), None, PhantomData);
        Ok(Self { page, sort, filters, search, deleted, conditions, uri, resource })
    }

    /// Limits the list to rows that meet a condition in SQL, besides what the caller asks for. The text must come from
    /// the program; values go into [`Arguments`]. The list stays fast with many rows if an
    /// [index](super#indexes) has the columns of the condition.
    #[must_use]
    pub fn with_condition(mut self, condition: impl Fn(&mut Arguments) -> String + Send + Sync + 'static) -> Self {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// Returns the position at which the list continues, or `None` at its start.
    ///
    /// # Errors
    /// 422 if the cursor is invalid or belongs to a list with another sort.
    pub(super) fn cursor(&self) -> Result<Option<ListCursor>, Error> {
        match &self.page {
            PageRequest::Cursor { cursor: Some(cursor), .. } => ListCursor::decode(cursor, &self.sort).map(Some),
            PageRequest::Cursor { .. } | PageRequest::Numbered { .. } => Ok(None),
        }
    }

    /// Returns the `Link` header of the next page (RFC 8288): the URL of the request with another cursor.
    pub(super) fn next_link(&self, cursor: &str) -> Option<HeaderValue> {
        let uri = self.uri.as_ref()?;
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query =
            query.extend_pairs(pairs.filter(|(name, _)| name != "cursor")).append_pair("cursor", cursor).finish();
        HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
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
        conditions.extend(self.conditions.iter().map(|condition| format!("({})", condition(args))));
        conditions
    }
}

impl<R: Resource, S: Send + Sync> FromRequestParts<S> for ListRequest<R> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let mut request = Self::parse(parts.uri.query().unwrap_or_default())?;
        let Ok(OriginalUri(uri)) = OriginalUri::from_request_parts(parts, state).await;
        request.uri = Some(uri);
        Ok(request)
    }
}

impl<R: Resource> IntoParams for ListRequest<R> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        list_parameters::<R>()
    }
}

impl<R> Clone for ListRequest<R> {
    fn clone(&self) -> Self {
        Self {
            page: self.page.clone(),
            sort: self.sort.clone(),
            filters: self.filters.clone(),
            search: self.search.clone(),
            deleted: self.deleted,
            conditions: self.conditions.clone(),
            uri: self.uri.clone(),
            resource: PhantomData,
        }
    }
}

impl<R> fmt::Debug for ListRequest<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, sort, filters, search, deleted, .. } = self;
        f.debug_struct("ListRequest")
            .field("page", page)
            .field("sort", sort)
            .field("filters", filters)
            .field("search", search)
            .field("deleted", deleted)
            .finish_non_exhaustive()
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
