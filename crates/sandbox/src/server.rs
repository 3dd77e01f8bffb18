//! The sandbox as a server: connections and dispatch.
//!
//! The signature of a request determines its service and region. The service's handler executes it while the data is
//! locked; the changes are in the journal before the answer is sent.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Bytes, Incoming},
    http::request::Parts,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use jiff::Timestamp;
use s3s::Body;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{
    Calls, FaultRule, Options, SandboxError,
    authorize::{self, Origin, out_of_band, record::Recorder},
    call::{Call, Fault, Reply},
    cloud::{Cloud, SharedCloud, lock},
    control::{Control, Verdict, is_mutating},
    ec2, ecs,
    gate::{Gate, Slot},
    iam, logs,
    protocol::{Protocol, Shape, incomplete, malformed_in_s3, read, respond, s3_fault},
    quotas, s3, secrets, service_quotas,
    signature::{Authorization, Denied},
    ssm, sts, tagging,
};

/// The longest body of the query and JSON services, in bytes; S3 has its own limits.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// A sandbox with its data that does not serve yet.
#[derive(Debug)]
pub struct Sandbox {
    cloud: Cloud,
    options: Options,
}

impl Sandbox {
    /// Opens the data of these options.
    pub fn open(options: Options) -> Result<Self, SandboxError> {
        let mut cloud = Cloud::open(&options)?;
        if let Some(path) = &options.authorizations {
            let failed = |source| SandboxError::File { path: path.clone(), source };
            cloud.authorizations = Recorder::to(path).map_err(failed)?;
        }
        Ok(Self { cloud, options })
    }

    /// Serves on this listener in the background of the current tokio runtime, until it is shut down.
    ///
    /// # Panics
    ///
    /// If there is no current tokio runtime.
    pub fn serve(self, listener: TcpListener) -> Result<Running, SandboxError> {
        let address = listener.local_addr().map_err(|source| SandboxError::Listener { source })?;
        let control = Arc::new(Control::new(self.options.faults, self.options.throttle));
        let cloud = SharedCloud::new(self.cloud.into());
        let server = Arc::new(Server {
            s3: s3::service(Arc::clone(&cloud), Gate::new(Arc::clone(&control), Arc::clone(&cloud))),
            cloud: Arc::clone(&cloud),
            control: Arc::clone(&control),
            latency: self.options.latency,
            requests: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(server, listener, stopped));
        Ok(Running { address, control, cloud, stop, task })
    }
}

/// A running sandbox. It keeps running when this value is dropped; [`Running::shutdown`] stops it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    control: Arc<Control>,
    cloud: SharedCloud,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint URL for AWS clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The calls so far.
    pub fn calls(&self) -> Calls {
        self.control.calls()
    }

    /// The highest number of tasks that were not STOPPED at the same time, for each ECS service by its ARN, since it
    /// started to serve.
    pub fn most_tasks(&self) -> BTreeMap<String, u64> {
        lock(&self.cloud).ecs.most_tasks().clone()
    }

    /// What the boots of instances wrote to their consoles, by instance id.
    pub fn consoles(&self) -> BTreeMap<String, String> {
        lock(&self.cloud).ec2.consoles()
    }

    /// The length of the longest chain of answered calls in which each call began after the answer to the one before.
    pub fn calls_in_a_row(&self) -> u64 {
        self.control.calls_in_a_row()
    }

    /// Waits until every read shows all changes so far.
    pub async fn until_consistent(&self) {
        let lag = lock(&self.cloud).longest_lag();
        tokio::time::sleep(Duration::try_from(lag).unwrap_or_default()).await;
    }

    /// Replaces the fault rules.
    pub fn set_faults(&self, faults: Vec<FaultRule>) {
        self.control.set_faults(faults);
    }

    /// Accepts no more connections, finishes running calls, and closes the data.
    pub async fn shutdown(self) {
        // If nobody receives this, the server has already stopped.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the sandbox ended with a panic");
        }
    }
}

#[derive(Debug)]
struct Server {
    cloud: SharedCloud,
    s3: s3::Service,
    control: Arc<Control>,
    latency: Duration,
    requests: AtomicU64,
}

/// The connection must be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule closes the connection")]
struct Dropped;

async fn accept(server: Arc<Server>, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The process has probably no free file descriptors; other connections must close first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = &mut stopped => break,
        };
        // Answers are small, and the client waits for each.
        let _ = stream.set_nodelay(true);
        let server = Arc::clone(&server);
        let service = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { server.answer(request, peer).await }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection ended early");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

impl Server {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Dropped> {
        let (parts, body) = request.into_parts();
        if parts.uri.path().starts_with("/_sandbox/") {
            return Ok(self.out_of_band(&parts, body, peer).await);
        }
        let place = self.control.begin();
        let answered = self.answer_aws(parts, body, peer).await;
        self.control.end(place);
        answered
    }

