use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt as _, net::TcpListener};
use tokio_util::sync::CancellationToken;
use trunnion_engine::Context;
use trunnion_sandbox::{ACCESS_KEY_ID, Effect, FaultRule, Options, Running, SECRET_ACCESS_KEY, Sandbox};

use super::*;
use crate::{
    connect::{Clients, Connection, Setup, Throttle},
    context::within,
    environment::{self, Environment},
    error::{Class, Failure, OfCall as _},
    meter::Meter,
};

fn connection(url: &str) -> Connection {
    let connection = Connection::new("loadtest", "example.org/acme/loadtest", "123456789012", "eu-west-3");
    Connection { throttle: Throttle::Aws, ..connection.to_sandbox(url, ACCESS_KEY_ID, SECRET_ACCESS_KEY) }
}

async fn connect(connection: &Connection, environment: &Environment) -> (Setup, Clients) {
    let setup = Setup::find(connection, environment).await.unwrap();
    let clients = Clients::new(&setup, &Meter { counter: Arc::default(), clock: Arc::default() });
    (setup, clients)
}

async fn sandbox(options: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::open(options).unwrap().serve(listener).unwrap()
}

fn fault(nth: u64, times: u64, effect: Effect) -> FaultRule {
    FaultRule { operation: "ec2:DescribeVpcs".into(), nth, times, effect }
}

fn error(code: &str, status: u16) -> Effect {
    Effect::Error { code: code.into(), status, message: "injected".into() }
}

#[tokio::test]
async fn each_attempt_takes_one_token_whatever_ended_the_one_before() {
    let faults = vec![
        fault(2, 2, error("RequestLimitExceeded", 503)),
        fault(4, 1, error("InternalError", 500)),
        fault(5, 1, Effect::DropBefore),
    ];
    let running = sandbox(Options::new().with_faults(faults)).await;
    let (setup, clients) = connect(&connection(&running.endpoint()), &Environment::default()).await;
    for _ in 0..3 {
        clients.ec2.describe_vpcs().send().await.unwrap();
    }
    let attempts: u64 = running.calls().values().map(|calls| calls.count).sum();
    assert_eq!(attempts, 7);
    assert_eq!(setup.buckets.unwrap().taken(), attempts);
}

#[tokio::test]
async fn a_server_with_the_limits_of_aws_refuses_none_of_many_concurrent_calls() {
    let running = sandbox(Options::new().with_throttling(1.0)).await;
    let (setup, clients) = connect(&connection(&running.endpoint()), &Environment::default()).await;
    // IAM's bucket is the smallest one that refills quickly.
    let calls = (0..40).map(|_| clients.iam.list_roles().send());
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    let calls = running.calls()["iam:ListRoles"];
    assert_eq!((calls.count, calls.refused), (40, 0));
    assert_eq!(setup.buckets.unwrap().taken(), 40);
}

