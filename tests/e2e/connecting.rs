//! Connections to AWS: proxies, TLS, credentials, and their failures.

use trunnion_tests::{Authority, Ended, Network, SandboxProcess, Stage};

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "sandbox"), ("AWS_SECRET_ACCESS_KEY", "sandbox")];
/// Keeps the tests from using the identity of the machine that runs them.
const NO_METADATA: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

fn plan(stage: &Stage, variables: &[(&str, &str)]) -> Ended {
    stage.run_with(&["plan"], variables)
}

/// The error message in one line.
fn said(ended: &Ended) -> String {
    ended.stderr.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs a plan that must fail with all these texts in its message.
fn refused(stage: &Stage, variables: &[(&str, &str)], parts: &[&str]) {
    let ended = plan(stage, variables);
    let said = said(&ended);
    assert_eq!(ended.code, 1, "{variables:?}\n{said}");
    for part in parts {
        assert!(said.contains(part), "{variables:?}\n`{part}` is not in: {said}");
    }
    assert!(!["panicked", "Error {", "hush"].iter().any(|part| said.contains(part)), "{said}");
}

#[test]
fn a_plan_uses_a_proxy_with_login_and_private_tls() {
    let network = Network::default();
    let authority = Authority::default();
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal");
    stage.write("company.pem", authority.pem());
    let tls = network.tls(&authority, "aws.test", sandbox.address());
    // `me:p@ss` in base64.
    let proxy = network.proxy(&tls.to_string(), Some("Basic bWU6cEBzcw=="));
    let url = format!("http://me:p%40ss@{}", proxy.address);
    let bundle = stage.path("company.pem");
    let bundle = bundle.to_str().unwrap();
    let common = [("AWS_ENDPOINT_URL", "https://aws.test"), NO_METADATA, KEYS[0], KEYS[1]];
    for variables in [
        [("HTTPS_PROXY", url.as_str()), ("AWS_CA_BUNDLE", bundle)],
        [("https_proxy", url.as_str()), ("SSL_CERT_FILE", bundle)],
    ] {
        let ended = plan(&stage, &[&common[..], &variables].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    // The same with a profile, and a proxy URL without a scheme.
    stage.write("aws-config", format!("[profile company]\nca_bundle = {bundle}\naws_access_key_id = sandbox\naws_secret_access_key = sandbox\nendpoint_url = https://aws.test\n"));
    let config = stage.path("aws-config");
    let bare = url.trim_start_matches("http://");
    let profile = [("AWS_PROFILE", "company"), ("AWS_CONFIG_FILE", config.to_str().unwrap()), ("HTTPS_PROXY", bare)];
    let ended = plan(&stage, &profile);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let seen = proxy.seen();
    assert!(!seen.is_empty() && seen.iter().all(|line| line == "CONNECT aws.test:443 HTTP/1.1"), "{seen:?}");

    let through = ("HTTPS_PROXY", url.as_str());
    refused(
        &stage,
        &[&common[..], &[through]].concat(),
        &["`https://aws.test`", "no authority trusted here", "`AWS_CA_BUNDLE`"],
    );
    let wrong = format!("http://me:no@{}", proxy.address);
    refused(
        &stage,
        &[&common[..], &[("HTTPS_PROXY", wrong.as_str()), ("AWS_CA_BUNDLE", bundle)]].concat(),
        &["the proxy `http://127.0.0.1:", "requires a user and a password", "`HTTPS_PROXY`"],
    );
    // Without the proxy, the name cannot be resolved.
    refused(
        &stage,
        &[&common[..], &[through, ("NO_PROXY", ".test"), ("AWS_CA_BUNDLE", bundle)]].concat(),
        &["`https://aws.test` has a name that this machine cannot resolve"],
    );
    let other = network.tls(&authority, "other.test", sandbox.address());
    let misled = network.proxy(&other.to_string(), None);
    let misled = format!("http://{}", misled.address);
    refused(
        &stage,
        &[&common[..], &[("HTTPS_PROXY", misled.as_str()), ("AWS_CA_BUNDLE", bundle)]].concat(),
        &["certificate that is not valid", "another name"],
    );
}

#[test]
fn tls_errors_name_the_server_of_the_certificate() {
    let network = Network::default();
    let authority = Authority::default();
    let stage = Stage::with("minimal");
    stage.write("company.pem", authority.pem());
    let bundle = stage.path("company.pem");
    let bundle = bundle.to_str().unwrap();
    let at = |address: std::net::SocketAddr, parts: &[&str]| {
        let url = format!("https://127.0.0.1:{}", address.port());
        let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_CA_BUNDLE", bundle), KEYS[0], KEYS[1]];
        refused(&stage, &variables, &[&[url.as_str()], parts].concat());
    };
    at(network.tls_as_authority(&authority), &["the certificate of an authority (`CA:TRUE`)", "(`CA:FALSE`)"]);
    at(
        network.tls_among_friends(&authority, "127.0.0.1"),
        &["requires a client certificate", "correct `AWS_ENDPOINT_URL`"],
    );
    at(network.closing(), &["closes the connection before it answers"]);
    // The untrusted certificate is that of the proxy itself, with a tunnel and without.
    let strange = Authority::default();
    let proxy = format!("https://localhost:{}", network.tls(&strange, "localhost", "").port());
    for (endpoint, variable) in [("https://aws.test", "HTTPS_PROXY"), ("http://aws.test", "HTTP_PROXY")] {
        let variables =
            [("AWS_ENDPOINT_URL", endpoint), (variable, &proxy), ("AWS_CA_BUNDLE", bundle), KEYS[0], KEYS[1]];
        let expected = format!("the proxy `{proxy}` shows a certificate that no authority trusted here has signed");
        refused(&stage, &variables, &[&expected]);
    }
}

#[test]
fn a_pipe_in_place_of_a_file_is_an_error() {
    let stage = Stage::with("minimal");
    let made = std::process::Command::new("mkfifo").arg(stage.path("pipe")).status().unwrap();
    assert!(made.success());
    let pipe = stage.path("pipe");
    let pipe = pipe.to_str().unwrap();
    for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        refused(&stage, &[(variable, pipe), KEYS[0], KEYS[1]], &["it is not a regular file"]);
    }
    let token = [("AWS_WEB_IDENTITY_TOKEN_FILE", pipe), ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")];
    refused(&stage, &token, &["`AWS_WEB_IDENTITY_TOKEN_FILE` names", "it is not a regular file"]);
}

#[test]
fn errors_of_credentials_without_a_profile_name_no_profile() {
    let network = Network::default();
    let stage = Stage::with("minimal");
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x");
    let nobody = network.nothing();
    let full = format!("http://{nobody}/x");
    let without = |variables: &[(&str, &str)], parts: &[&str]| {
        refused(&stage, &[variables, &[NO_METADATA]].concat(), parts);
        assert!(!said(&plan(&stage, &[variables, &[NO_METADATA]].concat())).contains("profile `default`"));
    };
    without(
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent"), role],
        &["`AWS_WEB_IDENTITY_TOKEN_FILE` names `/nonexistent`, which holds no token"],
    );
    without(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null"), role], &["`/dev/null`", "it is empty"]);
    without(
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &full)],
        &["this container (`AWS_CONTAINER_CREDENTIALS_FULL_URI`)", "or correct `AWS_CONTAINER_CREDENTIALS_FULL_URI`"],
    );
    without(
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "garbage")],
        &["`AWS_CONTAINER_CREDENTIALS_FULL_URI` is `garbage`"],
    );
    without(
        &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "garbage")],
        &["which is not a path that begins with", "unset `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`"],
    );
    stage.write("token", "token");
    let token = stage.path("token");
    let sts = network.answering(&sts_error(400, "InvalidIdentityToken", "No OpenIDConnect provider found"));
    let sts = format!("http://{sts}");
    without(
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()), role, ("AWS_ENDPOINT_URL", &sts)],
        &["role/x` in `AWS_ROLE_ARN` cannot be assumed", "IAM has an identity provider"],
    );
    stage.write(
        "config",
        "[profile wi]\nrole_arn = arn:aws:iam::123456789012:role/x\nweb_identity_token_file = /gone\n",
    );
    let config = stage.path("config");
    without(
        &[("AWS_CONFIG_FILE", config.to_str().unwrap()), ("AWS_PROFILE", "wi")],
        &["`web_identity_token_file` of the profile `wi` names `/gone`"],
    );
}

