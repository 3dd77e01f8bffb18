//! Shows the progress of an apply. On a terminal, it draws spinners with the elapsed time. Elsewhere it prints one line
//! per event, and every 20 seconds one about the running steps. Equal failures are reported once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};
use trunnion::render::{addresses, style};
use trunnion::{Address, Event, Operation, ProviderError};

use super::{
    output::Output,
    stream::Stream,
    waiting::{Clock, Ticks},
};

/// The most spinners at once.
const DRAWN: usize = 12;
/// The time between two lines about running steps.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Up to this number, steps that are skipped for the same reason have a line each. More of them share one line.
const SKIPPED_ALONE: usize = 3;

/// A destination for lines.
trait Lines {
    /// Prints a line, unless `--quiet` is set.
    fn say(&mut self, text: &str);
    /// Prints a line, even with `--quiet`.
    fn always_say(&mut self, text: &str);
}

impl Lines for Output {
    fn say(&mut self, text: &str) {
        Output::say(*self, text);
    }

    fn always_say(&mut self, text: &str) {
        Output::always_say(*self, text);
    }
}

pub(crate) struct Progress<L = Output> {
    lines: L,
    total: usize,
    settled: usize,
    running: BTreeMap<(Address, Operation), (Instant, Option<ProgressBar>)>,
    /// Each different failure, with its first address and the others.
    failures: Vec<(String, Address, Vec<Address>)>,
    /// Steps that were skipped because one address failed, not printed yet.
    skipped: Option<(Address, Vec<(Address, Operation)>)>,
    /// Addresses with a step that started: another step of the same address belongs to a replacement.
    begun: BTreeSet<Address>,
    live: Option<(MultiProgress, ProgressBar)>,
    /// The JSON output of all events.
    stream: Option<Stream>,
}

impl Progress {
    pub(crate) fn new(output: Output, total: usize, stream: Option<Stream>) -> Self {
        let live = output.is_live().then(|| {
            let bars = MultiProgress::new();
            let bar = bars.add(ProgressBar::new(total as u64));
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} steps · {elapsed}") {
                bar.set_style(style.progress_chars("━╸ "));
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            (bars, bar)
        });
        Self::with(output, total, live, stream)
    }

    /// Shows events until the apply ends. Returns the stream, for its last line.
    pub(crate) async fn follow(self, events: UnboundedReceiver<Event>) -> Option<Stream> {
        self.run(events, Clock::new(HEARTBEAT, HEARTBEAT)).await.1
    }
}

#[expect(private_bounds, reason = "only tests use another destination")]
impl<L: Lines> Progress<L> {
    fn with(lines: L, total: usize, live: Option<(MultiProgress, ProgressBar)>, stream: Option<Stream>) -> Self {
        Self {
            lines,
            total,
            settled: 0,
            running: BTreeMap::new(),
            failures: Vec::new(),
            skipped: None,
            begun: BTreeSet::new(),
            live,
            stream,
        }
    }