#[tokio::test]
async fn throttled_calls_are_repeated_longer_than_other_failures() {
    let faults = vec![fault(1, 15, error("RequestLimitExceeded", 503))];
    let running = sandbox(Options::new().with_faults(faults)).await;
    let connection = Connection { throttle: Throttle::Off, ..connection(&running.endpoint()) };
    let (_, clients) = connect(&connection, &Environment::default()).await;
    tokio::time::pause();
    // The paused clock skips the waits between attempts, but the calls need real time.
    let call = tokio::spawn(async move { clients.ec2.describe_vpcs().send().await.is_ok() });
    while !call.is_finished() {
        tokio::time::advance(Duration::from_millis(200)).await;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(call.await.unwrap());
    assert_eq!(running.calls()["ec2:DescribeVpcs"].count, 16);
}

#[tokio::test]
async fn another_failure_gets_nine_attempts_and_a_quota_one() {
    for (effect, tries) in [(error("InternalError", 500), 9), (error("LimitExceededException", 400), 1)] {
        let running = sandbox(Options::new().with_faults([fault(1, 100, effect)])).await;
        let (_, clients) = connect(&connection(&running.endpoint()), &Environment::default()).await;
        tokio::time::pause();
        let call = tokio::spawn(async move { clients.ec2.describe_vpcs().send().await.is_err() });
        while !call.is_finished() {
            tokio::time::advance(Duration::from_millis(200)).await;
            std::thread::sleep(Duration::from_millis(1));
        }
        tokio::time::resume();
        assert!(call.await.unwrap());
        assert_eq!(running.calls()["ec2:DescribeVpcs"].count, tries);
    }
}

#[tokio::test]
async fn an_interruption_ends_the_wait_for_a_token() {
    let running = sandbox(Options::default()).await;
    let connection = connection(&running.endpoint());
    let (setup, clients) = connect(&connection, &Environment::default()).await;
    let buckets = setup.buckets.unwrap();
    for _ in 0..10_000 {
        buckets.take(Cost { operation: "ec2:DescribeVpcs", instances: 0 }, Instant::now());
    }
    let interrupt = CancellationToken::new();
    let context = Context::new(interrupt.clone());
    let call =
        tokio::spawn(
            async move { within(&context, clients.ec2.describe_vpcs().send()).await.of_call("ec2:DescribeVpcs") },
        );
    interrupt.cancel();
    assert_eq!(call.await.unwrap().map(|_| ()).unwrap_err().class, Class::Interrupted);
    assert!(running.calls().is_empty());
}

#[tokio::test]
async fn once_the_lock_is_lost_no_attempt_of_a_change_is_signed() {
    let rule =
        |operation: &str| FaultRule { operation: operation.into(), ..fault(1, 100, error("InternalError", 500)) };
    let running =
        sandbox(Options::new().with_faults([rule("ec2:CreateSecurityGroup"), rule("ec2:DescribeVpcs")])).await;
    let running = Arc::new(running);
    let (_, clients) = connect(&connection(&running.endpoint()), &Environment::default()).await;
    let calls = |operation: &str| running.calls().get(operation).map_or(0, |calls| calls.count);
    // It is lost once the server has the first attempt.
    let server = Arc::clone(&running);
    let is_first = move || !server.calls().contains_key("ec2:CreateSecurityGroup");
    let context = Context::default().with_hold(trunnion_engine::Hold::new(is_first));
    let create = clients.ec2.create_security_group().group_name("a").description("a").vpc_id("vpc-0").send();
    let refused = within(&context, create).await.of_call("ec2:CreateSecurityGroup").map(|_| ()).unwrap_err();
    assert_eq!(refused.class, Class::Interrupted, "{}", refused.message);
    assert!(refused.message.contains("lock of the state was lost"), "{}", refused.message);
    assert_eq!(calls("ec2:CreateSecurityGroup"), 1);
    // Reads go on.
    tokio::time::pause();
    let read = within(&context, clients.ec2.describe_vpcs().send()).await.of_call("ec2:DescribeVpcs");
    assert_eq!(read.map(|_| ()).unwrap_err().class, Class::Other);
    assert_eq!(calls("ec2:DescribeVpcs"), 9);
}

#[tokio::test]
async fn a_signed_request_that_is_not_sent_yet_is_dropped_once_the_lock_is_lost() {
    let context = Context::default().with_hold(trunnion_engine::Hold::new(|| false));
    for (operation, is_sent) in [("ec2:CreateSecurityGroup", false), ("ec2:DescribeVpcs", true)] {
        let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
        let sending = HttpConnectorFuture::new(async move {
            sender.send(()).unwrap();
            Err(ConnectorError::timeout("no answer".into()))
        });
        let turn = Turn::new(operation.to_owned(), 0);
        let error = within(&context, unless_lock_is_lost(Some(&turn), sending)).await.unwrap_err();
        assert_eq!(sent.try_recv().is_ok(), is_sent, "{operation}");
        assert_eq!(crate::unanswered::find::<LockLost>(&error).is_some(), !is_sent, "{operation}");
    }
}

/// A server that accepts connections and sends only these bytes.
async fn mute(first_words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                let _ = stream.read(&mut bytes).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, first_words).await;
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    format!("http://{address}")
}

/// The failure of a call, and its duration on the paused clock, which advances only while all tasks wait.
async fn failure_of(environment: &Environment) -> (Failure, Duration) {
    let connection = Connection { endpoint: None, credentials: None, ..connection("") };
    let (_, clients) = connect(&connection, environment).await;
    let began = Instant::now();
    let failure = clients.sts.get_caller_identity().send().await.of_call("sts:GetCallerIdentity").unwrap_err();
    (failure, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_is_named_within_a_minute() {
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for (words, says) in [
        (&b""[..], "does not answer in time"),
        (&b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n<a>"[..], "does not finish it"),
    ] {
        let url = mute(words).await;
        let environment = environment::of(&[&keys[..], &[("AWS_ENDPOINT_URL", &url)]].concat());
        let (failure, elapsed) = failure_of(&environment).await;
        assert!(failure.message.contains(&url) && failure.message.contains(says), "{}", failure.message);
        assert_eq!(failure.class, Class::Unreachable);
        assert!(elapsed < Duration::from_secs(70), "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_token_service_is_named_within_a_minute() {
    let url = mute(b"").await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    let text = "[profile deploy]\nrole_arn = arn:aws:iam::123456789012:role/deploy\nsource_profile = keys\n\
                [profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n";
    tokio::fs::write(&config, text).await.unwrap();
    let environment = environment::of(&[
        ("AWS_PROFILE", "deploy"),
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_ENDPOINT_URL", &url),
    ]);
    let (failure, elapsed) = failure_of(&environment).await;
    assert!(failure.message.contains(&url) && failure.message.contains("`deploy`"), "{}", failure.message);
    assert!(elapsed < Duration::from_secs(70), "{elapsed:?}");
}
