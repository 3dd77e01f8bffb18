//! What the look-alikes of GitHub and GitLab share: an HTTP server, faults on request, and turns of several clients.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};

/// A request that a look-alike got.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum What {
    /// The connection is closed without an answer.
    Close,
    /// The answer takes this long.
    Slow(Duration),
    /// Another answer: status, headers, body. In a header, `NOW+1` is the time in a second, in seconds since 1970.
    Answer(u16, Vec<(&'static str, &'static str)>, &'static str),
}

/// A rule for requests.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The method.
    pub method: &'static str,
    /// A part of the path.
    pub path: &'static str,
    /// How many requests pass first.
    pub skip: usize,
    /// How many requests it then applies to.
    pub times: usize,
    /// Whether the request takes effect first.
    pub after: bool,
    /// What goes wrong.
    pub what: What,
}

impl Fault {
    /// The next request with this method and path does not take effect.
    pub fn before(method: &'static str, path: &'static str, what: What) -> Self {
        Self { method, path, skip: 0, times: 1, after: false, what }
    }

    /// The next request with this method and path takes effect.
    pub fn after(method: &'static str, path: &'static str, what: What) -> Self {
        Self { after: true, ..Self::before(method, path, what) }
    }

    /// Applies it to this many requests.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Lets this many requests pass first.
    #[must_use]
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }
}

impl Asked {
    /// A parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The body as JSON. GitLab also takes forms.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        let kind = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
        Self { status, headers: vec![kind], body: body.to_string() }
    }

    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub fn with(mut self, name: &str, value: &impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// Lets one request of several clients pass at a time. A client is known by its token.
#[derive(Debug, Default)]
pub struct Turns {
    waiting: Mutex<BTreeMap<String, oneshot::Sender<()>>>,
    changed: Condvar,
}

impl Turns {
    async fn take(&self, client: String) {
        let (sender, turn) = oneshot::channel();
        self.waiting.lock().unwrap().insert(client, sender);
        self.changed.notify_all();
        turn.await.unwrap();
    }

    /// Waits until the condition about the waiting clients is true.
    ///
    /// # Panics
    /// After ten seconds.
    pub fn until(&self, condition: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut waiting = self.waiting.lock().unwrap();
        loop {
            let names: Vec<String> = waiting.keys().cloned().collect();
            if condition(&names) {
                return names;
            }
            let (next, late) = self.changed.wait_timeout(waiting, Duration::from_secs(10)).unwrap();
            assert!(!late.timed_out(), "only {names:?} ask");
            waiting = next;
        }
    }

    /// Says that a client ended.
    pub fn changed(&self) {
        let _waiting = self.waiting.lock().unwrap();
        self.changed.notify_all();
    }

    /// Lets the request of this client pass.
    pub fn pass(&self, client: &str) {
        self.waiting.lock().unwrap().remove(client).unwrap().send(()).unwrap();
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running server.
pub(crate) struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

struct Shared {
    handler: Box<Handler>,
    asked: Mutex<Vec<Asked>>,
    faults: Mutex<Vec<Fault>>,
    turns: Mutex<Option<Arc<Turns>>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

impl Server {
    /// Starts a server on any free port. The handler learns the address from the header `host`.
    pub fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            asked: Mutex::default(),
            faults: Mutex::default(),
            turns: Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let shared = Arc::clone(&serving);
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, shared, _runtime: runtime }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub fn fault(&self, fault: Fault) {
        self.shared.faults.lock().unwrap().push(fault);
    }

    pub fn take_turns(&self, turns: Option<Arc<Turns>>) {
        *self.shared.turns.lock().unwrap() = turns;
    }
}

/// An error closes the connection.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let closed = || std::io::Error::other("a fault closes the connection");
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body: String::from_utf8(body.to_vec()).unwrap_or_default(),
    };
    let turns = shared.turns.lock().unwrap().clone();
    // Who the token is never changes, so the order of this question makes no difference.
    if let Some(turns) = turns.filter(|_| !asked.path.ends_with("/user")) {
        let token = asked.header("authorization").or(asked.header("private-token")).unwrap_or_default();
        turns.take(token.rsplit(' ').next().unwrap_or_default().to_owned()).await;
    }
    shared.asked.lock().unwrap().push(asked.clone());
    let fault = next_fault(&shared, &asked);
    let take_effect = fault.as_ref().is_none_or(|fault| fault.after || matches!(fault.what, What::Slow(_)));
    let mut reply = if take_effect { (shared.handler)(&asked) } else { Reply::empty(500) };
    match fault.map(|fault| fault.what) {
        None => {}
        Some(What::Close) => return Err(closed()),
        Some(What::Slow(time)) => tokio::time::sleep(time).await,
        Some(What::Answer(status, headers, body)) => {
            let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), at(value))).collect();
            reply = Reply { status, headers, body: body.to_owned() };
        }
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(reply.body))).unwrap()).map_err(|never| match never {})
}

/// `NOW+1` as seconds since 1970.
fn at(value: &str) -> String {
    match value.strip_prefix("NOW+") {
        Some(seconds) => (now() + seconds.parse::<u64>().unwrap()).to_string(),
        None => value.to_owned(),
    }
}

pub(crate) fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn next_fault(shared: &Shared, asked: &Asked) -> Option<Fault> {
    let mut faults = shared.faults.lock().unwrap();
    let fits = |fault: &Fault| fault.times > 0 && fault.method == asked.method && asked.path.contains(fault.path);
    let fault = faults.iter_mut().find(|fault| fits(fault))?;
    if fault.skip > 0 {
        fault.skip -= 1;
        return None;
    }
    fault.times -= 1;
    Some(fault.clone())
}

/// A page of a list, with the `Link` of GitHub and GitLab.
pub(crate) fn page<T>(asked: &Asked, base: &str, usual: usize, items: &[T], shown: impl Fn(&T) -> Value) -> Reply {
    let number = |name: &str, usual: usize| asked.parameter(name).and_then(|value| value.parse().ok()).unwrap_or(usual);
    let size = number("per_page", usual).clamp(1, 100);
    let at = number("page", 1).max(1);
    let last = items.len().div_ceil(size).max(1);
    let shown: Vec<Value> = items.iter().skip((at - 1) * size).take(size).map(shown).collect();
    let reply = Reply::json(200, &serde_json::json!(shown));
    let others: Vec<&str> =
        asked.query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("page=")).collect();
    let link = |to: usize, kind: &str| {
        let page = format!("page={to}");
        let query = [others.as_slice(), &[&page]].concat().join("&");
        format!("<{base}{}?{query}>; rel=\"{kind}\"", asked.path)
    };
    let mut links = Vec::new();
    if at > 1 {
        links.push(link(at - 1, "prev"));
    }
    if at < last {
        links.push(link(at + 1, "next"));
    }
    links.push(link(last, "last"));
    links.push(link(1, "first"));
    if last > 1 { reply.with("link", &links.join(", ")) } else { reply }
}

/// A time such as `2026-11-28T07:00:00Z`. All times of a look-alike are on one day.
pub(crate) fn time(tick: u64) -> String {
    format!("2026-11-28T{:02}:{:02}:{:02}Z", tick / 3600 % 24, tick / 60 % 60, tick % 60)
}