    async fn run(mut self, mut events: UnboundedReceiver<Event>, mut ticks: impl Ticks) -> (L, Option<Stream>) {
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => {
                        let now = ticks.now();
                        if let Some(stream) = &mut self.stream {
                            stream.event(&event, now);
                        }
                        self.print(event, now);
                    }
                    None => break,
                },
                now = ticks.tick() => {
                    if let Some(stream) = &mut self.stream {
                        stream.beat(now);
                    }
                    if self.live.is_none() {
                        self.beat(now);
                    }
                }
            }
            if events.is_empty() {
                self.print_skipped();
            }
        }
        self.print_skipped();
        self.print_equal_failures();
        if let Some((bars, bar)) = &self.live {
            bar.finish_and_clear();
            let _ = bars.clear();
        }
        (self.lines, self.stream)
    }

    fn print(&mut self, event: Event, now: Instant) {
        if let Event::Skipped { address, operation, because } = event {
            self.settled += 1;
            self.advance();
            self.skip(address, operation, because);
            return;
        }
        self.print_skipped();
        match event {
            Event::Started { address, operation } => {
                let bar = self.draw(&address, operation);
                if self.live.is_none() {
                    self.say(&format!("{} {address}: {}", sign(operation), doing(operation)));
                }
                self.begun.insert(address.clone());
                self.running.insert((address, operation), (now, bar));
            }
            Event::Finished { address, operation, id } => {
                let took = self.settle(&address, operation, now);
                let style = colour(operation);
                self.say(&format!(
                    "{style}{}{style:#} {address}: {} {}{id} after {took}{:#}",
                    sign(operation),
                    done(operation),
                    style::FAINT,
                    style::FAINT,
                ));
            }
            Event::Failed { address, operation, error } => self.fail(address, operation, &error, now),
            Event::Interrupted { address, operation } => {
                let took = self.settle(&address, operation, now);
                let yellow = style::WARNING;
                self.say(&format!("{yellow}! {address}: wait stopped{yellow:#} after {took}; the next run continues"));
            }
            Event::Stopping => {
                self.say(
                    "Interrupted: finishing the running steps, starting no new ones. Interrupt again to stop at \
                          once.",
                );
            }
            Event::Skipped { .. } => {}
        }
    }

    fn fail(&mut self, address: Address, operation: Operation, error: &ProviderError, now: Instant) {
        let took = self.settle(&address, operation, now);
        let cause = without_what_differs(&error.message.replace(&address.to_string(), "…"));
        if let Some((_, _, others)) = self.failures.iter_mut().find(|(known, ..)| *known == cause) {
            others.push(address);
            return;
        }
        let red = style::DELETE;
        self.line(&format!("{red}✗ {address}: failed{red:#} after {took}: {error}"), L::always_say);
        self.failures.push((cause, address, Vec::new()));
    }

    fn print_equal_failures(&mut self) {
        for (_, first, others) in std::mem::take(&mut self.failures) {
            if !others.is_empty() {
                let (red, count) = (style::DELETE, others.len());
                let more =
                    format!("{red}✗ {count} more failed{red:#} in the same way as `{first}`: {}", named(&others));
                self.line(&more, L::always_say);
            }
        }
    }

    fn skip(&mut self, address: Address, operation: Operation, because: Address) {
        if self.skipped.as_ref().is_some_and(|(known, _)| *known != because) {
            self.print_skipped();
        }
        self.skipped.get_or_insert_with(|| (because, Vec::new())).1.push((address, operation));
    }

    fn print_skipped(&mut self) {
        let Some((because, skipped)) = self.skipped.take() else { return };
        let yellow = style::WARNING;
        if skipped.len() > SKIPPED_ALONE {
            let (count, all) = (skipped.len(), named(skipped.iter().map(|(address, _)| address)));
            self.say(&format!("{yellow}! {count} steps skipped{yellow:#}, because `{because}` failed: {all}"));
            return;
        }
        for (address, operation) in skipped {
            let what = match operation {
                Operation::Delete if self.begun.contains(&address) => "deleting the old one was skipped",
                Operation::Create if self.begun.contains(&address) => "creating the new one was skipped",
                _ => "skipped",
            };
            self.say(&format!("{yellow}! {address}: {what}{yellow:#}, because `{because}` failed"));
        }
    }

    /// Prints one line for each operation with steps that have run for at least [`HEARTBEAT`].
    fn beat(&mut self, now: Instant) {
        for operation in [Operation::Create, Operation::Update, Operation::Delete] {
            let long: Vec<(&Address, Duration)> = self
                .running
                .iter()
                .filter(|((_, running), _)| *running == operation)
                .map(|((address, _), (since, _))| (address, now.saturating_duration_since(*since)))
                .filter(|(_, elapsed)| *elapsed >= HEARTBEAT)
                .collect();
            let Some(longest) = long.iter().map(|(_, elapsed)| elapsed.as_secs()).max() else { continue };
            let named = named(long.into_iter().map(|(address, _)| address));
            self.say(&format!("  still {} `{named}`: {longest} s", doing(operation)));
        }
    }

    fn draw(&self, address: &Address, operation: Operation) -> Option<ProgressBar> {
        let (bars, total) = self.live.as_ref()?;
        if self.running.len() >= DRAWN {
            return None;
        }
        let bar = bars.insert_before(total, ProgressBar::new_spinner());
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}").ok()?);
        bar.set_message(format!("{address}: {}", doing(operation)));
        bar.enable_steady_tick(Duration::from_millis(100));
        Some(bar)
    }

    fn settle(&mut self, address: &Address, operation: Operation, now: Instant) -> String {
        self.settled += 1;
        let running = self.running.remove(&(address.clone(), operation));
        if let Some((_, Some(bar))) = &running {
            bar.finish_and_clear();
        }
        self.advance();
        let took = running.map(|(since, _)| now.saturating_duration_since(since)).unwrap_or_default();
        format!("{:.1}s", took.as_secs_f64())
    }

    fn advance(&self) {
        if let Some((_, bar)) = &self.live {
            bar.set_position(self.settled.min(self.total) as u64);
        }
    }

    fn say(&mut self, text: &str) {
        self.line(text, L::say);
    }

    fn line(&mut self, text: &str, say: fn(&mut L, &str)) {
        match &self.live {
            Some((bars, _)) => bars.suspend(|| say(&mut self.lines, text)),
            None => say(&mut self.lines, text),
        }
    }
}

/// Sorted addresses as a list, with the hosts of a pool combined.
pub(crate) fn named<'a>(all: impl IntoIterator<Item = &'a Address>) -> String {
    let mut all: Vec<&Address> = all.into_iter().collect();
    all.sort();
    addresses(all)
}

fn sign(operation: Operation) -> char {
    match operation {
        Operation::Create => '+',
        Operation::Update => '~',
        Operation::Delete => '-',
    }
}

fn colour(operation: Operation) -> anstyle::Style {
    match operation {
        Operation::Create => style::CREATE,
        Operation::Update => style::UPDATE,
        Operation::Delete => style::DELETE,
    }
}

