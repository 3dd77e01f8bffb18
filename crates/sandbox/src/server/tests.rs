//! The sandbox through a socket, with signed requests.

use std::{fs, net::SocketAddr};

use hyper::Request;
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Running, Sandbox};
use crate::{Consistency, Effect, FaultRule, Options, SandboxError, signature};

async fn serve(options: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::open(options).unwrap().serve(listener).unwrap()
}

/// Status and body of an answer; `None` if the connection was closed without one.
type Answer = Option<(u16, String)>;

async fn send(address: SocketAddr, request: String) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Sends a query request; `sign` can change or remove its `Authorization` header.
async fn query_as(running: &Running, query: &str, sign: impl Fn(String) -> Option<String>) -> Answer {
    let body = format!("{query}&Version=2016-11-15");
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let host = running.addr().to_string();
    let request = Request::post("/").header("host", &host).header("x-amz-date", &time).body(()).unwrap();
    let (parts, ()) = request.into_parts();
    let authorization = sign(signature::authorize(&parts, body.as_bytes(), "ec2").unwrap());
    let authorization = authorization.map_or_else(String::new, |value| format!("authorization: {value}\r\n"));
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-date: {time}\r\n{authorization}connection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    send(running.addr(), request).await
}

async fn query(running: &Running, query: &str) -> Answer {
    query_as(running, query, Some).await
}

async fn out_of_band(running: &Running, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    send(running.addr(), request).await
}

const CREATE_GROUP: &str = "Action=CreateSecurityGroup&GroupName=load&GroupDescription=x";
const FIND_GROUP: &str = "Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=load";

async fn has_group(running: &Running) -> bool {
    query(running, FIND_GROUP).await.unwrap().1.contains("<groupName>load</groupName>")
}

#[tokio::test]
async fn only_the_sandboxs_credentials_are_accepted() {
    let running = serve(Options::default()).await;
    assert_eq!(query(&running, "Action=DescribeVpcs").await.unwrap().0, 200);
    for (spoil, status, code) in [
        (None, 403, "MissingAuthenticationToken"),
        (Some(("Credential=sandbox/", "Credential=somebody/")), 401, "AuthFailure"),
        (Some(("Signature=", "Signature=0")), 401, "AuthFailure"),
    ] {
        let spoiled = |header: String| spoil.map(|(from, to)| header.replace(from, to));
        let (answered, body) = query_as(&running, "Action=DescribeVpcs", spoiled).await.unwrap();
        assert_eq!(answered, status);
        assert!(body.contains(&format!("<Response><Errors><Error><Code>{code}</Code>")), "{body}");
    }
    assert_eq!(running.calls().get("ec2:DescribeVpcs").map(|calls| calls.count), Some(1));
    running.shutdown().await;
}

#[tokio::test]
async fn a_request_with_two_signatures_is_nobodys() {
    let running = serve(Options::default()).await;
    for more in [", Credential=sandbox/x", ", Other=Credential=sandbox/x"] {
        let doubled = |header: String| Some(header + more);
        let (status, body) = query_as(&running, "Action=DescribeVpcs", doubled).await.unwrap();
        assert!(status == 400 && body.contains("<Code>IncompleteSignature</Code>"), "{body}");
    }
    let scope = "Credential=sandbox/20261126/eu-west-3/s3/aws4_request, SignedHeaders=host, Signature=0";
    let host = running.addr();
    let request = format!(
        "GET /?X-Amz-Credential=sandbox HTTP/1.1\r\nhost: {host}\r\nauthorization: AWS4-HMAC-SHA256 {scope}\r\n\
         connection: close\r\n\r\n"
    );
    let (status, body) = send(host, request).await.unwrap();
    assert!(status == 400 && body.contains("<Code>InvalidArgument</Code>"), "{body}");
    assert!(running.calls().is_empty());
    running.shutdown().await;
}

