//! TLS for the test server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use qyun::client::ClientOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use crate::events::fast;

/// TLS in front of a plain server; its address and the file with its authority.
pub struct Terminator {
    pub address: SocketAddr,
    ca_file: PathBuf,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Terminator {
    pub fn start(backend: SocketAddr, name: &str) -> Self {
        let key = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]);
        let rcgen::CertifiedKey { cert, signing_key } = key.unwrap();
        let ca_file = std::env::temp_dir().join(format!("qyun-{}-{name}.pem", std::process::id()));
        std::fs::write(&ca_file, cert.pem()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                signing_key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (tell, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let serve = async {
                    while let Ok((tcp, _)) = listener.accept().await {
                        let acceptor = acceptor.clone();
                        tokio::spawn(async move {
                            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                            let mut plain = TcpStream::connect(backend).await.unwrap();
                            let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
                        });
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv().unwrap(), ca_file, _stop: stop }
    }

    /// The file with the authority that the certificate is from.
    #[allow(dead_code)]
    pub fn ca_file(&self) -> &std::path::Path {
        &self.ca_file
    }

    pub fn options(&self) -> ClientOptions {
        ClientOptions { ca_file: self.ca_file.to_str().unwrap().into(), ..fast() }
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}
