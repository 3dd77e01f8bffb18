//! Tests against a small server on the loopback, with answers that each test sets.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::*;

/// Answers by path; all other paths are answered with 404. Each failure applies to one request for its path.
#[derive(Default, Clone)]
struct Answers {
    texts: BTreeMap<String, String>,
    failures: BTreeMap<String, Vec<&'static str>>,
}

const FULL: &[(&str, &str)] = &[
    ("02:00:00:00:00:0b/device-number", "1"),
    ("02:00:00:00:00:0b/network-card", "1"),
    ("02:00:00:00:00:0b/subnet-ipv4-cidr-block", "10.0.2.0/24"),
    ("02:00:00:00:00:0b/local-ipv4s", "10.0.2.5\n10.0.2.6"),
    ("02:00:00:00:00:0b/ipv4-prefix", "10.0.2.16/28"),
    ("02:00:00:00:00:0b/ipv6s", "2001:db8::5"),
    ("02:00:00:00:00:0b/ipv6-prefix", "2001:db8:0:0:1::/80"),
    ("02:00:00:00:00:0b/subnet-ipv6-cidr-blocks", "2001:db8::/64"),
    ("02:00:00:00:00:0a/device-number", "0"),
    ("02:00:00:00:00:0a/subnet-ipv4-cidr-block", "10.0.1.0/24"),
    ("02:00:00:00:00:0a/local-ipv4s", "10.0.1.5"),
];

fn full() -> Answers {
    let mut answers = Answers::default();
    answers.texts.insert(MACS.into(), "02:00:00:00:00:0b/\n02:00:00:00:00:0a/\n".into());
    for (path, text) in FULL {
        answers.texts.insert(format!("{MACS}{path}"), (*text).into());
    }
    answers
}

/// Serves the answers. A client for them, and the number of tokens that it was given.
async fn serve(answers: Answers) -> (Imds, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let imds = Imds::new(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let tokens = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tokens);
    let answers = Arc::new(Mutex::new(answers));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, Arc::clone(&answers), Arc::clone(&counter)));
        }
    });
    (imds, tokens)
}

async fn connection(stream: TcpStream, answers: Arc<Mutex<Answers>>, tokens: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_lowercase());
        }
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        let failure = answers.lock().unwrap().failures.get_mut(&path).and_then(Vec::pop);
        let answer = if let Some(failure) = failure {
            failure.to_owned()
        } else if head[0].starts_with("put") {
            assert!(head.contains(&format!("{TOKEN_TTL}: 21600")));
            let token = format!("token-{}", tokens.fetch_add(1, Ordering::SeqCst));
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{token}", token.len())
        } else {
            let newest = format!("{TOKEN_HEADER}: token-{}", tokens.load(Ordering::SeqCst).wrapping_sub(1));
            if head.contains(&newest) {
                match answers.lock().unwrap().texts.get(&path) {
                    Some(text) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
                    None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
                }
            } else {
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
        };
        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        if !answer.contains("content-length") || answer.contains("99999") {
            return;
        }
    }
}

#[test]
fn addresses() {
    let address = |text: &str| Imds::new(text).ok().map(|imds| imds.address.to_string());
    assert_eq!(address(Imds::ADDRESS).as_deref(), Some("169.254.169.254:80"));
    assert_eq!(address("http://127.0.0.1:8080/").as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(address("http://[fd00:ec2::254]").as_deref(), Some("[fd00:ec2::254]:80"));
    assert_eq!(address("http://[::1]:81").as_deref(), Some("[::1]:81"));
    for wrong in ["", "169.254.169.254", "https://1.2.3.4", "http://localhost", "http://::1", "http://1.2.3.4/x"] {
        assert_eq!(address(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn a_whole_answer_is_read_by_card_and_device() {
    let (imds, tokens) = serve(full()).await;
    let metadata = imds.metadata().await.unwrap();
    let [first, second] = &metadata.interfaces[..] else { panic!("{metadata:?}") };
    assert_eq!((first.mac[5], first.card, first.device, first.addresses.len()), (0x0a, 0, 0, 1));
    assert_eq!((second.mac[5], second.card, second.device, second.addresses.len()), (0x0b, 1, 1, 2));
    assert_eq!(second.prefixes, ["10.0.2.16/28".parse().unwrap()]);
    assert_eq!(second.ipv6_subnets, ["2001:db8::/64".parse().unwrap()]);
    assert_eq!(imds.metadata().await.unwrap(), metadata);
    assert_eq!(tokens.load(Ordering::SeqCst), 1, "one token serves several reads");
}

#[tokio::test]
async fn a_failed_request_is_retried() {
    for failure in [
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n10.0.2.5\n10.",
    ] {
        let mut answers = full();
        answers.failures.insert(format!("{MACS}02:00:00:00:00:0b/local-ipv4s"), vec![failure]);
        let (imds, tokens) = serve(answers).await;
        assert_eq!(imds.metadata().await.unwrap().interfaces.len(), 2, "{failure}");
        assert_eq!(tokens.load(Ordering::SeqCst), 2, "{failure}");
    }
}

#[tokio::test]
async fn an_incomplete_answer_is_an_error() {
    let path = format!("{MACS}02:00:00:00:00:0b/local-ipv4s");
    let cases: [(&str, Option<&str>, &[&str], &str); 8] = [
        (&path, None, &[], "with 404"),
        (&path, Some(""), &[], "is not a valid value"),
        (&path, Some("10.0.2.5\n10.0.2."), &[], "`10.0.2.`, which is not a valid value"),
        (MACS, Some(""), &[], "has no network interface"),
        (MACS, Some("02:00:00:00:00\n"), &[], "is not a valid value"),
        (&path, Some("10.0.2.5"), &["HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"; 9], "with 500"),
        (&path, Some("10.0.2.5"), &["HTTP/1.1 200 OK\r\n\r\n10.0.2.5"; 9], "a complete text"),
        (
            &path,
            Some("10.0.2.5"),
            &["HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n10.0"; 9],
            "closed the connection",
        ),
    ];
    for (path, text, failures, message) in cases {
        let mut answers = full();
        match text {
            Some(text) => answers.texts.insert(path.to_owned(), text.to_owned()),
            None => answers.texts.remove(path),
        };
        answers.failures.insert(path.to_owned(), failures.to_vec());
        let (imds, _) = serve(answers).await;
        let error = imds.metadata().await.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[tokio::test]
async fn notices() {
    let (imds, _) = serve(Answers::default()).await;
    assert_eq!(imds.notice().await.unwrap(), None);
    let mut answers = Answers::default();
    answers.texts.insert(REBALANCE.into(), r#"{"noticeTime": "2026-08-01T10:00:00Z"}"#.into());
    let (imds, _) = serve(answers.clone()).await;
    assert_eq!(imds.notice().await.unwrap(), Some(Notice::Rebalance { time: "2026-08-01T10:00:00Z".into() }));
    answers.texts.insert(INTERRUPTION.into(), r#"{"action": "terminate", "time": "2026-08-01T10:02:00Z"}"#.into());
    let (imds, _) = serve(answers).await;
    let notice = Notice::Interruption { action: "terminate".into(), time: "2026-08-01T10:02:00Z".into() };
    assert_eq!(imds.notice().await.unwrap(), Some(notice));
}
