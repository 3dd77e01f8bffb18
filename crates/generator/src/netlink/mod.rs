//! The kernel's network over rtnetlink: what it has, and requests that change it. `setup` and `check` both read it here.
//!
//! | module | what is in it |
//! |---|---|
//! | `objects` | links, addresses, rules and routes as plain data |
//! | `messages` | the same as messages of rtnetlink, in both directions |
//! | `connection` | the connection: dumps, lookups and changes |

mod connection;
mod messages;
mod objects;

#[cfg(test)]
pub(crate) use self::objects::Link;
pub(crate) use self::{
    connection::Netlink,
    objects::{Address, MAIN, Object, Refusal, Route, Rule, State, Step, Way},
};