#[tokio::test]
async fn calls_fail_as_the_rules_say() {
    let rule = |nth, effect| FaultRule { operation: "ec2:CreateSecurityGroup".into(), nth, times: 1, effect };
    let error = Effect::Error { code: "InternalError".into(), status: 500, message: "no".into() };
    let running = serve(Options {
        faults: vec![rule(1, error), rule(2, Effect::DropBefore), rule(3, Effect::DropAfter)],
        ..Options::default()
    })
    .await;
    let (status, body) = query(&running, CREATE_GROUP).await.unwrap();
    assert!(status == 500 && body.contains("<Code>InternalError</Code>"), "{body}");
    assert_eq!(query(&running, CREATE_GROUP).await, None);
    assert!(!has_group(&running).await);
    assert_eq!(query(&running, CREATE_GROUP).await, None);
    assert!(has_group(&running).await);
    assert!(query(&running, CREATE_GROUP).await.unwrap().1.contains("InvalidGroup.Duplicate"));
    running.shutdown().await;
}

#[tokio::test]
async fn local_clients_see_every_row_even_those_that_no_call_shows() {
    let lag = Consistency::After(std::time::Duration::from_hours(1));
    let running = serve(Options::default().with_consistency(lag)).await;
    query(&running, CREATE_GROUP).await.unwrap();
    assert!(!has_group(&running).await);
    let (status, rows) = out_of_band(&running, "GET", "/_sandbox/rows", "", "").await.unwrap();
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    let groups: Vec<_> = rows["ec2.groups"].as_object().unwrap().values().map(|group| &group["name"]).collect();
    assert!(status == 200 && groups.len() == 2, "{rows:#}");
    running.shutdown().await;
}

#[tokio::test]
async fn local_clients_can_set_faults_and_web_pages_cannot() {
    let running = serve(Options::default()).await;
    query(&running, CREATE_GROUP).await.unwrap();
    let (status, calls) = out_of_band(&running, "GET", "/_sandbox/calls", "", "").await.unwrap();
    let calls: serde_json::Value = serde_json::from_str(&calls).unwrap();
    let created = &calls["ec2:CreateSecurityGroup"];
    let signed: jiff::Timestamp = created["signed"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(signed).as_secs() < 300, "{calls}");
    let counted = (&created["count"], &created["refused"], &created["mutating"]);
    assert_eq!((status, counted), (200, (&1.into(), &0.into(), &true.into())), "{calls}");
    let rules = r#"[{"operation":"ec2:*","effect":"drop_before"}]"#;
    let foreign = out_of_band(&running, "POST", "/_sandbox/faults", "origin: http://a.example\r\n", rules).await;
    assert_eq!(foreign.unwrap().0, 403);
    assert!(has_group(&running).await);
    assert_eq!(out_of_band(&running, "POST", "/_sandbox/faults", "", rules).await.unwrap().0, 204);
    assert_eq!(query(&running, FIND_GROUP).await, None);
    running.shutdown().await;
}

#[tokio::test]
async fn a_killed_process_loses_no_answered_change() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = serve(Options { data: Some(first.path().to_owned()), ..Options::default() }).await;
    query(&running, CREATE_GROUP).await.unwrap();
    // The state after a kill: the current file and half a line of the unfinished call.
    let mut journal = fs::read(first.path().join("world.jsonl")).unwrap();
    journal.extend(br#"[{"table":"ec2.groups","id":"sg-"#);
    let path = second.path().join("world.jsonl");
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, &journal).unwrap();

    let again = serve(Options { data: Some(second.path().to_owned()), ..Options::default() }).await;
    assert!(has_group(&again).await);
    query(&again, "Action=CreateSecurityGroup&GroupName=other&GroupDescription=x").await.unwrap();
    again.shutdown().await;
    let third = serve(Options { data: Some(second.path().to_owned()), ..Options::default() }).await;
    assert!(query(&third, "Action=DescribeSecurityGroups").await.unwrap().1.contains("<groupName>other</groupName>"));
    third.shutdown().await;
    running.shutdown().await;
}

