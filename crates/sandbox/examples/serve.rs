//! Serves a sandbox until Ctrl-C: `serve ADDRESS [DIRECTORY]`.
//!
//! `THROTTLE=1` turns AWS's token buckets on; `LAG_MS` sets the consistency lag in milliseconds.

#![expect(clippy::print_stderr, reason = "an example prints for its user")]

use std::{env, error::Error, time::Duration};

use trunnion_sandbox::{Options, Sandbox};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4566".to_owned());
    let lag = env::var("LAG_MS").ok().map(|lag| lag.parse()).transpose()?.unwrap_or_default();
    let options = arguments.next().map_or_else(Options::new, |data| Options::new().with_data(data));
    let throttle = env::var_os("THROTTLE").is_some();
    let options = options.with_throttling(throttle).with_consistency_lag(Duration::from_millis(lag));
    let listener = tokio::net::TcpListener::bind(address).await?;
    let running = Sandbox::open(options)?.serve(listener)?;
    eprintln!("serving on {}", running.endpoint());
    tokio::signal::ctrl_c().await?;
    running.shutdown().await;
    Ok(())
}
