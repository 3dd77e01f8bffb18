//! Serves a sandbox until Ctrl-C: `serve ADDRESS [DIRECTORY]`.
//!
//! `STRICT=1` makes it strict.

#![expect(clippy::print_stderr, reason = "an example prints for its user")]

use std::{env, error::Error};

use trunnion_sandbox::{Options, Sandbox};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4566".to_owned());
    let mut options = if env::var_os("STRICT").is_some() { Options::strict(1) } else { Options::new() };
    if let Some(data) = arguments.next() {
        options = options.with_data(data);
    }
    let listener = tokio::net::TcpListener::bind(address).await?;
    let running = Sandbox::open(options)?.serve(listener)?;
    eprintln!("serving on {}", running.endpoint());
    tokio::signal::ctrl_c().await?;
    running.shutdown().await;
    Ok(())
}
