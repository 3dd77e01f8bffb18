//! The two lines of shell in the control plane's task, run by a shell.

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
fn conf_and_key_are_written_for_the_control_plane_alone() {
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
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, format!("1001 {place}/control-plane.conf {place}/ssh-private-key\n"));
    let file = |name: &str| {
        let path = directory.path().join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400, "{name}");
        fs::read_to_string(path).unwrap()
    };
    assert_eq!(file("control-plane.conf"), "description = \"50 % of $HOME\\n\"\n");
    assert_eq!(file("ssh-private-key"), "first line\nlast line without an end\n");
}

/// Whether the health check says "healthy" where only these programs are there and the server answers so.
fn is_healthy(programs: &[PathBuf], answer: Option<&'static str>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    for program in programs {
        symlink(program, directory.path().join(program.file_name().unwrap())).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Without an answer the port is closed again.
    let server = answer.map(|answer| {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // To the empty line: what is left unread when the connection closes would reset it.
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
    let health_check = container("control-plane").health_check.unwrap();
    assert_eq!(health_check.command[0], "CMD-SHELL");
    let line = health_check.command[1].replace("8080", &port.to_string());
    let output =
        Command::new("/bin/sh").args(["-c", &line]).env_clear().env("PATH", directory.path()).output().unwrap();
    if let Some(server) = server.filter(|_| !programs.is_empty()) {
        assert!(server.join().unwrap().starts_with("GET /info HTTP/1."));
    }
    output.status.success()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|place| place.join(program)).find(|file| Path::is_file(file))
}

#[test]
fn any_of_three_programs_can_ask_for_its_health() {
    const WELL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    const SICK: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let there: Vec<PathBuf> = ["curl", "wget", "bash"].into_iter().filter_map(find).collect();
    assert!(there.iter().any(|program| program.ends_with("bash")));
    for program in &there {
        let program = std::slice::from_ref(program);
        assert!(is_healthy(program, Some(WELL)), "{program:?}");
        assert!(!is_healthy(program, Some(SICK)), "{program:?}");
        assert!(!is_healthy(program, None), "{program:?}");
    }
}

#[test]
fn an_image_without_any_of_them_is_not_killed_for_it() {
    assert!(is_healthy(&[], None));
}
