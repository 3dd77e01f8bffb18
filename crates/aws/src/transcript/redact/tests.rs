use serde_json::json;

use super::*;

const OWN: &str = "987654321098";

fn redactor() -> Redactor {
    Redactor::new(OWN, "github.com/acme/infra/load").unwrap()
}

#[test]
fn text_keeps_what_is_not_sensitive() {
    for kept in [
        "",
        "i-0123456789abcdef0",
        "2026-11-26T10:34:00Z",
        "10.0.0.0/8",
        "172.31.5.77",
        "0.0.0.0/0",
        "::/0",
        "fe80::1",
        "al2023-ami-2023.9.20260101.0-kernel-6.12",
        "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess",
        "137112412989",
        "gatlingcorp/control-plane:2026.42.2",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "06:3c:12:ab:cd:ef",
        "100 %",
        "naïve ☃ text",
    ] {
        assert_eq!(redactor().text(kept), kept);
    }
}

#[test]
fn text_loses_what_is_sensitive() {
    let cases = [
        ("arn:aws:ecs:eu-west-3:987654321098:cluster/x", "arn:aws:ecs:eu-west-3:111122223333:cluster/x"),
        ("trunnion-x-987654321098-eu-west-3", "trunnion-x-111122223333-eu-west-3"),
        ("arn:aws:iam::123123123123:role/x", "arn:aws:iam::444455556666:role/x"),
        (
            "User: arn:aws:sts::987654321098:assumed-role/AWSReservedSSO_Admin_1/alice@acme.com is not authorized",
            "User: arn:aws:sts::111122223333:assumed-role/caller/session is not authorized",
        ),
        ("arn:aws-cn:iam::987654321098:user/people/alice", "arn:aws-cn:iam::111122223333:user/caller"),
        ("AKIAIOSFODNN7PLANTED", "AKIAEXAMPLEEXAMPLE000"),
        ("AROACKCEVSQ6C2EXAMPLE:alice", "AROAEXAMPLEEXAMPLE000"),
        ("write to Alice.B@mail.acme.com", "write to person@example.test"),
        ("github.com/acme/infra/load", "example.test/home"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest", "removed\nrest"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "removed"),
        ("Encoded authorization failure message: abc_DEF-9", "Encoded authorization failure message: removed"),
    ];
    for (from, to) in cases {
        assert_eq!(redactor().text(from), to);
    }
    for planted in ["52.47.1.2", "ec2-52-47-1-2.eu-west-3.compute.amazonaws.com", "2a05:d012:1:2::9", "52.47.0.0/16"] {
        let text = redactor().text(planted);
        assert!(!text.contains("52") && !text.contains("2a05"), "{text}");
    }
    assert_eq!(redactor().text("52.0.0.0/8"), "203.0.0.0/8");
    let key = format!("key: ssh-ed25519 AAAA{} alice@laptop\nnext", "b".repeat(64));
    assert_eq!(redactor().text(&key), format!("key: {SSH_KEY}\nnext"));
}

#[test]
fn encodings_are_opened() {
    let script = format!("#!/bin/sh\naws s3 cp s3://trunnion-{OWN}/x . # alice@acme.com");
    let once = BASE64_STANDARD.encode(&script);
    let twice = BASE64_STANDARD.encode(format!("USER_DATA={once}"));
    let policy = utf8_percent_encode(&format!("{{\"AWS\":\"arn:aws:iam::{OWN}:root\"}}"), ENCODED).to_string();
    let decode = |text: &str| String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap();
    let inner = decode(&redactor().text(&once));
    assert_eq!(inner, script.replace(OWN, ACCOUNT).replace("alice@acme.com", "person@example.test"));
    let outer = decode(&redactor().text(&twice));
    assert_eq!(decode(outer.strip_prefix("USER_DATA=").unwrap()), inner);
    let policy = redactor().text(&policy);
    assert!(policy.contains("arn%3Aaws%3Aiam%3A%3A111122223333%3Aroot"), "{policy}");
}

#[test]
fn bodies_of_each_protocol_lose_secrets_and_tags() {
    let form = "Action=X&TagSpecification.1.Tag.1.Key=owner&TagSpecification.1.Tag.1.Value=alice\
                &TagSpecification.1.Tag.2.Key=trunnion%3Astack&TagSpecification.1.Tag.2.Value=load\
                &Filter.1.Name=tag%3Aowner&Filter.1.Value.1=alice&Password=planted\
                &IpPermissions.1.Groups.1.UserId=987654321098";
    let Body::Form(pairs) = redactor().body_text(form.as_bytes()) else { panic!("not a form") };
    let values: Vec<&str> = pairs.iter().map(|(_, value)| value.as_str()).collect();
    let expected = ["X", "owner", REMOVED, "trunnion:stack", "load", "tag:owner", REMOVED, REMOVED, ACCOUNT];
    assert_eq!(values, expected);

    let document = json!({
        "SecretString": "planted", "tags": {"owner": "alice", "trunnion:stack": "load"},
        "list": [{"key": "owner", "value": "alice"}, {"name": "A", "value": "987654321098"}], "n": 1, "x": null,
    });
    let Body::Json(document) = redactor().body_text(document.to_string().as_bytes()) else { panic!("not JSON") };
    let expected = json!({
        "SecretString": REMOVED, "tags": {"owner": REMOVED, "trunnion:stack": "load"},
        "list": [{"key": "owner", "value": REMOVED}, {"name": "A", "value": ACCOUNT}], "n": 1, "x": null,
    });
    assert_eq!(document, expected);

    let xml = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://x/\">\n <Tag><Key>owner</Key><Value>alice</Value></Tag>\
               <item><key>trunnion:stack</key><value>load</value></item><UserId>AIDAPLANTED</UserId>\
               <ownerId>987654321098</ownerId><e/>tail</R>";
    let Body::Text(xml) = redactor().body_text(xml.as_bytes()) else { panic!("not XML") };
    let expected = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://x/\">\n <Tag><Key>owner</Key><Value>removed</Value></Tag>\
                    <item><key>trunnion:stack</key><value>load</value></item><UserId>removed</UserId>\
                    <ownerId>111122223333</ownerId><e/>tail</R>";
    assert_eq!(xml, expected);
}

#[test]
fn variables_of_containers_are_removed_and_the_conf_still_names_its_hosts() {
    let conf = concat!(
        "control-plane {\n  token = ${?CONTROL_PLANE_TOKEN}\n  description = \"x\"\n  server {\n    port = 8080\n",
        "    bind-address = \"0.0.0.0\"\n  }\n  locations = [\n    {\n      id = \"prl_a\"\n      description = \"a\"\n",
        "      type = \"dedicated\"\n      engine = \"classic\"\n      ssh {\n        user = \"gatling\"\n",
        "        private-key {\n          path = \"/app/key\"\n        }\n      }\n      hosts = [\n        \"172.31.5.77\"\n",
        "      ]\n      executable-dir = \"/opt\"\n      jvm-options = [\n        \"-Dx=canary\"\n      ]\n    }\n  ]\n}\n",
    );
    let shown = |name: &str, value: &str| {
        let variables = json!({"environment": [{"name": name, "value": value}]});
        redactor().json("", variables)["environment"][0]["value"].as_str().unwrap().to_owned()
    };
    let kept = shown("CONTROL_PLANE_CONF", conf);
    assert!(kept.contains("\"172.31.5.77\"") && kept.contains("\"prl_a\"") && !kept.contains("canary"), "{kept}");
    let edited = conf.replace("description = \"a\"", "password = \"a\"");
    for (name, value) in [("TOKEN", "canary"), ("OTHER_CONF", conf), ("CONTROL_PLANE_CONF", &edited)] {
        assert_eq!(shown(name, value), "removed");
    }
}

#[test]
fn headers_with_credentials_are_not_written() {
    let headers = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAPLANTED"),
        ("X-Amz-Security-Token", "planted"),
        ("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListTasks"),
        ("x-amz-tagging", "owner=alice&trunnion%3Astack=load"),
        ("user-agent", "planted"),
    ];
    let written = redactor().headers(headers.into_iter(), &["content-type"]);
    let names: Vec<&str> = written.keys().map(String::as_str).collect();
    assert_eq!(names, ["x-amz-tagging", "x-amz-target"]);
    assert_eq!(written["x-amz-tagging"], "owner=removed&trunnion%3Astack=load");
}

