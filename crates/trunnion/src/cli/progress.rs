//! What apply is doing, as it happens: spinners with elapsed time on a terminal, one line per event elsewhere.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;
use trunnion::{Address, Event, Operation};
use trunnion_render::style;

use super::output::Output;

/// How many running steps are drawn; the others are counted.
const DRAWN: usize = 12;

pub(crate) struct Progress {
    output: Output,
    total: usize,
    settled: usize,
    running: BTreeMap<(Address, Operation), (Instant, Option<ProgressBar>)>,
    live: Option<(MultiProgress, ProgressBar)>,
}

impl Progress {
    pub(crate) fn new(output: Output, total: usize) -> Self {
        let live = output.is_live().then(|| {
            let bars = MultiProgress::new();
            let bar = bars.add(ProgressBar::new(total as u64));
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} steps · {elapsed}") {
                bar.set_style(style.progress_chars("━╸ "));
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            (bars, bar)
        });
        Self { output, total, settled: 0, running: BTreeMap::new(), live }
    }

    /// Tells every event until apply has no more.
    pub(crate) async fn follow(mut self, mut events: UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            self.tell(event);
        }
        if let Some((bars, bar)) = self.live {
            bar.finish_and_clear();
            let _ = bars.clear();
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Started { address, operation } => {
                let bar = self.draw(&address, operation);
                if self.live.is_none() {
                    self.line(&format!("{} {address}: {}", sign(operation), doing(operation)));
                }
                self.running.insert((address, operation), (Instant::now(), bar));
            }
            Event::Finished { address, operation, id } => {
                let took = self.settle(&address, operation);
                let style = colour(operation);
                self.line(&format!(
                    "{style}{}{style:#} {address}: {} {}{id} after {took}{:#}",
                    sign(operation),
                    done(operation),
                    style::FAINT,
                    style::FAINT,
                ));
            }
            Event::Failed { address, operation, error } => {
                let took = self.settle(&address, operation);
                let red = style::DELETE;
                self.line(&format!("{red}✗ {address}: failed{red:#} after {took}: {error}"));
            }
            Event::Skipped { address, because, .. } => {
                self.settled += 1;
                self.advance();
                let yellow = style::WARNING;
                self.line(&format!("{yellow}! {address}: skipped{yellow:#}, because `{because}` failed"));
            }
            Event::Interrupted { address, operation } => {
                let took = self.settle(&address, operation);
                let yellow = style::WARNING;
                self.line(&format!("{yellow}! {address}: not waited for any longer{yellow:#} after {took}"));
            }
            Event::Stopping => {
                self.line("Interrupted: finishing what runs, starting nothing new. Once more stops at once.");
            }
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

    fn settle(&mut self, address: &Address, operation: Operation) -> String {
        self.settled += 1;
        let running = self.running.remove(&(address.clone(), operation));
        if let Some((_, Some(bar))) = &running {
            bar.finish_and_clear();
        }
        self.advance();
        let took = running.map(|(since, _)| since.elapsed()).unwrap_or_default();
        format!("{:.1}s", took.as_secs_f64())
    }

    fn advance(&self) {
        if let Some((_, bar)) = &self.live {
            bar.set_position(self.settled.min(self.total) as u64);
        }
    }

    fn line(&self, text: &str) {
        match &self.live {
            Some((bars, _)) => bars.suspend(|| self.output.say(text)),
            None => self.output.say(text),
        }
    }
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
