//! Sets up and checks the host: at start, when the kernel's network changes, and with each refresh.

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
    journal::say,
    notify::notify,
    shared::Shared,
};
use crate::{
    check::{self, Facts, Network, Report, Session, Spreading},
    failure::{Failure, causes},
    host::{self, Host},
    layout::Layout,
    setup::{self, Outcome},
    spread::{self, Options, Rules, SpreadError, Spreader},
};

/// Changes come in bursts: those that follow the first one within this time are handled together.
const SETTLE: Duration = Duration::from_millis(200);

/// The least time between two rounds, so that a network that keeps changing does not keep the service busy.
const APART: Duration = Duration::from_secs(1);

/// How often the connections of each source are counted again. The programs in the kernel follow them one by one, and know
/// neither those from before they were attached nor a thread that ended after its `connect()` failed.
const RECOUNT: Duration = Duration::from_mins(10);

/// How long the result of a session is used, because a session starts PAM, a shell and Java. A bad result is used until the
/// next refresh only.
const SESSION: Duration = Duration::from_mins(15);

/// The pauses between reads at start while the metadata service does not answer: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How much longer than a pause the service manager is asked to wait: a read that fails takes time, too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Sets up and checks the host, again and again.
pub(super) struct Keeper<'a> {
    host: &'a Host,
    shared: Arc<Shared>,
    /// The address on which the server listens.
    primary: watch::Sender<Option<IpAddr>>,
    believed: Believed,
    /// Why the last read of the metadata failed, if it did.
    outage: Option<String>,
    /// The warnings of the last setup. Each is logged once.
    warnings: Vec<String>,
    spreader: Option<Spreader>,
    /// When the connections of each source were counted last, instead of followed one by one.
    counted: Option<Instant>,
    session: Option<(Instant, Result<Session, String>)>,
    /// The names of the interfaces that were set up last.
    interfaces: Vec<String>,
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
            counted: None,
            session: None,
            interfaces: Vec::new(),
            refresh,
        }
    }

    /// Ends only with an error that a restart can resolve.
    pub(super) async fn keep(mut self) -> Result<(), Failure> {
        // Before the first read, so that no change is missed.
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
            // Our own changes cause another round, which finds nothing to change.
            self.converge(whole).await;
            let now = self.shared.health().status;
            if std::mem::replace(&mut status, now) != now {
                notify(&format!("STATUS={}", now.as_str()));
            }
            sleep(APART).await;
        }
    }

    /// Reads the metadata until the service answers.
    async fn first_metadata(&mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.read_metadata().await {
            self.serve_without_layout().await;
            let more = (pause + PATIENCE).as_micros();
            notify(&format!("STATUS=waiting for the metadata service\nEXTEND_TIMEOUT_USEC={more}"));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Makes the server listen on the address that DHCP configured, so that `/health` answers before there is a layout.
    async fn serve_without_layout(&self) {
        let primary = check::primary_of_kernel().await;
        self.primary.send_if_modified(|address| primary.is_some() && std::mem::replace(address, primary) != primary);
    }

    /// Reads the metadata; whether the read succeeded.
    async fn read_metadata(&mut self) -> bool {
        match self.host.imds.metadata().await {
            Err(error) => {
                self.believed.failed();
                let why = format!("{error}{}", causes(&error));
                if self.believed.current().is_none() {
                    self.shared.trouble("metadata", Some(why));
                } else if self.outage.as_ref() != Some(&why) {
                    // `/metrics` has the age of the metadata.
                    say(format_args!("metadata: read failed ({why}); keeping the addresses known so far"));
                    self.outage = Some(why);
                }
                false
            }
            Ok(metadata) => {
                self.shared.metadata_read();
                self.shared.trouble("metadata", None);
                if self.outage.take().is_some() {
                    say(format_args!("metadata: read again"));
                }
                match self.believed.read(metadata) {
                    Verdict::Same => {}
                    Verdict::First => say(format_args!("metadata: read")),
                    Verdict::Changed => say(format_args!("metadata: changed; applying it")),
                    Verdict::Doubted(gone) => {
                        let (are, them) = if gone.len() == 1 { ("is", "it") } else { ("are", "them") };
                        let gone = list(&gone);
                        say(format_args!("metadata: {gone} {are} gone; removing {them} if the next read agrees"));
                    }
                }
                true
            }
        }
    }

    /// Sets up the host for the believed metadata, as a `whole` or its network alone, and checks it.
    async fn converge(&mut self, whole: bool) {
        let layout = match self.layout().await {
            Ok(layout) => {
                self.shared.trouble("layout", None);
                layout
            }
            Err(error) => {
                self.shared.trouble("layout", Some(format!("{error}{}", causes(&*error))));
                // The last layout stays in use.
                let Some(layout) = self.shared.layout() else { return self.serve_without_layout().await };
                layout
            }
        };
        self.primary.send_if_modified(|address| {
            let primary = layout.primary_address();
            std::mem::replace(address, primary) != primary
        });
        self.drop_sources(&layout);
        // A new interface also needs what is not of its network.
        let names: Vec<String> = layout.interfaces.iter().map(|interface| interface.name.clone()).collect();
        let changed = std::mem::replace(&mut self.interfaces, names) != self.interfaces;
        self.set_up(&layout, whole || changed).await;
        let network = Network::look(&self.host.config, &layout).await.map_err(|error| error.to_string());
        let usable = network.as_ref().map(|network| network.usable(&layout.interfaces));
        let usable = usable.unwrap_or_default();
        let spreading = self.spread(&layout, &usable);
        let session = self.session().await;
        let facts = Facts::look(&self.host.config, Ok(&layout), network, session, spreading);
        self.shared.set_report(Report::new(&self.host.config, Ok(&layout), &facts));
    }

    async fn layout(&self) -> Result<Arc<Layout>, Failure> {
        let metadata = self.believed.current().ok_or("the metadata was not read yet")?;
        let layout = Layout::new(metadata, &host::links().await?)?;
        match self.shared.layout() {
            Some(known) if *known == layout => Ok(known),
            _ => Ok(self.shared.set_layout(layout)),
        }
    }

    /// Sets up everything at start, and with each refresh while something is wrong. Otherwise the network alone.
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
        // A whole setup includes the network.
        if whole {
            self.shared.trouble("network", None);
        }
        self.shared.trouble(what, Some(problem).filter(|problem| !problem.is_empty()));
    }

    /// Removes addresses from the sources that the layout no longer has, before setup removes them from the host.
    fn drop_sources(&self, layout: &Layout) {
        let Some(spreader) = &self.spreader else { return };
        let left = spreader.sources().and_then(|sources| {
            let addresses: BTreeSet<IpAddr> = layout.addresses().collect();
            let (kept, gone): (Vec<_>, Vec<_>) =
                sources.iter().map(|source| source.address).partition(|address| addresses.contains(address));
            if gone.is_empty() {
                return Ok(());
            }
            say(format_args!("spread: removed source {}", list(&gone)));
            spreader.sync(&Rules::new(&self.host.config, layout, &kept))
        });
        if let Err(error) = left {
            say(format_args!("spread: {error}{}", causes(&error)));
        }
    }

    /// Makes the usable addresses the sources of new connections.
    fn spread(&mut self, layout: &Layout, usable: &[IpAddr]) -> Spreading {
        if self.host.config.spread.mode != Mode::Kernel {
            return match Spreader::detach(Options::PINS.as_ref()) {
                Ok(_) => Spreading::Unwanted,
                Err(error) => error.into(),
            };
        }
        self.try_spread(layout, usable).unwrap_or_else(|error| {
            // Somebody may have detached it: the next round attaches it again.
            (self.spreader, self.counted) = (None, None);
            error.into()
        })
    }

    fn try_spread(&mut self, layout: &Layout, usable: &[IpAddr]) -> Result<Spreading, SpreadError> {
        let config = &self.host.config;
        let spreader = match &mut self.spreader {
            Some(spreader) => spreader,
            none => none
                .insert(Spreader::attach(&Options::of_user(spread::uid_of(&config.ssh.user)?, spread::ports(config)))?),
        };
        // Without usable addresses, the network is broken for a moment. The sources stay, so that they need not be added again.
        if usable.is_empty() {
            return Ok(Spreading::Attached(spreader.sources()?));
        }
        let before: BTreeSet<IpAddr> = spreader.sources()?.iter().map(|source| source.address).collect();
        spreader.sync(&Rules::new(config, layout, usable))?;
        if self.counted.is_none_or(|at| at.elapsed() >= RECOUNT) {
            self.counted = Some(Instant::now());
            let spreader = spreader.clone();
            // It reads every socket of the host, which must not keep the service from answering.
            tokio::task::spawn_blocking(move || {
                if let Err(error) = spreader.recount() {
                    say(format_args!("spread: {error}{}", causes(&error)));
                }
            });
        }
        let sources = spreader.sources()?;
        let new: Vec<IpAddr> =
            sources.iter().map(|source| source.address).filter(|address| !before.contains(address)).collect();
        if !new.is_empty() {
            say(format_args!("spread: added source {}", list(&new)));
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

/// The first of these addresses or ranges, and the number of the others.
fn list(some: &[impl ToString]) -> String {
    let named: Vec<String> = some.iter().take(8).map(ToString::to_string).collect();
    match some.len().checked_sub(named.len()) {
        None | Some(0) => named.join(", "),
        Some(more) => format!("{} and {more} more", named.join(", ")),
    }
}
