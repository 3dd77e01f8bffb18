//! Lets all processors near an adapter handle received packets, where they are more than it has queues. Unlike a change of
//! rings or queues, it interrupts no traffic.

use super::{journal::Journal, outcome::Outcome};
use crate::{
    failure::{Failure, causes},
    layout::Layout,
    queues,
};

pub(super) fn set_up(layout: &Layout, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for queue in queues::unsteered(layout)? {
        journal.remember(|before| {
            before.steering.entry(queue.path.clone()).or_insert_with(|| queue.found.clone());
        })?;
        match queues::set(&queue.path, &queue.wanted) {
            Ok(()) => outcome.changed(format!("`{}`", queue.path.display()), format!("set to `{}`", queue.wanted)),
            Err(error) => outcome.warnings.push(format!("{error}{}", causes(&error))),
        }
    }
    Ok(())
}

pub(super) fn undo(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for (path, mask) in &journal.before().steering {
        // The queues of an interface vanish with it.
        if queues::get(path)?.is_none_or(|found| found == *mask) {
            continue;
        }
        match queues::set(path, mask) {
            Ok(()) => outcome.changed(format!("`{}`", path.display()), format!("restored to `{mask}`")),
            Err(error) => outcome.problems.push(format!("{error}{}", causes(&error))),
        }
    }
    Ok(())
}
