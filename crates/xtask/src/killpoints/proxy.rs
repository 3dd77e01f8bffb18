//! The proxy between `trunnion` and the sandbox. It counts the calls that change something, and at one of them it kills
//! `trunnion`, refuses the call, or loses the answer.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::handshake,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinHandle,
};

use super::{
    call::{Call, Refusal, forwarded},
    order::{CallName, Disturbance, Fault, Order, Point},
};
use crate::Failure;

/// A proxy for one sandbox. It stops when it is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    sandbox: String,
    run: Mutex<Run>,
}

/// What one run of `trunnion` has done so far.
#[derive(Debug, Default)]
pub(super) struct Run {
    order: Option<Order>,
    /// The state document, which is read when an answer is passed on; none if writing it is a call.
    document: Option<PathBuf>,
    victim: Option<Pid>,
    /// How many calls of each operation were not refused.
    counts: BTreeMap<String, u32>,
    /// The calls that changed something, in the order of their answers.
    pub done: Vec<String>,
    /// Whether the order was carried out.
    pub is_fired: bool,
    /// How many more calls of the operation are refused.
    refusals: u32,
    mode: Mode,
    /// The state document when the answer was passed on.
    pub recorded: Option<Recorded>,
}

/// The state document at a moment; `None` if there was none.
#[derive(Debug)]
pub(super) struct Recorded(pub Option<Vec<u8>>);

/// What happens to all requests from now on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    #[default]
    Open,
    /// The next request kills.
    Armed,
    /// Each request is refused, because the credentials have expired.
    Expired,
    /// No request is passed on any more.
    Dead,
}

/// What happens to a request.
enum Verdict {
    Close,
    Refuse(Refusal),
    Pass(After),
}

/// What happens to the answer of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Pass,
    Kill,
    PassAndArm,
    Lose,
    Fail,
    Cut,
    Keep,
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for Closed {}

type Answer = Response<Either<Full<Bytes>, Cut>>;

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts one for the sandbox at this address, on any free port.
    pub fn start(runtime: &Handle, sandbox: &str) -> Result<Self, Failure> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { sandbox: sandbox.to_owned(), run: Mutex::default() });
        let task = runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Begins a run with or without a disturbance. Connections of earlier runs have ended with their process.
    pub fn begin(&self, order: Option<Order>, document: Option<PathBuf>) {
        *self.shared.run() = Run { order, document, ..Run::default() };
    }

    /// The process that is killed.
    pub fn aim(&self, process: u32) -> Result<(), Failure> {
        self.shared.run().victim = Some(Pid::from_raw(i32::try_from(process)?));
        Ok(())
    }

    /// Ends the run.
    pub fn end(&self) -> Run {
        let mut run = self.shared.run();
        let ended = std::mem::take(&mut *run);
        // A request of the process that ended may still be on its way.
        run.mode = Mode::Dead;
        ended
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { shared.answer(request).await }
            });
            // A connection that the client or this proxy closes early is no failure.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Shared {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Closed> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        let call = Call::of(&parts, &body);
        let verdict = self.run().admit(&call);
        let after = match verdict {
            Verdict::Close => return Err(Closed),
            Verdict::Refuse(refusal) => return Ok(refused(&call, refusal)),
            Verdict::Pass(after) => after,
        };
        let is_head = parts.method == Method::HEAD;
        let request = forwarded(&parts).ok_or(Closed)?.map(|()| Full::new(body));
        let (status, headers, body) = self.forward(request).await.map_err(|_| Closed)?;
        let after = self.run().answered(&call, status, after);
        match after {
            After::Pass | After::PassAndArm => Ok(whole(status, headers, body, is_head)),
            After::Kill | After::Lose => Err(Closed),
            After::Fail => Ok(refused(&call, Refusal::Internal)),
            After::Keep => std::future::pending().await,
            After::Cut => {
                let mut answer = whole(status, headers, Bytes::new(), true);
                let length = body.len().max(2);
                *answer.body_mut() = Either::Right(Cut { half: Some(body.slice(..body.len() / 2)), length });
                answer.headers_mut().insert("content-length", length.into());
                Ok(answer)
            }
        }
    }

    async fn forward(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let stream = TcpStream::connect(&self.sandbox).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        connection.abort();
        Ok((parts.status, parts.headers, body))
    }
}