#[test]
fn http_requests_use_http_proxy_and_loopback_uses_none() {
    let network = Network::default();
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal");
    let proxy = network.proxy(sandbox.address(), None);
    let url = format!("http://{}", proxy.address);
    let ended = plan(&stage, &[("AWS_ENDPOINT_URL", "http://aws.test"), ("HTTP_PROXY", &url), KEYS[0], KEYS[1]]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let seen = proxy.seen();
    assert!(seen.iter().all(|line| line.contains(" http://aws.test/")) && !seen.is_empty(), "{seen:?}");
    let ended = plan(&stage, &[("AWS_ENDPOINT_URL", &sandbox.endpoint), ("HTTP_PROXY", &url), KEYS[0], KEYS[1]]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(proxy.seen().len(), seen.len());
}

#[test]
fn empty_variables_count_as_unset() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal");
    let empty = [
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_CA_BUNDLE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_MAX_ATTEMPTS",
        "AWS_RETRY_MODE",
        "AWS_REGION",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "https_proxy",
        "http_proxy",
        "NO_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NO_COLOR",
        "USER",
    ];
    let empty: Vec<(&str, &str)> = empty.iter().map(|name| (*name, "")).collect();
    let at_the_sandbox = [("AWS_ENDPOINT_URL", sandbox.endpoint.as_str()), KEYS[0], KEYS[1]];
    let ended = plan(&stage, &[&empty[..], &at_the_sandbox].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // The test must not connect to AWS: this proxy refuses every connection.
    let no_way = ("HTTPS_PROXY", "http://127.0.0.1:9");
    refused(
        &stage,
        &[&empty[..], &[("AWS_ENDPOINT_URL", ""), no_way, KEYS[0], KEYS[1]]].concat(),
        &["the proxy", "refuses"],
    );
    refused(&stage, &[&empty[..], &[("AWS_ACCESS_KEY_ID", ""), NO_METADATA, no_way]].concat(), &["no AWS credentials"]);
}

#[test]
fn answers_that_are_not_from_aws_are_recognised() {
    let network = Network::default();
    let stage = Stage::with("minimal");
    let at = |address: std::net::SocketAddr| format!("http://{address}");
    let refused_at = |url: &str, parts: &[&str]| {
        refused(
            &stage,
            &[("AWS_ENDPOINT_URL", url), KEYS[0], KEYS[1]],
            &[&[url.trim_end_matches('/')], parts].concat(),
        );
    };
    refused_at(&at(network.closing()), &["closes the connection before it answers", "what is in front of it"]);
    refused_at(&at(network.nothing()), &["nothing is listening there", "`AWS_ENDPOINT_URL`"]);
    refused_at(&at(network.page("403 Forbidden", "Blocked by policy")), &["HTTP status 403, \"Blocked by policy\""]);
    refused_at(&at(network.page("502 Bad Gateway", "Oops")), &["not AWS's: HTTP status 502"]);
    refused_at(&at(network.page("200 OK", "Welcome to the hotel")), &["\"Welcome to the hotel\"", "login page"]);
    for (head, body) in [
        ("403 Forbidden\r\nContent-Type: text/plain", "no"),
        ("403 Forbidden\r\nContent-Type: application/json", "{\"message\":\"Forbidden\"}"),
        ("302 Found\r\nLocation: https://login.test/", ""),
        ("200 OK\r\nContent-Type: application/json", "{}"),
        ("200 OK\r\nContent-Type: text/xml", "<foo/>"),
        ("404 Not Found\r\nContent-Type: application/json", "{}"),
        ("503 Service Unavailable\r\nContent-Type: text/plain", "later"),
    ] {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let status = format!("something that is not AWS's: HTTP status {}", head.get(..3).unwrap_or_default());
        refused_at(&at(network.answering(&answer)), &[&status, "check `AWS_ENDPOINT_URL`"]);
    }
    refused_at(&format!("https://{}", network.page("200 OK", "plain")), &["does not speak TLS", "`http://`"]);
    refused(
        &stage,
        &[("AWS_ENDPOINT_URL", "garbage"), KEYS[0], KEYS[1]],
        &["`AWS_ENDPOINT_URL` is `garbage`", "unset"],
    );

    let aws = ("AWS_ENDPOINT_URL", "http://aws.test");
    let through = |url: &str, parts: &[&str]| refused(&stage, &[aws, ("HTTP_PROXY", url), KEYS[0], KEYS[1]], parts);
    let page = at(network.page("403 Forbidden", "Not on the list"));
    through(
        &page,
        &[
            "the proxy `http://127",
            "answers instead of",
            "aws.test`: HTTP status 403",
            "\"Not on the list\"",
            "in the proxy, or add it to `NO_PROXY`",
        ],
    );
    through(&at(network.page("407 Proxy Authentication Required", "Sign in")), &["HTTP status 407", "USER:PASSWORD"]);
    through(&at(network.nothing()), &["the proxy `http://127", "nothing is listening there", "`HTTP_PROXY`"]);
    let aws = [("AWS_ENDPOINT_URL", "https://aws.test"), KEYS[0], KEYS[1]];
    let refusing = at(network.page("403 Forbidden", "No"));
    refused(&stage, &[&aws[..], &[("HTTPS_PROXY", &refusing)]].concat(), &["refuses to connect to `https://aws.test`"]);
    let socks = ("HTTPS_PROXY", "socks5://me:hush@127.0.0.1:9");
    refused(
        &stage,
        &[&aws[..], &[socks]].concat(),
        &["`HTTPS_PROXY` is not the `http://` or `https://` URL of a proxy"],
    );
}

#[test]
fn each_failure_of_credentials_has_its_own_message() {
    let network = Network::default();
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal");
    std::fs::create_dir(stage.path(".aws")).unwrap();
    stage.write(
        ".aws/config",
        "[profile program]\n\
         credential_process = sh -c 'echo \"{\\\"SecretAccessKey\\\": \\\"hush\\\"}\"; echo the vault is locked >&2; exit 3'\n\
         [profile odd-program]\n\
         credential_process = sh -c 'echo \"{\\\"SecretAccessKey\\\": \\\"hush\\\"}\"'\n\
         [profile session]\n\
         sso_session = company\nsso_account_id = 123456789012\nsso_role_name = Admin\n\
         [sso-session company]\nsso_region = eu-west-3\nsso_start_url = https://company.awsapps.com/start\n\
         [profile keys]\naws_access_key_id = AKIAX\naws_secret_access_key = hush\n\
         [profile deploy]\nrole_arn = arn:aws:iam::123456789012:role/deploy\nsource_profile = keys\n\
         [profile coded]\nrole_arn = arn:aws:iam::123456789012:role/deploy\nsource_profile = keys\n\
         mfa_serial = arn:aws:iam::123456789012:mfa/me\n\
         [profile bare]\nregion = eu-west-3\n",
    );
    let of = |profile: &str, more: &[(&str, &str)], parts: &[&str]| {
        refused(&stage, &[&[("AWS_PROFILE", profile), NO_METADATA][..], more].concat(), parts);
    };
    of("program", &[], &["`credential_process` of the profile `program`", "exit code 3: the vault is locked"]);
    of("odd-program", &[], &["prints no document with `Version` 1"]);
    of("session", &[], &["has expired or does not exist", "`aws sso login --profile session`"]);
    of("coded", &[], &["`mfa_serial` of `coded`", "export-credentials --profile coded"]);
    of("bare", &[], &["the profile `bare` has no credentials"]);
    of("kyes", &[], &["`AWS_PROFILE` names the profile `kyes`", "did you mean `keys`?"]);
    let denied =
        network.answering(&sts_error(403, "AccessDenied", "User: x is not authorized to perform: sts:AssumeRole"));
    let denied = format!("http://{denied}");
    of(
        "deploy",
        &[("AWS_ENDPOINT_URL", &denied)],
        &["role/deploy` of the profile `deploy` cannot be assumed", "trust policy"],
    );
    let late = network.answering(&sts_error(
        403,
        "SignatureDoesNotMatch",
        "Signature expired: 20261125T1 is now earlier than 2",
    ));
    let late = format!("http://{late}");
    of("deploy", &[("AWS_ENDPOINT_URL", &late)], &["cannot be assumed", "set this machine's clock"]);
    of("keys", &[("AWS_ENDPOINT_URL", &late)], &["`sts:GetCallerIdentity` failed", "set this machine's clock"]);
    let old =
        network.answering(&sts_error(403, "ExpiredToken", "The security token included in the request is expired."));
    let old = format!("http://{old}");
    refused(
        &stage,
        &[("AWS_ENDPOINT_URL", &old), KEYS[0], KEYS[1]],
        &["request is expired help:", "export `AWS_ACCESS_KEY_ID`"],
    );

    // With a profile, the machine's instance role is not used.
    let metadata = network.page("200 OK", "identity");
    let metadata = format!("http://{metadata}");
    let machine = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str());
    refused(&stage, &[("AWS_PROFILE", "bare"), machine], &["the profile `bare` has no credentials"]);
    let forbidding = network.answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let forbidding = format!("http://{forbidding}");
    let machine = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", forbidding.as_str());
    refused(
        &stage,
        &[machine],
        &["no AWS credentials were found", "HTTP status 403", "`--sandbox` needs no credentials"],
    );
    refused(&stage, &[NO_METADATA], &["no AWS credentials were found", "set `AWS_PROFILE`"]);
    // The instance role was not requested.
    let unasked = said(&plan(&stage, &[NO_METADATA]));
    assert!(!unasked.contains("instance role"), "{unasked}");

    stage.write("broken", "[default]\nregion = eu-west-3\nnonsense\n");
    refused(&stage, &[("AWS_CONFIG_FILE", "broken"), KEYS[0], KEYS[1]], &["line 3 of `broken` cannot be read"]);

    // Keys in the environment take precedence over a profile, as in the AWS CLI.
    let at_the_sandbox =
        [("AWS_ENDPOINT_URL", sandbox.endpoint.as_str()), ("AWS_PROFILE", "session"), KEYS[0], KEYS[1]];
    let ended = plan(&stage, &at_the_sandbox);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn sts_error(status: u16, code: &str, message: &str) -> String {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    );
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nx-amzn-RequestId: 1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn each_service_can_have_its_endpoint_in_a_profile() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("loadtest");
    let services: String = ["ec2", "ecs", "iam", "cloudwatch_logs", "s3", "secrets_manager", "ssm", "sts"]
        .map(|service| format!("{service} =\n  endpoint_url = {}\n", sandbox.endpoint))
        .concat();
    stage.write(
        "aws-config",
        format!("[profile local]\naws_access_key_id = sandbox\naws_secret_access_key = sandbox\nservices = local\n[services local]\n{services}"),
    );
    let config = stage.path("aws-config");
    let variables = [("AWS_CONFIG_FILE", config.to_str().unwrap()), ("AWS_PROFILE", "local"), NO_METADATA];
    let ended = stage.run_with(&["apply", "--yes", "--no-wait"], &variables);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = stage.run_with(&["plan", "--detailed-exitcode"], &variables);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // If all services have the same URL, the plan shows it in place of AWS.
    let shown = stage.run_with(&["show"], &variables);
    assert!(shown.stdout.contains(&format!("· {}", sandbox.endpoint)), "{}", shown.stdout);
}

#[test]
fn a_service_with_another_endpoint_is_shown_separately() {
    let sandbox = SandboxProcess::start(&[]);
    let other = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal");
    let variables = [
        ("AWS_ENDPOINT_URL", sandbox.endpoint.as_str()),
        ("AWS_ENDPOINT_URL_EC2", other.endpoint.as_str()),
        KEYS[0],
        KEYS[1],
    ];
    let ended = plan(&stage, &variables);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let expected = format!("EC2 at {}, the rest at {}", other.endpoint, sandbox.endpoint);
    let head = format!("{} {}", ended.stdout, ended.stderr);
    assert!(head.contains(&expected), "{head}");
}
