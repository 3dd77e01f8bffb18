//! What can be between `trunnion` and AWS: proxies, TLS with a private authority, and servers that misbehave.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

/// The servers of a test. They stop when it ends.
#[derive(Debug)]
pub struct Network(Runtime);

/// A private certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A proxy that records its requests.
#[derive(Debug)]
pub struct Proxy {
    /// Its address and port.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// The first line of each request so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Default for Network {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self(runtime.unwrap())
    }
}

impl Default for Authority {
    fn default() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }
}

impl Authority {
    /// Its certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The TLS settings of a server with this name. Without a name, it shows the certificate of the authority itself.
    /// It can require a client certificate.
    fn server(&self, name: Option<&str>, asks: bool) -> ServerConfig {
        let (certificate, key) = match name {
            Some(name) => {
                let key = KeyPair::generate().unwrap();
                let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
                (parameters.signed_by(&key, &self.0).unwrap().der().clone(), key.serialize_der())
            }
            None => (self.0.der().clone(), self.0.key().serialize_der()),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        builder.with_single_cert(vec![certificate], key).unwrap()
    }
}

impl Network {
    /// A server that calls this function for each connection.
    fn serve<F>(&self, handle: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> SocketAddr
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        self.0.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(handle(stream));
                }
            });
            address
        })
    }

    /// A TLS server with this name that forwards everything.
    pub fn tls(&self, authority: &Authority, name: &str, to: &str) -> SocketAddr {
        self.tls_by(authority.server(Some(name), false), to)
    }

    /// A TLS server that shows the certificate of its authority.
    pub fn tls_as_authority(&self, authority: &Authority) -> SocketAddr {
        self.tls_by(authority.server(None, false), "")
    }

    /// A TLS server with this name that requires a client certificate.
    pub fn tls_among_friends(&self, authority: &Authority, name: &str) -> SocketAddr {
        self.tls_by(authority.server(Some(name), true), "")
    }

    fn tls_by(&self, config: ServerConfig, to: &str) -> SocketAddr {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let to = to.to_owned();
        self.serve(move |stream| {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            async move {
                let mut stream = acceptor.accept(stream).await?;
                copy_bidirectional(&mut stream, &mut TcpStream::connect(to).await?).await?;
                Ok(())
            }
        })
    }

    /// A proxy that connects every name to one address. If `login` is set, such as `Basic …`, the proxy requires it.
    pub fn proxy(&self, to: &str, login: Option<&str>) -> Proxy {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (to, login, log) = (to.to_owned(), login.map(str::to_owned), Arc::clone(&seen));
        let address = self.serve(move |mut stream| {
            let (to, login, log) = (to.clone(), login.clone(), Arc::clone(&log));
            async move {
                let head = head(&mut stream).await?;
                log.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
                let has_login = login.is_none_or(|login| {
                    head.to_ascii_lowercase()
                        .contains(&format!("proxy-authorization: {login}\r\n").to_ascii_lowercase())
                });
                if !has_login {
                    return say(&mut stream, &page("407 Proxy Authentication Required", "Sign in")).await;
                }
                let mut server = TcpStream::connect(to).await?;
                if head.starts_with("CONNECT ") {
                    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                } else {
                    server.write_all(head.as_bytes()).await?;
                }
                copy_bidirectional(&mut stream, &mut server).await?;
                Ok(())
            }
        });
        Proxy { address, seen }
    }

    /// A server that answers every request with this text and closes the connection.
    pub fn answering(&self, answer: &str) -> SocketAddr {
        let answer = answer.to_owned();
        self.serve(move |mut stream| {
            let answer = answer.clone();
            async move {
                head(&mut stream).await?;
                say(&mut stream, &answer).await
            }
        })
    }

    /// A server that answers every request with a page.
    pub fn page(&self, status: &str, title: &str) -> SocketAddr {
        self.answering(&page(status, title))
    }

    /// A server that closes every connection after the first request.
    pub fn closing(&self) -> SocketAddr {
        self.answering("")
    }

    /// An address at which nothing listens.
    pub fn nothing(&self) -> SocketAddr {
        self.0.block_on(async { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() })
    }
}

fn page(status: &str, title: &str) -> String {
    let html = format!("<html><head><title>{title}</title></head></html>");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{html}",
        html.len()
    )
}

/// Reads a request up to its empty line, with any bytes that came after it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    // The first byte of a TLS handshake, which has no empty line.
    const HANDSHAKE: u8 = 0x16;
    let mut head = Vec::new();
    let is_whole =
        |head: &[u8]| head.first() == Some(&HANDSHAKE) || head.windows(4).any(|window| window == b"\r\n\r\n");
    while !is_whole(&head) {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Sends the answer and closes. The rest of the input is read first, because unread input would reset the connection
/// and lose the answer.
async fn say(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) -> std::io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(stream, &mut tokio::io::sink()).await?;
    Ok(())
}