impl Run {
    /// Decides about a request.
    fn admit(&mut self, call: &Call) -> Verdict {
        if self.mode == Mode::Armed {
            self.kill();
        }
        match self.mode {
            Mode::Dead => return Verdict::Close,
            Mode::Expired => return Verdict::Refuse(Refusal::Expired),
            Mode::Open | Mode::Armed => {}
        }
        if !call.is_mutating {
            return Verdict::Pass(After::Pass);
        }
        for name in [call.operation.as_str(), CallName::ANY] {
            *self.counts.entry(name.to_owned()).or_default() += 1;
        }
        let Some(order) = self.order.as_mut().filter(|order| order.concerns(&call.operation)) else {
            return Verdict::Pass(After::Pass);
        };
        let is_there = !self.is_fired && self.counts.get(&order.call.operation) == Some(&order.call.nth);
        if is_there {
            // The same operation is disturbed from now on.
            order.call.operation.clone_from(&call.operation);
        }
        if !is_there && self.refusals == 0 {
            return Verdict::Pass(After::Pass);
        }
        let what = order.what;
        match what {
            Disturbance::Kill(Point::Before) => {
                self.is_fired = true;
                self.kill();
                Verdict::Close
            }
            Disturbance::Kill(Point::AfterEffect) => Verdict::Pass(After::Kill),
            Disturbance::Kill(Point::AfterAnswer) => Verdict::Pass(After::PassAndArm),
            Disturbance::Fault(fault) => self.disturb(call, fault),
        }
    }

    fn disturb(&mut self, call: &Call, fault: Fault) -> Verdict {
        let after = match fault {
            Fault::InternalAfter => Some(After::Fail),
            Fault::ResetAfter => Some(After::Lose),
            Fault::CutAnswer => Some(After::Cut),
            Fault::Silent => Some(After::Keep),
            _ => None,
        };
        if let Some(after) = after {
            return Verdict::Pass(after);
        }
        let first = !self.is_fired;
        self.is_fired = true;
        self.take_back(&call.operation);
        if first {
            self.refusals = fault.times();
        }
        self.refusals = self.refusals.saturating_sub(1);
        match fault.refusal() {
            None => Verdict::Close,
            Some(refusal) => {
                if refusal == Refusal::Expired {
                    self.mode = Mode::Expired;
                }
                Verdict::Refuse(refusal)
            }
        }
    }

    /// A call was answered by the sandbox. One that it refused is not the one that an order names.
    fn answered(&mut self, call: &Call, status: StatusCode, after: After) -> After {
        if !call.is_mutating || self.mode == Mode::Dead {
            return after;
        }
        if !status.is_success() {
            self.take_back(&call.operation);
            return After::Pass;
        }
        self.done.push(call.operation.clone());
        if after == After::Pass {
            return after;
        }
        self.is_fired = true;
        match after {
            After::Kill => self.kill(),
            After::PassAndArm => {
                self.recorded = self.document.as_ref().map(|document| Recorded(std::fs::read(document).ok()));
                self.mode = Mode::Armed;
            }
            _ => {}
        }
        after
    }

    fn take_back(&mut self, operation: &str) {
        for name in [operation, CallName::ANY] {
            if let Some(count) = self.counts.get_mut(name) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn kill(&mut self) {
        self.mode = Mode::Dead;
        if let Some(victim) = self.victim {
            // It may have ended by itself.
            let _ = kill(victim, Signal::SIGKILL);
        }
    }
}

fn whole(status: StatusCode, headers: HeaderMap, body: Bytes, keeps_length: bool) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer.headers_mut().remove("transfer-encoding");
    if !keeps_length {
        answer.headers_mut().remove("content-length");
    }
    answer
}

fn refused(call: &Call, refusal: Refusal) -> Answer {
    let (status, kind, body) = call.refusal(refusal);
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    answer
}

/// A body that ends before its announced length.
struct Cut {
    half: Option<Bytes>,
    length: usize,
}

impl Body for Cut {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        Poll::Ready(Some(self.half.take().map(Frame::data).ok_or(Closed)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}
