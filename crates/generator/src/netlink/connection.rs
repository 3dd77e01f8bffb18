//! The connection to the kernel: dumps, route lookups and changes.

use std::{io, net::IpAddr};

use futures::{Stream, StreamExt as _};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::AddressMessage,
    link::{LinkFlags, LinkMessage},
    route::RouteMessage,
    rule::RuleMessage,
};

use super::{
    messages,
    objects::{Address, Link, Object, Route, State, Step, Way},
};

/// How often a dump is made. The kernel marks a dump during which something changed, because entries can be missing from it.
const DUMPS: u32 = 5;

/// A connection to the kernel.
#[derive(Debug)]
pub(crate) struct Netlink(rtnetlink::Handle);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        // The task ends when the handle is dropped.
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// All links except the loopback.
    pub(crate) async fn links(&self) -> io::Result<Vec<Link>> {
        let messages = self.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default())).await?;
        Ok(messages.iter().filter_map(messages::link).collect())
    }

    /// The addresses of all links, of both families.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<Address>> {
        let messages = self.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default())).await?;
        Ok(messages.iter().filter_map(messages::address).collect())
    }

    /// The unicast routes of all tables, of both families.
    pub(crate) async fn routes(&self) -> io::Result<Vec<Route>> {
        let messages = self.dump(&RouteNetlinkMessage::GetRoute(RouteMessage::default())).await?;
        Ok(messages.iter().filter_map(messages::route).collect())
    }

    /// Links, addresses, rules and routes.
    pub(crate) async fn state(&self) -> io::Result<State> {
        let links = self.links().await?;
        let addresses = self.addresses().await?;
        let rules = self.dump(&RouteNetlinkMessage::GetRule(RuleMessage::default())).await?;
        let refusals = rules.iter().filter_map(messages::refusal).collect();
        let rules = rules.iter().filter_map(messages::rule).collect();
        Ok(State { links, addresses, rules, refusals, routes: self.routes().await? })
    }

    /// What `ip route get <destination> from <source> uid <uid>` says; `None` if the kernel answers with nothing. Without a
    /// source, the way of a connection that binds no address; without a user, that of a connection of root.
    pub(crate) async fn way(
        &self,
        source: Option<IpAddr>,
        destination: IpAddr,
        uid: Option<u32>,
    ) -> io::Result<Option<Way>> {
        let request = RouteNetlinkMessage::GetRoute(messages::way_request(source, destination, uid));
        let mut answers = self.request(request, NLM_F_REQUEST)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => return Ok(messages::way(&message)),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Makes one change. Something that already exists, or is already gone, is not an error.
    pub(crate) async fn apply(&self, step: &Step) -> io::Result<()> {
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let (message, flags, fine): (_, _, &[i32]) = match step {
            Step::Up(link) => (RouteNetlinkMessage::SetLink(messages::up_or_down(link, LinkFlags::Up)), 0, &[]),
            Step::Down(link) => {
                let message = messages::up_or_down(link, LinkFlags::empty());
                (RouteNetlinkMessage::SetLink(message), 0, &[libc::ENODEV])
            }
            Step::Add(object) => {
                let message = match object {
                    Object::Address(address) => RouteNetlinkMessage::NewAddress(address.message()),
                    Object::Rule(rule) => RouteNetlinkMessage::NewRule(rule.message()),
                    Object::Refusal(refusal) => RouteNetlinkMessage::NewRule(refusal.message()),
                    Object::Route(route) => RouteNetlinkMessage::NewRoute(route.message()),
                };
                (message, create, &[libc::EEXIST])
            }
            Step::Remove(object) => {
                let message = match object {
                    Object::Address(address) => RouteNetlinkMessage::DelAddress(address.message()),
                    Object::Rule(rule) => RouteNetlinkMessage::DelRule(rule.message()),
                    Object::Refusal(refusal) => RouteNetlinkMessage::DelRule(refusal.message()),
                    Object::Route(route) => RouteNetlinkMessage::DelRoute(route.message()),
                };
                (message, 0, &[libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV])
            }
        };
        match self.acknowledged(message, flags).await {
            Err(error) if error.raw_os_error().is_some_and(|code| fine.contains(&code)) => Ok(()),
            result => result,
        }
    }

    async fn dump(&self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        whole(|| self.request(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)).await
    }

    async fn acknowledged(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut answers = self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        // An acknowledgement without an error code only ends the answers.
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(error.to_io());
            }
        }
        Ok(())
    }

    fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        self.0.clone().request(request).map_err(io::Error::other)
    }
}

