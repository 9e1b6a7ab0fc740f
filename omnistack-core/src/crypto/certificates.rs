//! Chains of X.509 certificates that providers send with a signature.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};
use x509_parser::certificate::X509Certificate;

use crate::clock::Timestamp;

/// The purpose that a certificate must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUsage {
    /// Servers of TLS.
    Server,
    /// The purpose with this identifier of an extended key usage, if the certificate restricts its usage at all. The
    /// identifier is the content of its DER encoding.
    IfRestricted(&'static [u8]),
}

impl CertificateUsage {
    const fn key_usage(self) -> KeyUsage {
        match self {
            Self::Server => KeyUsage::server_auth(),
            Self::IfRestricted(oid) => KeyUsage::required_if_present(oid),
        }
    }
}

/// The root certificates to which chains must lead.
#[derive(Clone, Debug, Default)]
pub struct TrustedRoots(Vec<TrustAnchor<'static>>);

impl TrustedRoots {
    /// Reads root certificates in DER. Returns `None` if one of them is not a certificate.
    pub fn from_der<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        certificates.into_iter().map(anchor).collect::<Option<_>>().map(Self)
    }

    /// Reads root certificates in DER, and leaves out those that are not certificates.
    pub fn readable<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(certificates.into_iter().filter_map(anchor).collect())
    }

    /// Returns the number of roots.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Verifies a certificate like [`verify`](Self::verify), through exactly these intermediate certificates.
    ///
    /// # Errors
    /// Returns the reason why the chain is invalid.
    pub fn verify_exactly(
        &self,
        leaf: &[u8],
        intermediates: &[&[u8]],
        usage: CertificateUsage,
        at: Timestamp,
    ) -> Result<(), &'static str> {
        // A shorter path would leave a certificate unverified whose extensions the caller relies on.
        if self.verify(leaf, intermediates, usage, at)? == intermediates.len() {
            Ok(())
        } else {
            Err("the chain of certificates has an unused certificate")
        }
    }

    /// Verifies that a certificate was issued through any of these intermediate certificates by one of the roots, and
    /// that all were valid at a time. Certificates are in DER. Returns the number of intermediate certificates that
    /// were used.
    ///
    /// It does not check revocation, names, and extensions that it does not know.
    ///
    /// # Errors
    /// Returns the reason why the chain is invalid.
    pub fn verify(
        &self,
        leaf: &[u8],
        intermediates: &[&[u8]],
        usage: CertificateUsage,
        at: Timestamp,
    ) -> Result<usize, &'static str> {
        let seconds = u64::try_from(at.as_seconds()).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let leaf = CertificateDer::from(leaf);
        let issuers: Vec<CertificateDer<'_>> = intermediates.iter().map(|der| CertificateDer::from(*der)).collect();
        let certificate = EndEntityCert::try_from(&leaf).map_err(reason)?;
        let path = certificate
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &self.0, &issuers, time, usage.key_usage(), None, None)
            .map_err(reason)?;
        Ok(path.intermediate_certificates().count())
    }
}

fn anchor(der: &[u8]) -> Option<TrustAnchor<'static>> {
    webpki::anchor_from_trusted_cert(&CertificateDer::from(der)).ok().map(|anchor| anchor.to_owned())
}

fn reason(error: Error) -> &'static str {
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
            "a certificate was not valid at the time of the signature"
        }
        _ => "the certificates do not lead to a trusted root",
    }
}

/// A certificate whose fields can be read. Reading verifies nothing.
#[derive(Debug)]
pub struct ReadableCertificate<'a>(X509Certificate<'a>);

impl<'a> ReadableCertificate<'a> {
    /// Reads a certificate in DER. Returns `None` if it has another form.
    pub fn from_der(der: &'a [u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        rest.is_empty().then_some(Self(certificate))
    }

    /// Returns whether the certificate has an extension. `oid` is the content of the DER encoding of its identifier.
    pub fn has_extension(&self, oid: &[u8]) -> bool {
        self.0.iter_extensions().any(|extension| extension.oid.as_bytes() == oid)
    }

    /// Returns the common name of the subject, if it has exactly one.
    pub fn common_name(&self) -> Option<&str> {
        let mut names = self.0.subject().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        names.next().is_none().then_some(name)
    }

    /// Returns the content of the subject's public key; for an elliptic curve, this is the point.
    pub fn public_key(&self) -> &[u8] {
        &self.0.public_key().subject_public_key.data
    }
}
