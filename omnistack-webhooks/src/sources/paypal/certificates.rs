//! PayPal's certificates: where they come from, and whether they are valid.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    crypto::{CertificateUsage, ReadableCertificate, TrustedRoots},
    webhook::WebhookRejection,
};
use reqwest::Url;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::Semaphore;
use webpki::EndEntityCert;

/// Largest number of certificates that are kept.
const MAX_KEPT: usize = 16;
/// Largest number of certificates that are fetched at once.
const MAX_FETCHES: usize = 4;
/// Largest number of certificates in a chain.
const MAX_CHAIN: usize = 8;

/// A source of PayPal's certificates.
#[async_trait]
pub trait FetchPayPalCertificate: Send + Sync + 'static {
    /// Returns the certificate at a URL in PEM, followed by those that lead to its root. The URL is one of PayPal's
    /// API. The implementation must not follow redirects, and must limit the duration and the size.
    ///
    /// # Errors
    /// Returns [`WebhookRejection::Unverified`] if there is no certificate at the URL, and
    /// [`WebhookRejection::Unavailable`] if it could not be fetched now.
    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, WebhookRejection>;
}

/// The authorities that PayPal's certificate must come from.
#[derive(Clone)]
pub struct PayPalAuthorities(TrustedRoots);

impl PayPalAuthorities {
    /// Reads authorities, roots or intermediates, from PEM. Returns `None` if a certificate in it is not valid, or if
    /// there is none.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
        let roots = TrustedRoots::from_der(certificates.iter().map(|der| &**der))?;
        (roots.count() > 0).then_some(Self(roots))
    }

    /// Returns the roots that the operating system trusts. Those that can't be read are left out. Returns `None` if
    /// there are none.
    pub fn of_system() -> Option<Self> {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let roots = TrustedRoots::readable(certificates.iter().map(|der| &**der));
        (roots.count() > 0).then_some(Self(roots))
    }
}

impl fmt::Debug for PayPalAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PayPalAuthorities").field(&self.0.count()).finish()
    }
}

/// A certificate, and those that lead to its root.
pub(in crate::sources) struct CertificateChain {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl CertificateChain {
    /// Parses PEM. Returns `None` if there is no certificate, or if there are more than eight.
    pub(in crate::sources) fn parse(pem: &[u8]) -> Option<Self> {
        let certificates = CertificateDer::pem_slice_iter(pem).take(MAX_CHAIN + 1).collect::<Result<Vec<_>, _>>();
        let mut certificates = certificates.ok().filter(|all| all.len() <= MAX_CHAIN)?.into_iter();
        Some(Self { leaf: certificates.next()?, intermediates: certificates.collect() })
    }

    /// Verifies that the certificate comes from one of the authorities, is valid at a time, and has one of the names.
    fn verify(&self, authorities: &PayPalAuthorities, names: &[&str], at: Timestamp) -> Result<(), WebhookRejection> {
        let intermediates: Vec<&[u8]> = self.intermediates.iter().map(|der| &**der).collect();
        let verified = authorities.0.verify(&self.leaf, &intermediates, CertificateUsage::Server, at);
        verified.map_err(WebhookRejection::Unverified)?;
        let certificate = ReadableCertificate::from_der(&self.leaf);
        let name = certificate.as_ref().and_then(ReadableCertificate::common_name).unwrap_or_default();
        let named = names.iter().any(|known| name.eq_ignore_ascii_case(known));
        named.then_some(()).ok_or(WebhookRejection::Unverified("the certificate has another name than PayPal's"))
    }

    /// Returns whether the key of the certificate has signed the message, with RSA and SHA-256.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256;
        EndEntityCert::try_from(&self.leaf)
            .is_ok_and(|leaf| leaf.verify_signature(algorithm, message, signature).is_ok())
    }
}

/// The certificates that were fetched and verified.
pub(super) struct CertificateCache {
    authorities: PayPalAuthorities,
    fetch: Box<dyn FetchPayPalCertificate>,
    /// Strangers can name any certificate of PayPal, so that only a few are fetched at once.
    fetches: Semaphore,
    chains: Mutex<HashMap<String, Arc<CertificateChain>>>,
}

impl CertificateCache {
    pub(super) fn new(authorities: PayPalAuthorities, fetch: impl FetchPayPalCertificate) -> Self {
        let fetches = Semaphore::new(MAX_FETCHES);
        Self { authorities, fetch: Box::new(fetch), fetches, chains: Mutex::default() }
    }

    /// Returns the certificate at a URL after verifying it for a time, and fetches it if it is not known.
    pub(super) async fn get(
        &self,
        url: &Url,
        names: &[&str],
        at: Timestamp,
    ) -> Result<Arc<CertificateChain>, WebhookRejection> {
        if let Some(chain) = self.known(url) {
            chain.verify(&self.authorities, names, at)?;
            return Ok(chain);
        }
        let permit = self.fetches.acquire().await.map_err(|closed| WebhookRejection::Unavailable(closed.into()))?;
        // Another request may have fetched it while this one waited.
        let chain = match self.known(url) {
            Some(chain) => chain,
            None => self.fetch(url).await?,
        };
        drop(permit);
        chain.verify(&self.authorities, names, at)?;
        self.keep(url, &chain);
        Ok(chain)
    }

    async fn fetch(&self, url: &Url) -> Result<Arc<CertificateChain>, WebhookRejection> {
        let chain = CertificateChain::parse(&self.fetch.fetch(url).await?);
        chain.map(Arc::new).ok_or(WebhookRejection::Unverified("there is no certificate at the URL"))
    }

    fn known(&self, url: &Url) -> Option<Arc<CertificateChain>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner).get(url.as_str()).cloned()
    }

    fn keep(&self, url: &Url, chain: &Arc<CertificateChain>) {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        // PayPal uses one certificate for each environment, and replaces it about once a year.
        if chains.len() >= MAX_KEPT {
            chains.clear();
        }
        chains.insert(url.as_str().to_owned(), Arc::clone(chain));
    }
}

impl fmt::Debug for CertificateCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateCache").field("authorities", &self.authorities).finish_non_exhaustive()
    }
}
