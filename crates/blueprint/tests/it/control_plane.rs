//! Runs the two shell scripts of the control plane's task.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use trunnion_blueprint::blueprint;
use trunnion_engine::from_map;
use trunnion_kinds::{Container, EcsTaskDefinition};

use crate::common;

fn container(name: &str) -> Container {
    let graph = blueprint(&common::stack("minimal.yaml", None), &common::binaries()).unwrap();
    let address = "ecs_task_definition.control_plane".parse().unwrap();
    let definition: EcsTaskDefinition = from_map(&graph.resources()[&address].attributes).unwrap();
    definition.containers[name].clone()
}

#[test]
fn only_the_control_plane_can_read_conf_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display().to_string();
    let writer = container("conf");
    let script = format!("chown() {{ echo \"$@\"; }}; {}", writer.command[0].replace("/app/conf", &place));
    let output = Command::new(&writer.entry_point[0])
        .args([&writer.entry_point[1], &script])
        .env("CONTROL_PLANE_CONF", "description = \"50 % of $HOME\\n\"\n")
        .env("SSH_PRIVATE_KEY", "first line\nlast line without an end")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, format!("1001 {place}/control-plane.conf {place}/ssh-private-key\n"));
    let file = |name: &str| {
        let path = directory.path().join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400, "{name}");
        fs::read_to_string(path).unwrap()
    };
    assert_eq!(file("control-plane.conf"), "description = \"50 % of $HOME\\n\"\n");
    assert_eq!(file("ssh-private-key"), "first line\nlast line without an end\n");
}

/// Runs the health check with the programs of this directory against this port, and returns whether it succeeds.
fn ask(directory: &Path, port: u16, stand_in_says: u8) -> bool {
    let health_check = container("control-plane").health_check.unwrap();
    assert_eq!(health_check.command[0], "CMD-SHELL");
    let line = health_check.command[1].replace("8080", &port.to_string());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &line]).env_clear().env("PATH", directory);
    shell.env("CALLS", directory.join("calls")).env("SAYS", stand_in_says.to_string());
    shell.output().unwrap().status.success()
}

/// Runs the health check with stubs of these programs. Returns whether it succeeds, and the calls of the stubs.
fn asked(programs: &[&str], stand_in_says: u8) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    for program in programs {
        // A link to an existing script: executing a file that was just written can fail while another test's child
        // process has it open.
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stand-in");
        symlink(stand_in, directory.path().join(program)).unwrap();
    }
    let is_healthy = ask(directory.path(), 8080, stand_in_says);
    (is_healthy, fs::read_to_string(directory.path().join("calls")).unwrap_or_default())
}

const CURL: &str = "curl -fsS -o /dev/null http://127.0.0.1:8080/info\n";
const WGET: &str = "wget -q -O /dev/null http://127.0.0.1:8080/info\n";

#[test]
fn each_of_three_programs_can_check_the_health() {
    for (program, call) in [("curl", CURL), ("wget", WGET)] {
        assert_eq!(asked(&[program], 0), (true, call.to_owned()));
        assert_eq!(asked(&[program], 8), (false, call.to_owned()), "one request, by one program");
    }
    for says in [0, 1] {
        let (is_healthy, calls) = asked(&["bash"], says);
        assert_eq!(is_healthy, says == 0);
        assert!(calls.starts_with("bash -c exec 3<>/dev/tcp/127.0.0.1/8080 &&"), "{calls}");
        assert_eq!(calls.lines().count(), 1, "{calls}");
    }
}

#[test]
fn only_the_first_existing_program_is_used() {
    assert_eq!(asked(&["bash", "wget", "curl"], 1), (false, CURL.to_owned()));
    assert_eq!(asked(&["bash", "wget"], 1), (false, WGET.to_owned()));
}

#[test]
fn an_image_without_these_programs_counts_as_healthy() {
    assert_eq!(asked(&[], 1), (true, String::new()));
}

/// Whether the check by bash succeeds against a server with this answer. Without an answer, the port is closed.
fn bash_finds_healthy(answer: Option<&'static str>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    symlink(find("bash"), directory.path().join("bash")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = answer.map(|answer| {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Read up to the empty line: closing a connection with unread data resets it.
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        })
    });
    let is_healthy = ask(directory.path(), port, 0);
    if let Some(server) = server {
        assert!(server.join().unwrap().starts_with("GET /info HTTP/1."));
    }
    is_healthy
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|place| place.join(program)).find(|file| Path::is_file(file)).unwrap()
}

#[test]
fn bash_checks_the_health_without_another_program() {
    assert!(bash_finds_healthy(Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")));
    assert!(!bash_finds_healthy(Some("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")));
    assert!(!bash_finds_healthy(None));
}
