//! The clients of `clients/` once more, in Rust: a plain `TcpStream` that knows nothing of addresses. It is `xtask` itself,
//! started on the stage.

use std::net::{SocketAddr, TcpStream};

use clap::{Args, ValueEnum};

/// What to connect to.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Each destination in turn, or one after the other
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

/// Opens connections until no more come about, holds all of them, and says how many there are.
#[expect(clippy::print_stdout, reason = "the scene that starts it reads this")]
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
