//! The tenant that a request selects, by `X-Tenant-Id` or by its subdomain. Membership is checked later.

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use omnistack_core::{db::Db, http::Error, identity::TenantId};
use utoipa::openapi::{
    ObjectBuilder, Required,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::Type,
};

use crate::{store::tenant, tenant::is_reserved};

/// The header that selects a tenant for one request.
pub(crate) const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");

const UUID_PATTERN: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";

/// Returns the OpenAPI parameter of the header.
pub(crate) fn tenant_parameter() -> Parameter {
    // Without the format `uuid`, for which openapi-python-client generates code that fails to send the header.
    let id = ObjectBuilder::new().schema_type(Type::String).pattern(Some(UUID_PATTERN));
    ParameterBuilder::new()
        .name("X-Tenant-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The tenant of the request, by its id; by default the one selected in the session."))
        .schema(Some(id))
        .build()
}

/// The tenant that a request selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    Id(TenantId),
    /// The tenant's slug, in lower case.
    Slug(String),
}

impl Chosen {
    /// Returns the tenant's id. Fails with 403 `NOT_A_MEMBER` for an unknown slug.
    pub(crate) async fn find(self, db: &Db) -> Result<TenantId, Error> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Slug(slug) => tenant::of_slug(db, &slug).await?.ok_or_else(not_a_member),
        }
    }
}

/// Returns the error for a tenant that the caller is not a member of. It is the same for a tenant that does not
/// exist.
pub(crate) fn not_a_member() -> Error {
    let message = "you are no member of the tenant this request names, or there is none";
    Error::new(StatusCode::FORBIDDEN, "NOT_A_MEMBER", message)
}

/// The domain whose subdomains select a tenant, such as `.example.com`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TenantDomain(Option<Arc<str>>);

impl TenantDomain {
    pub(crate) fn new(domain: Option<&str>) -> Self {
        let domain = domain.map(|domain| domain.trim().trim_matches('.').to_ascii_lowercase());
        Self(domain.filter(|domain| !domain.is_empty()).map(|domain| format!(".{domain}").into()))
    }

    /// Returns the tenant that a request selects, by the header or else by the subdomain; `None` if it selects none.
    /// Fails with 400 `TENANT_INVALID` or `HOST_INVALID`.
    pub(crate) fn chosen(&self, request: &Parts) -> Result<Option<Chosen>, Error> {
        let Some(value) = request.headers.get(TENANT) else { return self.of_host(request) };
        let id = value.to_str().ok().and_then(|text| text.parse().ok());
        let wrong = || Error::bad_request("TENANT_INVALID", "`X-Tenant-Id` is not the id of a tenant, which is a UUID");
        id.map(|id| Some(Chosen::Id(id))).ok_or_else(wrong)
    }

    /// Returns the tenant that the request's host selects.
    fn of_host(&self, request: &Parts) -> Result<Option<Chosen>, Error> {
        let Some(domain) = self.0.as_deref() else { return Ok(None) };
        let header = request.headers.get(header::HOST).map(HeaderValue::to_str).transpose();
        let header =
            header.map_err(|_| Error::bad_request("HOST_INVALID", "`Host` is not ASCII; write it in Punycode"))?;
        // HTTP/2 sends the host in the `:authority` pseudo-header, which is part of the URI (RFC 9113, section
        // 8.3.1).
        let host = request.uri.host().or(header).unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let slug = host.strip_suffix(domain).unwrap_or_default();
        let is_tenant = !slug.is_empty() && !slug.contains('.') && !is_reserved(slug);
        Ok(is_tenant.then(|| Chosen::Slug(slug.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_tenant_a_host_names() {
        let domain = TenantDomain::new(Some("Example.com"));
        for (host, slug) in [
            ("acme.example.com", Some("acme")),
            ("ACME.Example.com:8080", Some("acme")),
            ("acme.example.com.", Some("acme")),
            ("example.com", None),
            ("www.example.com", None),
            ("a.acme.example.com", None),
            ("acmeexample.com", None),
            ("acme.example.com.evil.org", None),
        ] {
            let (request, ()) = ::http::Request::builder().header("host", host).body(()).unwrap().into_parts();
            let expected = slug.map(|slug| Chosen::Slug(slug.to_owned()));
            assert_eq!(domain.chosen(&request).unwrap(), expected, "{host}");
            assert_eq!(TenantDomain::default().chosen(&request).unwrap(), None, "{host}");
        }
        let host = HeaderValue::from_bytes(b"acme\xf6.example.com").unwrap();
        let (request, ()) = ::http::Request::builder().header("host", host).body(()).unwrap().into_parts();
        assert_eq!(domain.chosen(&request).unwrap_err().code(), "HOST_INVALID");
    }
}