#[test]
fn nothing_from_outside_panics() {
    for bytes in [&b"\xff\xfe"[..], b"{", b"<", b"<<>>", b"<a", b"a>b", b"=&=&%", b"%%%41%zz=%ff"] {
        let _ = redactor().body_text(bytes);
    }
}

#[test]
fn an_answer_that_repeats_the_request_has_no_secret() {
    // The answers of S3 to an expired token and to a wrong signature.
    let xml = "<Error><Code>ExpiredToken</Code><Token-0>planted</Token-0><AWSAccessKeyId>planted</AWSAccessKeyId>\
               <StringToSign>planted</StringToSign><StringToSignBytes>70</StringToSignBytes>\
               <SignatureProvided>planted</SignatureProvided><CanonicalRequest>planted</CanonicalRequest>\
               <CanonicalRequestBytes>70</CanonicalRequestBytes>\
               <Message>host:x\nX-Amz-Security-Token: planted\n</Message></Error>";
    let Body::Text(text) = redactor().body_text(xml.as_bytes()) else { panic!("not XML") };
    assert!(!text.contains("planted") && !text.contains(">70<"), "{text}");
    assert!(text.contains("ExpiredToken") && text.contains("host:x"), "{text}");
    let token = "plan/ted+token==";
    for said in [token.to_owned(), utf8_percent_encode(token, ENCODED).to_string()] {
        let body = format!("<Error><Message>the token {said} is odd</Message></Error>");
        assert_eq!(*without(body.as_bytes(), token), *b"<Error><Message>the token removed is odd</Message></Error>");
    }
    assert_eq!(*without(b"abc", ""), *b"abc");
}

#[test]
fn owners_in_s3_are_removed() {
    let id = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";
    let xml = format!(
        "<?xml version=\"1.0\"?><R><a/><Owner><ID>{id}</ID><DisplayName>alice</DisplayName></Owner>\
         <Initiator><ID>{id}</ID></Initiator><Version><ID>kept</ID></Version></R>"
    );
    let Body::Text(text) = redactor().body_text(xml.as_bytes()) else { panic!("not XML") };
    let expected = xml.replace(id, REMOVED).replace("alice", REMOVED);
    assert_eq!(text, expected);
}