fn doing(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "creating",
        Operation::Update => "updating",
        Operation::Delete => "deleting",
    }
}

fn done(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "created",
        Operation::Update => "updated",
        Operation::Delete => "deleted",
    }
}

/// A message without the words that differ in each AWS response: encoded messages and request IDs.
fn without_what_differs(message: &str) -> String {
    const LONGEST_WORD: usize = 35;
    let kept = |word: &&str| word.len() <= LONGEST_WORD || word.contains(':') || word.contains('/');
    message.split_whitespace().filter(kept).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{stream::tests::stream, waiting::tests::Script};

    impl Lines for Vec<String> {
        fn say(&mut self, text: &str) {
            self.push(anstream::adapter::strip_str(text).to_string());
        }

        fn always_say(&mut self, text: &str) {
            self.say(text);
        }
    }

    fn host(number: u32) -> Address {
        Address::numbered("instance", "heavy", number)
    }

    const CREATE: Operation = Operation::Create;

    #[tokio::test]
    async fn long_steps_are_reported_at_each_heartbeat() {
        let (events, receiver) = unbounded_channel();
        let script = Script::new();
        let (stream, written) = stream(3);
        let follow = Progress::with(Vec::new(), 3, None, stream).run(receiver, script.clone());
        let shown = || async {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        };
        let apply = async move {
            let send = |event| events.send(event).is_ok();
            let finished =
                |number| Event::Finished { address: host(number), operation: CREATE, id: format!("i-{number}") };
            for number in [0, 1] {
                send(Event::Started { address: host(number), operation: CREATE });
            }
            shown().await;
            script.pass(20);
            script.ring();
            shown().await;
            script.pass(5);
            send(finished(0));
            send(Event::Started { address: host(2), operation: CREATE });
            shown().await;
            script.pass(15);
            script.ring();
            shown().await;
            script.pass(5);
            send(finished(1));
            shown().await;
        };
        let ((lines, _), ()) = tokio::join!(follow, apply);
        assert_eq!(
            lines,
            [
                "+ instance.heavy[0]: creating",
                "+ instance.heavy[1]: creating",
                "  still creating `instance.heavy[0…1]`: 20 s",
                "+ instance.heavy[0]: created i-0 after 25.0s",
                "+ instance.heavy[2]: creating",
                "  still creating `instance.heavy[1]`: 40 s",
                "+ instance.heavy[1]: created i-1 after 45.0s",
            ]
        );
        let event = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            line["event"].as_str().map(str::to_owned)
        };
        let events: Vec<String> = written.borrow().iter().filter_map(event).collect();
        assert_eq!(
            events,
            ["begun", "started", "started", "heartbeat", "finished", "started", "heartbeat", "finished"]
        );
    }

    #[tokio::test]
    async fn a_skipped_step_of_a_replacement_names_its_half() {
        let (events, receiver) = unbounded_channel();
        let id = "i-0".to_owned();
        let _ = events.send(Event::Started { address: host(0), operation: CREATE });
        let _ = events.send(Event::Finished { address: host(0), operation: CREATE, id });
        for number in 0..2 {
            let (address, operation) = (host(number), Operation::Delete);
            let _ = events.send(Event::Skipped { address, operation, because: host(9) });
        }
        drop(events);
        let (lines, _) = Progress::with(Vec::new(), 3, None, None).run(receiver, Script::new()).await;
        let skipped: Vec<&String> = lines.iter().filter(|line| line.contains("skipped")).collect();
        assert_eq!(
            skipped,
            [
                "! instance.heavy[0]: deleting the old one was skipped, because `instance.heavy[9]` failed",
                "! instance.heavy[1]: skipped, because `instance.heavy[9]` failed",
            ]
        );
    }

    #[tokio::test]
    async fn thirty_equal_failures_are_reported_as_one() {
        let (events, receiver) = unbounded_channel();
        for number in 0..30 {
            let address = host(number);
            // The encoded message and the request ID differ in each response.
            let blob = format!("{number:02}").repeat(30);
            let error = ProviderError::new(format!("`ec2:RunInstances` for `{address}` failed: no: {blob}"), None);
            let _ = events.send(Event::Started { address: address.clone(), operation: CREATE });
            let _ = events.send(Event::Failed { address, operation: CREATE, error });
        }
        for number in 30..35 {
            let _ = events.send(Event::Skipped { address: host(number), operation: CREATE, because: host(0) });
        }
        drop(events);
        let (lines, _) = Progress::with(Vec::new(), 35, None, None).run(receiver, Script::new()).await;
        let lines: Vec<&String> = lines.iter().filter(|line| !line.contains("creating")).collect();
        assert_eq!(
            lines,
            [
                &format!(
                    "✗ instance.heavy[0]: failed after 0.0s: `ec2:RunInstances` for `instance.heavy[0]` failed: no: {}",
                    "00".repeat(30)
                ),
                "! 5 steps skipped, because `instance.heavy[0]` failed: instance.heavy[30…34]",
                "✗ 29 more failed in the same way as `instance.heavy[0]`: instance.heavy[1…29]",
            ]
        );
    }
}
