//! The sandbox through a socket, with signed requests.

use std::{fs, net::SocketAddr};

use hyper::Request;
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Running, Sandbox};
use crate::{Effect, FaultRule, Options, SandboxError, signature};

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
    for (spoil, code) in [
        (None, "MissingAuthenticationToken"),
        (Some(("Credential=sandbox/", "Credential=somebody/")), "InvalidClientTokenId"),
        (Some(("Signature=", "Signature=0")), "SignatureDoesNotMatch"),
    ] {
        let spoiled = |header: String| spoil.map(|(from, to)| header.replace(from, to));
        let (status, body) = query_as(&running, "Action=DescribeVpcs", spoiled).await.unwrap();
        assert_eq!(status, 403);
        assert!(body.contains(&format!("<Response><Errors><Error><Code>{code}</Code>")), "{body}");
    }
    assert_eq!(running.calls().get("ec2:DescribeVpcs").map(|calls| calls.count), Some(1));
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
async fn local_clients_can_set_faults_and_web_pages_cannot() {
    let running = serve(Options::default()).await;
    query(&running, CREATE_GROUP).await.unwrap();
    let (status, calls) = out_of_band(&running, "GET", "/_sandbox/calls", "", "").await.unwrap();
    assert_eq!(
        (status, calls.as_str()),
        (200, r#"{"ec2:CreateSecurityGroup":{"count":1,"refused":0,"mutating":true}}"#)
    );
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
