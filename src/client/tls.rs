//! TLS for `https` and `wss`: rustls with ring, named explicitly, so that no process-wide provider
//! is needed or set.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::state::{lock, state};
use crate::{Error, ErrorKind, Result};

/// The configuration that trusts the authorities in the PEM file `ca_file`, or, when that is
/// empty, the system's (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace them). Reads files: call it on
/// the program's thread.
pub(crate) fn config(ca_file: &str) -> Result<Arc<ClientConfig>> {
    if !ca_file.is_empty() {
        return build(file_roots(ca_file)?);
    }
    let mut cached = lock(&state().system_tls);
    if let Some(config) = &*cached {
        return Ok(config.clone());
    }
    let config = build(system_roots()?)?;
    *cached = Some(config.clone());
    Ok(config)
}

fn build(roots: RootCertStore) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Io, format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn file_roots(path: &str) -> Result<RootCertStore> {
    let refuse = |why: String| {
        Error::new(
            ErrorKind::InvalidOption,
            format!(
                "option 'ca_file' cannot be '{path}': {why}; it takes a PEM file of certificates"
            ),
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(refuse("it holds no certificate".into())),
        false => Ok(roots),
    }
}

fn system_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!(target: "qyun::client", "a certificate of the system was skipped: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    match added {
        0 => Err(Error::new(
            ErrorKind::Io,
            "the system has no certificate authorities; set the option 'ca_file' or SSL_CERT_FILE",
        )),
        _ => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_is_none_is_refused_by_name() {
        for path in ["/nowhere/ca.pem", "Cargo.toml"] {
            let error = config(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
