use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::scratch::give_to_servers;

/// A certificate for `localhost` and `127.0.0.1`, from an authority that signed nothing else, as
/// PEM files.
#[derive(Debug)]
pub(super) struct Certificate {
    /// The authority's certificate: what clients are to trust.
    pub(super) authority: PathBuf,
    /// The server's certificate.
    pub(super) server: PathBuf,
    /// The server's private key.
    pub(super) key: PathBuf,
}

impl Certificate {
    /// Writes the files into `folder`, which is expected to be closed to others.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name
            .push(DnType::CommonName, "Authority of one test server");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&ca_key)?;

        let key = KeyPair::generate()?;
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;

        let files = Self {
            authority: folder.join("ca.pem"),
            server: folder.join("server.pem"),
            key: folder.join("server.key"),
        };
        for (path, text) in [
            (&files.authority, ca_certificate.pem()),
            (&files.server, certificate.pem()),
            (&files.key, key.serialize_pem()),
        ] {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        // PostgreSQL refuses a key that others may read.
        give_to_servers(&files.key)?;
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot close {} to others", files.key.display()))?;
        Ok(files)
    }
}
