//! Brings the host to its layout and keeps it there: at start, when the kernel's network changes, and every now and then.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{self, sleep},
};
use trunnion_host::Mode;

use super::{
    believed::{Believed, Verdict},
    events::Events,
    notify, say,
    shared::Shared,
};
use crate::{
    check::{self, Facts, Network, Report, Session, Spreading},
    cli::{Failure, causes},
    host::Host,
    layout::Layout,
    setup::{self, Outcome},
    spread::{self, Options, SpreadError, Spreader},
};

/// Changes come in bursts: what follows this soon after the first one is one with it.
const SETTLE: Duration = Duration::from_millis(200);

/// No sooner after the last time, whatever the kernel says: a network that keeps changing must not keep us busy.
const APART: Duration = Duration::from_secs(1);

/// A session of the SSH user starts PAM, a shell and Java, so its answer is used for a while; one that was not good is
/// asked for again with the next refresh.
const SESSION: Duration = Duration::from_mins(15);

/// While the metadata service does not answer at start, it is asked at these intervals.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What the service manager gives us beyond a pause: a read that fails takes its time too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Keeps the host as it should be.
pub(super) struct Keeper<'a> {
    host: &'a Host,
    shared: Arc<Shared>,
    /// Where the server listens.
    primary: watch::Sender<Option<IpAddr>>,
    believed: Believed,
    /// Why the last read failed, if it did.
    outage: Option<String>,
    /// What the last setup warned of, which is said once.
    warnings: Vec<String>,
    spreader: Option<Spreader>,
    session: Option<(Instant, Result<Session, String>)>,
    /// Between two reads of the metadata.
    refresh: Duration,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(
        host: &'a Host,
        shared: Arc<Shared>,
        primary: watch::Sender<Option<IpAddr>>,
        refresh: Duration,
    ) -> Self {
        Self {
            host,
            shared,
            primary,
            believed: Believed::default(),
            outage: None,
            warnings: Vec::new(),
            spreader: None,
            session: None,
            refresh,
        }
    }

    /// Never ends but for an error that a restart may mend.
    pub(super) async fn keep(mut self) -> Result<(), Failure> {
        // Before anything is read, so that no change is missed.
        let mut events = Events::new()?;
        self.first_metadata().await;
        self.converge(true).await;
        let mut status = self.shared.health().status;
        notify(&format!("READY=1\nSTATUS={}", status.as_str()));
        let mut slow = time::Instant::now() + self.refresh;
        loop {
            let mut whole = false;
            tokio::select! {
                changed = events.next() => {
                    changed?;
                    sleep(SETTLE).await;
                }
                () = time::sleep_until(slow) => {
                    slow = time::Instant::now() + self.refresh;
                    self.read_metadata().await;
                    whole = !self.shared.health().is_sound();
                }
            }
            events.clear()?;
            // Our own changes wake us once more, when there is nothing left to do.
            self.converge(whole).await;
            let now = self.shared.health().status;
            if std::mem::replace(&mut status, now) != now {
                notify(&format!("STATUS={}", now.as_str()));
            }
            sleep(APART).await;
        }
    }

    /// A start does not fail for a metadata service that is late: it is asked until it answers.
    async fn first_metadata(&mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.read_metadata().await {
            self.answer_anyway().await;
            let more = (pause + PATIENCE).as_micros();
            notify(&format!("STATUS=waits for the metadata service\nEXTEND_TIMEOUT_USEC={more}"));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whoever asks how we are gets an answer also while there is no layout, on the address that DHCP gave us.
    async fn answer_anyway(&self) {
        let primary = check::primary_of_kernel().await;
        self.primary.send_if_modified(|address| primary.is_some() && std::mem::replace(address, primary) != primary);
    }

    /// Reads the metadata; says whether a whole answer came.
    async fn read_metadata(&mut self) -> bool {
        match self.host.imds.metadata().await {
            Err(error) => {
                self.believed.failed();
                let why = format!("{error}{}", causes(&error));
                if self.believed.current().is_none() {
                    self.shared.trouble("metadata", Some(why));
                } else if self.outage.as_ref() != Some(&why) {
                    // What is known stays true; `/metrics` tells how old it is.
                    say(format_args!("metadata: {why}; nothing changes"));
                    self.outage = Some(why);
                }
                false
            }
            Ok(metadata) => {
                self.shared.metadata_read();
                self.shared.trouble("metadata", None);
                if self.outage.take().is_some() {
                    say(format_args!("metadata: answers again"));
                }
                match self.believed.read(metadata) {
                    Verdict::Same => {}
                    Verdict::Taken => say(format_args!("metadata: taken over")),
                    Verdict::Doubted(left_out) => {
                        say(format_args!("metadata: leaves out {}; the next read has to confirm it", list(&left_out)));
                    }
                }
                true
            }
        }
    }

    /// Brings the host to the metadata that is believed, as a `whole` or its network alone, and checks it.
    async fn converge(&mut self, whole: bool) {
        let layout = match self.layout().await {
            Ok(layout) => {
                self.shared.trouble("layout", None);
                layout
            }
            Err(error) => {
                self.shared.trouble("layout", Some(format!("{error}{}", causes(&*error))));
                // The last one stays true.
                let Some(layout) = self.shared.layout() else { return self.answer_anyway().await };
                layout
            }
        };
        self.primary.send_if_modified(|address| {
            let primary = check::primary(&layout);
            std::mem::replace(address, primary) != primary
        });
        self.leave(&layout);
        self.set_up(&layout, whole).await;
        let network = Network::look(&layout).await.map_err(|error| error.to_string());
        let usable = network.as_ref().map(|network| network.usable(layout.load_interfaces(&self.host.config)));
        let usable = usable.unwrap_or_default();
        let spreading = self.spread(&layout, &usable);
        let session = self.session().await;
        let facts = Facts::look(&self.host.config, Ok(&layout), network, session, spreading);
        self.shared.set_report(Report::new(&self.host.config, Ok(&layout), &facts));
    }

    async fn layout(&self) -> Result<Arc<Layout>, Failure> {
        let metadata = self.believed.current().ok_or("the metadata was never read")?;
        let layout = Layout::new(metadata, &setup::links().await?)?;
        match self.shared.layout() {
            Some(known) if *known == layout => Ok(known),
            _ => Ok(self.shared.set_layout(layout)),
        }
    }

    /// Everything at start, and again with each refresh while something is wrong; otherwise the network alone.
    async fn set_up(&mut self, layout: &Layout, whole: bool) {
        let (what, outcome) = if whole {
            ("setup", setup::setup(self.host, layout).await)
        } else {
            ("network", setup::network(&self.host.config, layout).await)
        };
        let problem = match outcome {
            Ok(Outcome { changes, warnings, problems }) => {
                for change in &changes {
                    say(format_args!("setup: {}: {}", change.what, change.how));
                }
                for warning in warnings.iter().filter(|warning| !self.warnings.contains(*warning)) {
                    say(format_args!("setup: warning: {warning}"));
                }
                self.warnings = warnings;
                problems.join("; ")
            }
            Err(error) => format!("{error}{}", causes(&*error)),
        };
        // Everything has the network in it.
        if whole {
            self.shared.trouble("network", None);
        }
        self.shared.trouble(what, Some(problem).filter(|problem| !problem.is_empty()));
    }

    /// Takes out of the spread what the layout no longer has, before it goes away.
    fn leave(&self, layout: &Layout) {
        let Some(spreader) = &self.spreader else { return };
        let left = spreader.sources().and_then(|sources| {
            let addresses: BTreeSet<IpAddr> = layout.addresses().collect();
            let (kept, gone): (Vec<_>, Vec<_>) =
                sources.iter().map(|source| source.address).partition(|address| addresses.contains(address));
            if gone.is_empty() {
                return Ok(());
            }
            say(format_args!("spread: no new connections from {}", list(&gone)));
            spreader.sync(&kept, &spread::except(&self.host.config, Some(layout)))
        });
        if let Err(error) = left {
            say(format_args!("spread: {error}{}", causes(&error)));
        }
    }

    /// Makes the addresses that can be used the sources of new connections.
    fn spread(&mut self, layout: &Layout, usable: &[IpAddr]) -> Spreading {
        if self.host.config.spread.mode != Mode::Kernel {
            return match spread::apply(&self.host.config, layout) {
                Ok(_) => Spreading::Unwanted,
                Err(error) => error.into(),
            };
        }
        self.try_spread(layout, usable).unwrap_or_else(|error| {
            // It may have been detached behind our back: the next time begins anew.
            self.spreader = None;
            error.into()
        })
    }

    fn try_spread(&mut self, layout: &Layout, usable: &[IpAddr]) -> Result<Spreading, SpreadError> {
        let config = &self.host.config;
        let spreader = match &mut self.spreader {
            Some(spreader) => spreader,
            none => none.insert(Spreader::attach(&Options::of_user(Some(spread::uid_of(&config.ssh.user)?)))?),
        };
        // With none, the network is broken for a moment, and the sources are the least of its troubles.
        if usable.is_empty() {
            return Ok(Spreading::Attached(spreader.sources()?));
        }
        let before: BTreeSet<IpAddr> = spreader.sources()?.iter().map(|source| source.address).collect();
        spreader.sync(usable, &spread::except(config, Some(layout)))?;
        let sources = spreader.sources()?;
        let new: Vec<IpAddr> =
            sources.iter().map(|source| source.address).filter(|address| !before.contains(address)).collect();
        if !new.is_empty() {
            say(format_args!("spread: connections come from {} too", list(&new)));
        }
        Ok(Spreading::Attached(sources))
    }

    async fn session(&mut self) -> Result<Session, String> {
        if let Some((at, session)) = &self.session {
            let lasts = if session.as_ref().is_ok_and(|session| session.is_good(&self.host.config)) {
                SESSION
            } else {
                self.refresh
            };
            if at.elapsed() < lasts {
                return session.clone();
            }
        }
        let session = Session::look(&self.host.config).await;
        self.session = Some((Instant::now(), session.clone()));
        session
    }
}

/// Some addresses or ranges, for a line of the journal.
fn list(some: &[impl ToString]) -> String {
    let named: Vec<String> = some.iter().take(8).map(ToString::to_string).collect();
    match some.len().checked_sub(named.len()) {
        None | Some(0) => named.join(", "),
        Some(more) => format!("{} and {more} more", named.join(", ")),
    }
}