    async fn answer_aws(&self, parts: Parts, body: Incoming, peer: SocketAddr) -> Result<Response<Body>, Dropped> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("00000000-0000-4000-8000-{number:012x}");
        let protocol = Protocol::of(&parts);
        let (service, malformed) = match Authorization::of(&parts) {
            Ok(authorization) => (authorization.map(|authorization| authorization.service.to_owned()), None),
            Err(malformed) => (None, Some(malformed)),
        };
        if service.as_deref() == Some("s3") || (service.is_none() && protocol == Protocol::Other) {
            if let Some(malformed) = malformed {
                return Ok(s3_fault(malformed_in_s3(malformed)));
            }
            let mut response = self.answer_s3(Request::from_parts(parts, body), peer).await?;
            if let Ok(id) = request_id.parse() {
                response.headers_mut().insert("x-amz-request-id", id);
            }
            return Ok(response);
        }
        let shape = Shape { protocol, service: service.unwrap_or_default(), request_id };
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                tracing::debug!(%error, "a request's body cannot be read");
                let message = format!("the request is larger than {BODY_LIMIT} bytes or was cut short");
                return Ok(shape.fault(&Fault::new("RequestEntityTooLarge", message).with_status(413), &[]));
            }
        };
        let call = match self.authentic_call(&parts, &body, &shape, peer) {
            Ok(call) => call,
            Err(fault) => return Ok(shape.fault(&fault, &body)),
        };
        let verdict = self.control.admit(&parts.headers, &call.service, &call.region, &call.action, &call.params());
        match verdict {
            Verdict::Drop => return Err(Dropped),
            Verdict::Refuse(fault) => return Ok(shape.fault(&fault, &body)),
            Verdict::Execute | Verdict::ExecuteAndDrop => {}
        }
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let call = Call { now: Timestamp::now(), ..call };
        let response = match self.execute(&call) {
            Ok(reply) => shape.reply(reply),
            Err(fault) => shape.fault(&fault, &body),
        };
        tracing::debug!(service = call.service, action = call.action, status = response.status().as_u16(), "answered");
        if verdict == Verdict::ExecuteAndDrop { Err(Dropped) } else { Ok(response) }
    }

    fn execute(&self, call: &Call) -> Result<Reply, Fault> {
        if matches!(call.service.as_str(), "iam" | "sts") {
            iam::wire::check_lists(call)?;
        }
        let mut cloud = lock(&self.cloud);
        cloud.begin(&format!("{}:{}", call.service, call.action));
        if !matches!(call.service.as_str(), "iam" | "sts") {
            cloud.enter(&call.region, call.now);
        }
        authorize::check(&cloud, call)?;
        let reply = cloud.attempt(|cloud| {
            quotas::check(cloud, call)?;
            handle(cloud, call)
        });
        match cloud.commit() {
            // What a read changes follows from the time, so the next call does it again.
            Err(error) if !is_mutating(&call.action) => tracing::error!(%error, "the sandbox's data cannot be written"),
            written => written.map_err(|error| lost(&error))?,
        }
        reply
    }

    async fn answer_s3(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Dropped> {
        let slot = Slot::default();
        // The gate adds the access key, once the signature is verified.
        let origin = origin(request.headers(), String::new(), peer);
        request.extensions_mut().insert(Arc::clone(&slot));
        request.extensions_mut().insert(origin);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let answered = self.s3.call(request.map(Body::from)).await;
        if matches!(slot.get(), Some(Verdict::Drop | Verdict::ExecuteAndDrop)) {
            return Err(Dropped);
        }
        Ok(answered.unwrap_or_else(|error| {
            tracing::error!(?error, "an S3 request failed without an answer");
            respond(500, "text/plain", "internal error".to_owned())
        }))
    }

    /// The sandbox's own calls. They have no signature, so they are answered only for clients on this machine and not
    /// for web pages, which always send an `Origin`.
    async fn out_of_band(&self, parts: &Parts, body: Incoming, peer: SocketAddr) -> Response<Body> {
        let text = |status, message: &str| respond(status, "text/plain", message.to_owned());
        if !peer.ip().to_canonical().is_loopback() || parts.headers.contains_key("origin") {
            return text(403, "only for programs on this machine\n");
        }
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/_sandbox/calls") => match serde_json::to_string(&self.control.calls()) {
                Ok(calls) => respond(200, "application/json", calls),
                Err(error) => text(500, &error.to_string()),
            },
            (&Method::GET, "/_sandbox/buckets") => match serde_json::to_string(&self.control.spent()) {
                Ok(spent) => respond(200, "application/json", spent),
                Err(error) => text(500, &error.to_string()),
            },
            (&Method::GET, "/_sandbox/tasks") => match serde_json::to_string(lock(&self.cloud).ecs.most_tasks()) {
                Ok(most) => respond(200, "application/json", most),
                Err(error) => text(500, &error.to_string()),
            },
            (&Method::GET, "/_sandbox/consoles") => match serde_json::to_string(&lock(&self.cloud).ec2.consoles()) {
                Ok(consoles) => respond(200, "application/json", consoles),
                Err(error) => text(500, &error.to_string()),
            },
            (&Method::GET, "/_sandbox/rows") => match lock(&self.cloud).rows().map(|rows| serde_json::to_string(&rows))
            {
                Ok(Ok(rows)) => respond(200, "application/json", rows),
                Ok(Err(error)) | Err(error) => text(500, &error.to_string()),
            },
            (&Method::POST, "/_sandbox/faults") => {
                let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
                    return text(400, "the body cannot be read\n");
                };
                match serde_json::from_slice(&body.to_bytes()) {
                    Ok(faults) => {
                        self.control.set_faults(faults);
                        text(204, "")
                    }
                    Err(error) => text(400, &format!("the body is not a list of fault rules: {error}\n")),
                }
            }
            (&Method::POST, "/_sandbox/evaluate") => {
                let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
                    return text(400, "the body cannot be read\n");
                };
                match serde_json::from_slice::<Vec<out_of_band::Written>>(&body.to_bytes()) {
                    Ok(requests) => {
                        let verdicts = serde_json::Value::from(out_of_band::verdicts(&requests));
                        respond(200, "application/json", verdicts.to_string())
                    }
                    Err(error) => text(400, &format!("the body is not a list of requests: {error}\n")),
                }
            }
            _ => text(
                404,
                "there are /_sandbox/buckets, /_sandbox/calls, /_sandbox/consoles, /_sandbox/rows and /_sandbox/tasks to \
                 GET, and /_sandbox/evaluate and /_sandbox/faults to POST\n",
            ),
        }
    }
}