#[tokio::test]
async fn a_directory_has_one_process_and_one_account() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { data: Some(directory.path().to_owned()), ..Options::default() };
    let running = serve(options()).await;
    let Err(SandboxError::InUse { holder, .. }) = Sandbox::open(options()) else { panic!("it opened") };
    assert_eq!(holder, format!("process {}", std::process::id()));
    running.shutdown().await;
    let other = Sandbox::open(Options { account: "210987654321".to_owned(), ..options() });
    assert!(matches!(other, Err(SandboxError::OtherAccount { .. })));
}

#[tokio::test]
async fn unsupported_calls_are_named() {
    let running = serve(Options::default()).await;
    let (status, body) = query(&running, "Action=CreateVpnGateway").await.unwrap();
    assert_eq!(status, 400);
    assert!(body.contains("<Code>InvalidAction</Code>") && body.contains("CreateVpnGateway"), "{body}");
    running.shutdown().await;
}

/// The journal of a sandbox with some security groups.
async fn journal_of_groups(names: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let running = serve(Options::new().with_data(directory.path())).await;
    for name in names {
        query(&running, &format!("Action=CreateSecurityGroup&GroupName={name}&GroupDescription=x")).await.unwrap();
    }
    running.shutdown().await;
    fs::read(directory.path().join("world.jsonl")).unwrap()
}

/// Opens a sandbox with this journal.
fn open_with(journal: &[u8]) -> Result<(Sandbox, tempfile::TempDir), SandboxError> {
    let directory = tempfile::tempdir().unwrap();
    let mut file = fs::OpenOptions::new().append(true).create(true).open(directory.path().join("world.jsonl")).unwrap();
    std::io::Write::write_all(&mut file, journal).unwrap();
    Ok((Sandbox::open(Options::new().with_data(directory.path()))?, directory))
}

#[tokio::test]
async fn damage_of_the_journal_is_found_and_its_line_is_named() {
    let journal = journal_of_groups(&["one", "two", "three"]).await;
    let header = journal.iter().position(|byte| *byte == b'\n').unwrap();
    for place in (header + 1..journal.len()).step_by(13).chain([journal.len() - 1]) {
        let mut damaged = journal.clone();
        damaged[place] ^= 1;
        let expected = journal[..place].split(|byte| *byte == b'\n').count();
        match open_with(&damaged) {
            Err(SandboxError::Journal { line, .. }) => assert_eq!(line, expected, "byte {place}"),
            other => panic!("byte {place}: {other:?}"),
        }
    }
    let joined: Vec<u8> = journal.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
    let after_header = [&journal[..=header], &joined[header + 1..]].concat();
    for (damaged, expected) in [(joined, 1), (after_header, 2), (b"\n".to_vec(), 1), (b"{}".to_vec(), 1)] {
        let Err(SandboxError::Journal { line, .. }) = open_with(&damaged) else { panic!("it opened") };
        assert_eq!(line, expected);
    }
}

#[tokio::test]
async fn a_journal_that_ends_anywhere_has_all_its_complete_lines() {
    let journal = journal_of_groups(&["one", "two", "three"]).await;
    let lines = journal.split(|byte| *byte == b'\n').count() - 1;
    assert!(lines >= 4);
    let last = journal.len() - 1;
    let start_of_last = journal[..last].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in start_of_last..last {
        let (_, directory) = open_with(&journal[..end]).unwrap();
        let cut = fs::read(directory.path().join("world.jsonl.cut")).unwrap_or_default();
        assert_eq!(cut.strip_suffix(b"\n").unwrap_or_default(), &journal[start_of_last..end]);
    }
    for end in [start_of_last, start_of_last + 1, last - 1, last, last + 1] {
        let (sandbox, directory) = open_with(&journal[..end]).unwrap();
        let running = sandbox.serve(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        let shown = query(&running, "Action=DescribeSecurityGroups").await.unwrap().1;
        assert!(shown.contains("<groupName>two</groupName>"), "{shown}");
        assert_eq!(shown.contains("<groupName>three</groupName>"), end >= last, "{end} of {last}");
        query(&running, "Action=CreateSecurityGroup&GroupName=four&GroupDescription=x").await.unwrap();
        running.shutdown().await;
        Sandbox::open(Options::new().with_data(directory.path())).unwrap();
    }
}
