//! The one way in which the agent speaks HTTP as a client.
//!
//! Meters, the kubelet and receivers of exports are asked through `ureq`, with
//! the same promises: certificates are verified unless somebody said not to,
//! redirects and proxies are off, so that a secret goes nowhere but to the host
//! that was named, and an answer has a time limit. `ureq` blocks: callers run
//! it on a thread where that is allowed.

use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{parse_pem, Certificate, PemItem, RootCerts, TlsConfig};

/// A client. `verify` false trusts any certificate.
pub fn client(roots: RootCerts, verify: bool, timeout: Duration) -> ureq::Agent {
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .disable_verification(!verify)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .max_idle_connections(1)
        .user_agent(concat!("eo-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Nobody is trusted: for `http://`, and where nothing is verified.
pub fn no_roots() -> RootCerts {
    RootCerts::new_with_certs(&[])
}

/// The authorities of this machine.
pub fn system_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    let found: Vec<Certificate<'static>> =
        found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    RootCerts::new_with_certs(&found)
}

/// The authorities in the text of a PEM file; None where it holds no certificate.
pub fn roots_of(pem: &[u8]) -> Result<Option<RootCerts>, ureq::Error> {
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item? {
            found.push(certificate);
        }
    }
    Ok((!found.is_empty()).then(|| RootCerts::new_with_certs(&found)))
}