/// The messages of one whole dump. A dump that was interrupted by a change, or that lost messages, is made again.
async fn whole<S>(mut dump: impl FnMut() -> io::Result<S>) -> io::Result<Vec<RouteNetlinkMessage>>
where
    S: Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin,
{
    for _ in 0..DUMPS {
        let mut answers = dump()?;
        let mut found = Vec::new();
        let mut interrupted = false;
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => found.push(message),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Overrun(_) => interrupted = true,
                _ => {}
            }
        }
        if !interrupted {
            return Ok(found);
        }
    }
    Err(io::Error::other(format!("the network changed during each of {DUMPS} reads")))
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use netlink_packet_core::{DoneMessage, ErrorMessage, NetlinkHeader};

    use super::*;

    type Message = NetlinkMessage<RouteNetlinkMessage>;

    fn link(flags: u16) -> Message {
        let mut message = Message::from(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        message.header.flags = flags;
        message
    }

    fn end(flags: u16) -> Message {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        Message::new(header, NetlinkPayload::Done(DoneMessage::default()))
    }

    fn overrun() -> Message {
        Message::new(NetlinkHeader::default(), NetlinkPayload::Overrun(Vec::new()))
    }

    fn refusal() -> Message {
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(-libc::EPERM);
        Message::new(NetlinkHeader::default(), NetlinkPayload::Error(error))
    }

    /// Answers the first dumps with `dumps`, in order. The result, and how many dumps were made.
    async fn read(dumps: Vec<Vec<Message>>) -> (io::Result<usize>, usize) {
        let mut made = 0;
        let result = whole(|| {
            made += 1;
            Ok(stream::iter(dumps.get(made - 1).cloned().unwrap_or_default()))
        });
        (result.await.map(|messages| messages.len()), made)
    }

    #[tokio::test]
    async fn an_interrupted_dump_is_made_again() {
        let whole = vec![link(0), link(0), end(0)];
        assert_eq!(read(vec![whole.clone()]).await.1, 1);
        for incomplete in [
            vec![link(0), link(NLM_F_DUMP_INTR), end(0)],
            vec![link(0), end(NLM_F_DUMP_INTR)],
            vec![link(0), overrun(), end(0)],
        ] {
            let (found, made) = read(vec![incomplete, whole.clone()]).await;
            assert_eq!((found.unwrap(), made), (2, 2));
        }
    }

    #[tokio::test]
    async fn a_network_that_keeps_changing_is_an_error() {
        let (found, made) = read(vec![vec![link(NLM_F_DUMP_INTR), end(0)]; 9]).await;
        assert_eq!((found.unwrap_err().to_string().as_str(), made), ("the network changed during each of 5 reads", 5));
    }

    #[tokio::test]
    async fn a_refused_dump_is_not_made_again() {
        let (found, made) = read(vec![vec![refusal()]]).await;
        assert_eq!((found.unwrap_err().raw_os_error(), made), (Some(libc::EPERM), 1));
    }

    #[tokio::test]
    async fn the_network_of_this_machine_is_read() {
        let netlink = Netlink::open().unwrap();
        let state = netlink.state().await.unwrap();
        assert_eq!(state.links.iter().filter(|link| link.identity.name == "lo").count(), 0);
        let way = netlink.way(None, [127, 0, 0, 1].into(), None).await.unwrap().unwrap();
        assert_eq!(way.source, Some([127, 0, 0, 1].into()));
        // Until the first rule is added, the kernel keeps the local table inside the main one.
        assert!([254, 255].contains(&way.table), "{}", way.table);
    }
}
