//! Chains of X.509 certificates that providers send with a signature.

use std::time::Duration;

use omnistack_core::clock::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};
use x509_parser::certificate::X509Certificate;

/// The root certificates to which chains must lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedRoots(Vec<TrustAnchor<'static>>);

impl TrustedRoots {
    /// Reads root certificates in DER. Returns `None` if one of them is not a certificate.
    pub(crate) fn from_der<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let read = |der: &[u8]| {
            let certificate = CertificateDer::from(der);
            Some(webpki::anchor_from_trusted_cert(&certificate).ok()?.to_owned())
        };
        certificates.into_iter().map(read).collect::<Option<_>>().map(Self)
    }

    /// Verifies that a certificate was issued through exactly these intermediate certificates, in any order, by one of
    /// the roots, and that all were valid at a time. Certificates are in DER. One that restricts its extended key usage
    /// must name `usage`.
    ///
    /// It does not check revocation, names, and extensions that it does not know.
    ///
    /// # Errors
    /// Returns the reason why the chain is invalid.
    pub(crate) fn verify(
        &self,
        leaf: &[u8],
        intermediates: &[&[u8]],
        usage: KeyUsage,
        at: Timestamp,
    ) -> Result<(), &'static str> {
        let seconds = u64::try_from(at.as_seconds()).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let leaf = CertificateDer::from(leaf);
        let issuers: Vec<CertificateDer<'_>> = intermediates.iter().map(|der| CertificateDer::from(*der)).collect();
        let certificate = EndEntityCert::try_from(&leaf).map_err(reason)?;
        let path = certificate
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &self.0, &issuers, time, usage, None, None)
            .map_err(reason)?;
        // A shorter path would leave a certificate unverified whose extensions the caller relies on.
        if path.intermediate_certificates().count() == intermediates.len() {
            Ok(())
        } else {
            Err("the chain of certificates has an unused certificate")
        }
    }
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
pub(crate) struct ReadableCertificate<'a>(X509Certificate<'a>);

impl<'a> ReadableCertificate<'a> {
    /// Reads a certificate in DER. Returns `None` if it has another form.
    pub(crate) fn from_der(der: &'a [u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        rest.is_empty().then_some(Self(certificate))
    }

    /// Returns whether the certificate has an extension. `oid` is the content of the DER encoding of its identifier.
    pub(crate) fn has_extension(&self, oid: &[u8]) -> bool {
        self.0.iter_extensions().any(|extension| extension.oid.as_bytes() == oid)
    }

    /// Returns the content of the subject's public key; for an elliptic curve, this is the point.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.0.public_key().subject_public_key.data
    }
}
