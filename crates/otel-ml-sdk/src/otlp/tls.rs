//! Certificates and keys, looked through before anything is sent.

use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::{ErrorKind, InitError};

/// Ours alone: what the process has chosen for itself is left alone.
pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, InitError> {
    std::fs::read(file).map_err(|error| wrong(file, "can't be read").because(error))
}

/// The certificates to trust.
pub(super) fn trusted(file: &Path) -> Result<RootCertStore, InitError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let unusable = |error| wrong(file, "holds a certificate that won't do").because(error);
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// The client's own certificate, with those that vouch for it, and its key.
pub(super) fn identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), InitError> {
    let chain = certificates(certificate)?;
    let parsed = PrivateKeyDer::from_pem_slice(&read(key)?);
    let parsed = parsed.map_err(|error| wrong(key, "holds no private key (PEM)").because(error))?;
    let unusable = |error| {
        let what = format!("and {} are no certificate and its key", key.display());
        wrong(certificate, &what).because(error)
    };
    CertifiedKey::from_der(chain.clone(), parsed.clone_key(), &provider()).map_err(unusable)?;
    Ok((chain, parsed))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, InitError> {
    let pem = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.map_err(|error| wrong(file, "is no PEM file").because(error))?;
    if certificates.is_empty() {
        return Err(wrong(file, "holds no certificate (PEM)"));
    }
    Ok(certificates)
}

fn wrong(file: &Path, what: &str) -> InitError {
    InitError::new(ErrorKind::Tls, format!("{} {what}", file.display()))
}
