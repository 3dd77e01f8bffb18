//! A client in Rust beside those in `clients/`: a plain `TcpStream` that binds no address. It runs as `xtask` on the stage.

use std::net::{SocketAddr, TcpStream};

use clap::{Args, ValueEnum};

/// The arguments of the client.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The order: each destination in turn, or one destination after the other
    order: Order,
    /// How many connections to try at each destination
    most: usize,
    /// The destinations
    destinations: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Turns,
    Rows,
}

/// Opens connections until one fails, holds all of them, and prints their number.
#[expect(clippy::print_stdout, reason = "the test that starts it reads this")]
pub(crate) fn connect(arguments: Arguments) {
    let rows = match arguments.order {
        Order::Turns => vec![arguments.destinations],
        Order::Rows => arguments.destinations.into_iter().map(|one| vec![one]).collect(),
    };
    let mut held = Vec::new();
    for mut row in rows {
        for _ in 0..arguments.most {
            row.retain(|destination| TcpStream::connect(destination).map(|stream| held.push(stream)).is_ok());
        }
    }
    println!("{}", serde_json::json!({ "held": held.len() }));
}
