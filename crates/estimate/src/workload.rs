//! What virtual users do: the inputs of the capacity model, with the figures that apply without a key.

use rust_decimal::Decimal;

/// What a virtual user does, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// How many virtual users run at once; `None` if the stack does not say.
    pub virtual_users: Option<u64>,
    /// How many connections a user holds at once.
    pub connections_per_user: u32,
    /// How many requests a user sends a second, on average, with at most [`Workload::RATE_PLACES`] decimal places.
    pub requests_per_second_per_user: Decimal,
    /// The size of a request and its response.
    pub bytes_per_request: Bytes,
    /// How many different destinations (an address and a port) the users connect to. They are spread evenly over them.
    pub targets: Targets,
    /// Memory of Gatling for a user, in bytes, without the kernel's part.
    pub memory_per_user: u64,
    /// What real scripts need beside that, in percent of it: feeders, bodies, checks.
    pub memory_margin_percent: u32,
    /// How many hours of a month the load runs.
    pub hours_per_month: u32,
    /// The part of the traffic to private targets that goes to another zone, in percent.
    pub other_zone_percent: u32,
}

/// Sizes in bytes, of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// Request and response together. Which part is sent is not known: the model takes the worse case each time.
    Together(u64),
    /// Each by itself.
    Each {
        /// The request.
        sent: u64,
        /// The response.
        received: u64,
    },
}

impl Bytes {
    /// Both directions together.
    pub const fn total(self) -> u64 {
        match self {
            Self::Together(bytes) => bytes,
            Self::Each { sent, received } => sent.saturating_add(received),
        }
    }

    /// The direction with more bytes.
    pub fn larger(self) -> u64 {
        match self {
            Self::Together(bytes) => bytes,
            Self::Each { sent, received } => sent.max(received),
        }
    }

    /// At most how many bytes are sent.
    pub const fn sent(self) -> u64 {
        match self {
            Self::Together(bytes) => bytes,
            Self::Each { sent, .. } => sent,
        }
    }
}

/// Numbers of destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// Reached by private addresses.
    pub private: u32,
    /// On the internet.
    pub public: u32,
}

impl Targets {
    /// All of them.
    pub fn all(self) -> u64 {
        u64::from(self.private) + u64::from(self.public)
    }
}

impl Workload {
    /// Decimal places of a rate.
    pub const RATE_PLACES: u32 = 6;
    /// Resident memory of a user with one plain connection, beside Gatling's own 180 MiB: 6,060 B of an HTTP user with a
    /// request in flight (100,000 users, 7,947 B with Gatling's own), 5,890 B of an idle WebSocket user (640,000 users, 6,185
    /// B). A TLS 1.3 user takes 30,809 B (20,000 users, 40,246 B). Gatling 3.15.1, Java 17, November 2026.
    pub const MEMORY_PER_USER: u64 = 6_100;
    /// Hours of a month, as AWS counts them in its calculator.
    pub const HOURS_OF_A_MONTH: u32 = 730;
}

impl Default for Workload {
    /// A user with one connection who sends one request a second to one private target, day and night. Sizes and rate are
    /// assumptions; the memory was measured.
    fn default() -> Self {
        Self {
            virtual_users: None,
            connections_per_user: 1,
            requests_per_second_per_user: Decimal::ONE,
            bytes_per_request: Bytes::Each { sent: 1_000, received: 10_000 },
            targets: Targets { private: 1, public: 0 },
            memory_per_user: Self::MEMORY_PER_USER,
            memory_margin_percent: 100,
            hours_per_month: Self::HOURS_OF_A_MONTH,
            other_zone_percent: 100,
        }
    }
}
