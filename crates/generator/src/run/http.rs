//! `GET /health` and `GET /metrics` on the primary address. Nothing a client does takes more than a place for a while:
//! there are few places, each is left after one answer, and a client that is slow loses it, at the latest when somebody
//! else needs it. An answer takes milliseconds, so whoever just asks gets one, however many connections hang around.

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
    metrics, say,
    shared::{Shared, Status},
};

/// Connections at once; for a further one, the oldest is closed.
const PLACES: usize = 64;
/// For a request to arrive.
const REQUEST: Duration = Duration::from_secs(5);
/// For a connection as a whole.
const WHOLE: Duration = Duration::from_secs(20);
/// For answers that are on their way when the service ends.
const LAST: Duration = Duration::from_secs(10);
/// Before an address that cannot be listened on is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The server.
pub(super) struct Server {
    shared: Arc<Shared>,
    collector: Arc<Collector>,
    conversations: JoinSet<()>,
    /// The same, the oldest first.
    places: VecDeque<AbortHandle>,
}

impl Server {
    pub(super) fn new(shared: &Arc<Shared>, collector: Arc<Collector>) -> Self {
        Self { shared: Arc::clone(shared), collector, conversations: JoinSet::new(), places: VecDeque::new() }
    }

    /// Listens on the primary address, whichever that is at the time. Never ends.
    pub(super) async fn serve(&mut self, mut primary: watch::Receiver<Option<IpAddr>>) {
        let port = self.shared.config.metrics_port;
        let mut told = None;
        loop {
            let Some(address) = *primary.borrow_and_update() else {
                if primary.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let error = match TcpListener::bind((address, port)).await {
                Ok(listener) => {
                    say(format_args!("serves /health and /metrics on {address}:{port}"));
                    told = None;
                    tokio::select! {
                        error = self.accept(&listener) => error,
                        _ = primary.changed() => continue,
                    }
                }
                Err(error) => error,
            };
            let problem = format!("cannot serve on {address}:{port}: {error}");
            if told.as_ref() != Some(&problem) {
                say(format_args!("{problem}; tries again"));
                told = Some(problem);
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits for answers that are on their way.
    pub(super) async fn finish(mut self) {
        // Those that take longer end with the process.
        let _ = timeout(LAST, async { while self.conversations.join_next().await.is_some() {} }).await;
    }

    async fn accept(&mut self, listener: &TcpListener) -> io::Error {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The client's doing, not the listener's.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return error,
            };
            while self.conversations.try_join_next().is_some() {}
            self.places.retain(|place| !place.is_finished());
            if self.places.len() >= PLACES
                && let Some(oldest) = self.places.pop_front()
            {
                oldest.abort();
            }
            let (shared, collector) = (Arc::clone(&self.shared), Arc::clone(&self.collector));
            self.places.push_back(self.conversations.spawn(async move {
                // Whatever went wrong is between the client and its connection.
                let _ = timeout(WHOLE, converse(stream, &shared, &collector)).await;
            }));
        }
    }
}

/// One request and its answer.
async fn converse(stream: TcpStream, shared: &Shared, collector: &Arc<Collector>) -> hyper::Result<()> {
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
        return text(StatusCode::NOT_FOUND, "there are /health and /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = if path == "/health" { health(shared) } else { measured(collector).await };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if request.method() == Method::HEAD {
        // The body of an answer to HEAD is not sent; its length is.
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
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the health cannot be told\n"),
    }
}

async fn measured(collector: &Arc<Collector>) -> Response<Full<Bytes>> {
    match collector.text().await {
        Some(metrics) => response(StatusCode::OK, metrics::CONTENT_TYPE, metrics),
        None => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be collected\n"),
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