/// Answers one call of any service but S3.
pub(crate) fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    match call.service.as_str() {
        "ec2" => ec2::handle(cloud, call),
        "iam" => iam::handle(cloud, call),
        "sts" => sts::handle(cloud, call),
        "ecs" => ecs::handle(cloud, call),
        "ssm" => ssm::handle(cloud, call),
        "logs" => logs::handle(cloud, call),
        "secretsmanager" => secrets::handle(cloud, call),
        "servicequotas" => service_quotas::handle(cloud, call),
        "tagging" => tagging::handle(cloud, call),
        other => {
            let message = format!("The service {other} is not served here.");
            Err(Fault::new("InvalidAction", message).with_status(404))
        }
    }
}

/// The journal cannot be written, so the call must fail.
fn lost(error: &SandboxError) -> Fault {
    tracing::error!(%error, "the sandbox's data cannot be written");
    Fault::not_kept(error)
}

impl Server {
    /// Reads a request of the query and JSON services after verifying its signature.
    fn authentic_call(&self, parts: &Parts, body: &Bytes, shape: &Shape, peer: SocketAddr) -> Result<Call, Fault> {
        let json = shape.protocol == Protocol::Json;
        let Some(authorization) = Authorization::of(parts).map_err(|malformed| incomplete(malformed, json))? else {
            let code = if json { "MissingAuthenticationTokenException" } else { "MissingAuthenticationToken" };
            return Err(Fault::new(code, "Request is missing Authentication Token").with_status(403));
        };
        let now = Timestamp::now();
        let key = {
            let mut cloud = lock(&self.cloud);
            cloud.begin("credentials");
            iam::credentials(&cloud, authorization.access_key, now)
        };
        let verified = key.map_or(Err(Denied::UnknownKey), |key| authorization.verify(parts, body, &key, now));
        verified.map_err(|denied| denied.fault(authorization.service, json))?;
        let (action, input) = read(parts, body, shape.protocol)?;
        Ok(Call {
            service: authorization.service.to_owned(),
            region: authorization.region.to_owned(),
            action,
            input,
            now,
            request_id: shape.request_id.clone(),
            origin: origin(&parts.headers, authorization.access_key.to_owned(), peer),
        })
    }
}

/// Who sent a request, and from where. `access_key` is the one whose signature was verified.
fn origin(headers: &HeaderMap, access_key: String, peer: SocketAddr) -> Origin {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Origin {
        access_key,
        address: Some(peer.ip()),
        agent: header("user-agent").map(str::to_owned),
        is_secure: header("x-forwarded-proto") != Some("http"),
    }
}

#[cfg(test)]
mod tests;
