//! Serves `GET /health` and `GET /metrics` on the primary address.
//!
//! Clients cannot exhaust the server: the number of connections is limited, each connection gets one answer, slow ones time
//! out, and a new connection closes the oldest one if there are too many. An answer takes milliseconds, so a client that
//! sends its request at once gets one however many idle connections there are.

use std::{collections::VecDeque, convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{
    collect::Collector,
    journal::say,
    metrics,
    shared::{Shared, Status},
};

/// The most connections at once. A further one closes the oldest.
const MOST_CONNECTIONS: usize = 64;
/// The time in which a request must arrive.
const REQUEST: Duration = Duration::from_secs(5);
/// The time after which a connection is closed.
const WHOLE: Duration = Duration::from_secs(20);
/// How long the service waits for answers in progress when it stops.
const LAST: Duration = Duration::from_secs(10);
/// The pause before the next attempt to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// The server.
pub(super) struct Server {
    shared: Arc<Shared>,
    collector: Arc<Collector>,
    connections: JoinSet<()>,
    /// Their handles, the oldest first.
    handles: VecDeque<AbortHandle>,
}

impl Server {
    pub(super) fn new(shared: &Arc<Shared>, collector: Arc<Collector>) -> Self {
        Self { shared: Arc::clone(shared), collector, connections: JoinSet::new(), handles: VecDeque::new() }
    }

    /// Listens on the primary address, and follows its changes. Never ends.
    pub(super) async fn serve(&mut self, mut primary: watch::Receiver<Option<IpAddr>>) {
        let port = self.shared.config.metrics_port;
        let mut logged = None;
        loop {
            let Some(address) = *primary.borrow_and_update() else {
                if primary.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let error = match TcpListener::bind((address, port)).await {
                Ok(listener) => {
                    say(format_args!("serving /health and /metrics on {address}:{port}"));
                    logged = None;
                    tokio::select! {
                        error = self.accept(&listener) => error,
                        _ = primary.changed() => continue,
                    }
                }
                Err(error) => error,
            };
            let problem = format!("cannot serve on {address}:{port}: {error}");
            if logged.as_ref() != Some(&problem) {
                say(format_args!("{problem}; trying again every second"));
                logged = Some(problem);
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits for answers in progress.
    pub(super) async fn finish(mut self) {
        // Those that take longer end with the process.
        let _ = timeout(LAST, async { while self.connections.join_next().await.is_some() {} }).await;
    }

    async fn accept(&mut self, listener: &TcpListener) -> io::Error {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The client closed it; the listener still works.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return error,
            };
            while self.connections.try_join_next().is_some() {}
            self.handles.retain(|handle| !handle.is_finished());
            if self.handles.len() >= MOST_CONNECTIONS
                && let Some(oldest) = self.handles.pop_front()
            {
                oldest.abort();
            }
            let (shared, collector) = (Arc::clone(&self.shared), Arc::clone(&self.collector));
            self.handles.push_back(self.connections.spawn(async move {
                // An error only concerns this client.
                let _ = timeout(WHOLE, serve_one(stream, &shared, &collector)).await;
            }));
        }
    }
}

/// Reads one request and answers it.
async fn serve_one(stream: TcpStream, shared: &Shared, collector: &Arc<Collector>) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(respond(&request, shared, collector).await)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn respond(request: &Request<Incoming>, shared: &Shared, collector: &Arc<Collector>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/health" | "/metrics") {
        return text(StatusCode::NOT_FOUND, "not found: use /health or /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed: use GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = match (path, metrics::Per::of_query(request.uri().query().unwrap_or_default())) {
        ("/health", _) => health(shared),
        (_, Some(per)) => measured(collector, per).await,
        (_, None) => text(StatusCode::BAD_REQUEST, "bad request: `per` is `interface` or `address`\n"),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if request.method() == Method::HEAD {
        // An answer to HEAD has the length of the body, but no body.
        let length = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

fn health(shared: &Shared) -> Response<Full<Bytes>> {
    let health = shared.health();
    let status = if health.status == Status::Healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&health) {
        Ok(document) => response(status, "application/json", format!("{document}\n")),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot serialise the health\n"),
    }
}

async fn measured(collector: &Arc<Collector>, per: metrics::Per) -> Response<Full<Bytes>> {
    match collector.text(per).await {
        Some(metrics) => response(StatusCode::OK, metrics::CONTENT_TYPE, metrics),
        None => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot collect the metrics\n"),
    }
}

fn text(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", message)
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
