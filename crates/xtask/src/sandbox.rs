//! A `trunnion sandbox` process of a task.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::Failure;

/// A sandbox process that ends when this is dropped.
pub(crate) struct Sandbox {
    process: Child,
    pub(crate) address: String,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sandbox {
    /// Starts one on any free port, with further options.
    pub(crate) fn start(program: &Path, options: &[String]) -> Result<Self, Failure> {
        let mut process = Command::new(program)
            .args(["sandbox", "--listen", "127.0.0.1:0", "--quiet"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`{}` did not start: {error}", program.display()))?;
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().ok_or("the sandbox has no output")?).read_line(&mut line)?;
        let mut started = Self { address: String::new(), process };
        let address = line.trim().strip_prefix("export AWS_ENDPOINT_URL=http://").ok_or("the sandbox did not start")?;
        address.clone_into(&mut started.address);
        Ok(started)
    }

    /// The number of calls so far, and the refused calls by name.
    pub(crate) fn calls(&self) -> Result<(u64, Vec<String>), Failure> {
        let calls: Value = serde_json::from_str(&self.get("/_sandbox/calls")?)?;
        let calls = calls.as_object().ok_or("the sandbox names no calls")?;
        let number = |call: &Value, key: &str| call[key].as_u64().unwrap_or_default();
        let refused = calls.iter().filter(|(_, call)| number(call, "refused") > 0);
        Ok((
            calls.values().map(|call| number(call, "count")).sum(),
            refused.map(|(name, call)| format!("{name}: {}", number(call, "refused"))).collect(),
        ))
    }

    /// What the sandbox answers on one of its own paths.
    pub(crate) fn get(&self, path: &str) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(&self.address)?;
        let host = &self.address;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("the sandbox answers with no body")?;
        Ok(body.to_owned())
    }
}
