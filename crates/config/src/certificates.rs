//! Files of authorities that TLS trusts.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Whether the file can be read and holds nothing but usable certificates, so that a wrong path is known at start and
/// not when the server is first needed. The error says what is expected instead.
pub(crate) fn check(file: &Path) -> Result<(), String> {
    const EXPECTED: &str = "a file of certificates in PEM form";
    let text = std::fs::read(file).map_err(|error| format!("{EXPECTED} ({error})"))?;
    let mut known = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| format!("{EXPECTED} ({error})"))?;
        known
            .add(certificate)
            .map_err(|error| format!("{EXPECTED} ({error})"))?;
    }
    if known.is_empty() {
        return Err(format!("{EXPECTED} (it holds none)"));
    }
    Ok(())
}
