//! TLS for webhooks, with the certificates that the host trusts.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where distributions keep them, and what OpenSSL's users set.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const OWN: &str = "SSL_CERT_FILE";

/// Makes a connection one by TLS, to this name.
pub async fn connect(stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name of a server"))?;
    // Read each time: they are seldom needed and much memory, and the file may have been replaced.
    let roots = tokio::task::spawn_blocking(roots).await.map_err(|error| error.to_string())??;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

fn roots() -> Result<RootCertStore, String> {
    let own = std::env::var_os(OWN).filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = own.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
    let Some(path) = found else {
        return Err(format!(
            "TLS: no certificates of authorities were found; install ca-certificates, or set {OWN} for svd"
        ));
    };
    let unusable = |error: &dyn std::fmt::Display| format!("TLS: {} cannot be used: {error}", path.display());
    let mut roots = RootCertStore::empty();
    // What one cannot be read of need not be what this server needs.
    for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| unusable(&error))?.flatten() {
        let _unreadable = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(unusable(&"there is no certificate in it"));
    }
    Ok(roots)
}
