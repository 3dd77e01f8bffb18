//! Answers that a middlebox cuts short, with a matching length, never make resources look different.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use trunnion_engine::{Context, ErrorClass, Provider as _, State};
use trunnion_sandbox::Options;

use crate::{
    common::{self, STACK, cloud, lookups},
    lifecycle::create_all,
};

/// What the next answers lose.
#[derive(Debug, Clone, Default)]
struct Cut {
    /// The operation without its service.
    operation: String,
    /// The part of the body that stays, in thousandths.
    kept: usize,
    /// How many answers are cut.
    times: usize,
    /// How many were cut.
    done: usize,
}

type SharedCut = Arc<Mutex<Cut>>;

/// Forwards connections to the sandbox and cuts answers. Returns its URL.
async fn cutter(sandbox: String, cut: SharedCut) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(forward(stream, sandbox.clone(), Arc::clone(&cut)));
        }
    });
    url
}

/// Forwards one request and its answer.
async fn forward(mut client: TcpStream, sandbox: String, cut: SharedCut) {
    let Some(request) = request_of(&mut client).await else { return };
    let mut server = TcpStream::connect(&sandbox).await.unwrap();
    let line = request.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
    let (first, rest) = request.split_at(line);
    server.write_all(&[first, b"Connection: close\r\n", rest].concat()).await.unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();
    let is_cut = {
        let mut cut = cut.lock().unwrap();
        let text = String::from_utf8_lossy(&request);
        let name = &cut.operation;
        let named = [format!("Action={name}&"), format!(".{name}\r"), format!("operation/{name} ")];
        let is_it = cut.times > 0 && named.iter().any(|one| text.contains(one));
        if is_it {
            cut.times -= 1;
            cut.done += 1;
        }
        is_it.then_some(cut.kept)
    };
    if let Some(kept) = is_cut {
        answer = shortened(&answer, kept);
    }
    let _ = client.write_all(&answer).await;
}

/// One request with its body; `None` if the client closed the connection.
async fn request_of(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            if request.len() >= end + 4 + length.unwrap_or(0) {
                return Some(request);
            }
        }
        if client.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// The answer with a part of its body, and the length of that part.
fn shortened(answer: &[u8], kept: usize) -> Vec<u8> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let body = &body[..body.len() * kept / 1000];
    let lines = head.split("\r\n").filter(|line| !line.to_lowercase().starts_with("content-length"));
    let head: Vec<String> = lines.map(str::to_owned).chain([format!("content-length: {}", body.len())]).collect();
    [head.join("\r\n").as_bytes(), b"\r\n\r\n", body].concat()
}

#[tokio::test]
async fn a_read_that_is_cut_short_shows_all_or_fails() {
    let cloud = cloud(Options::new()).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a generator").unwrap();
    create_all(&cloud, file.path(), b"a generator").await;
    let sandbox = cloud.running.endpoint().trim_start_matches("http://").to_owned();
    let cut = SharedCut::default();
    let url = cutter(sandbox, Arc::clone(&cut)).await;
    let observe = || async {
        let aws = common::connect_with(&cloud.running, |connection| connection.endpoint = Some(url.clone())).await;
        (aws.observe(&lookups(), &State::empty(STACK), &Context::default()).await, aws.calls())
    };
    let (whole, calls) = observe().await;
    let whole = whole.unwrap();
    let operations = calls.by_operation.keys().filter(|operation| !operation.starts_with("s3:"));
    let mut fewest = usize::MAX;
    for operation in operations {
        for kept in [0, 400, 995] {
            let operation = operation.split_once(':').unwrap().1.to_owned();
            *cut.lock().unwrap() = Cut { operation: operation.clone(), kept, times: 1, done: 0 };
            let (seen, _) = observe().await;
            fewest = fewest.min(cut.lock().unwrap().done);
            match seen {
                Ok(seen) => assert_eq!(seen, whole, "{operation} with {kept} thousandths"),
                Err(error) => assert_eq!(error.class, ErrorClass::Unreachable, "{operation}: {error}"),
            }
        }
    }
    assert_eq!(fewest, 1, "every read was cut");

    // A middlebox that always cuts ends in an error that says so.
    *cut.lock().unwrap() = Cut { operation: "DescribeInstances".to_owned(), kept: 400, times: 99, done: 0 };
    let error = observe().await.0.unwrap_err();
    assert!(error.class == ErrorClass::Unreachable && error.message.contains("does not finish it"), "{error}");
}
