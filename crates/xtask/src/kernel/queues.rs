//! Tests that all processors handle the packets of an interface with fewer queues than there are processors.

use std::thread::available_parallelism;

use super::{
    Test,
    check::{Checked, listen},
    ensure,
    stage::{Stage, StageOptions},
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[("all_processors_handle_packets", steering)];

fn steering() -> Result<(), Failure> {
    let stage = Stage::new(StageOptions::one_subnet(2, 2))?;
    let _sshd = listen(&stage)?;
    let masks = || -> Result<Vec<u64>, Failure> {
        let shown = stage.script("cat /sys/class/net/ens[56]/queues/rx-*/rps_cpus")?.succeeded()?.stdout;
        Ok(shown.lines().map(|mask| u64::from_str_radix(&mask.replace(',', ""), 16)).collect::<Result<_, _>>()?)
    };
    let before = masks()?;
    ensure!(before == [0, 0], "not one queue for each interface, which one processor handles: {before:x?}");
    let processors = available_parallelism()?.get();
    ensure!(processors > 1, "this machine has one processor, and the host of the test needs two");
    Checked::new(&stage, &[])?.says("adapters", "not all processors handle the packets of ens5, ens6")?;
    let changed = stage.generator(&["setup"])?.succeeded()?;
    ensure!(changed.stdout.contains("/sys/class/net/ens6/queues/rx-0/rps_cpus`: set to"), "{changed}");
    let all = u64::MAX >> (64 - processors);
    ensure!(masks()? == [all, all], "{:x?} are not {processors} processors", masks()?);
    Checked::new(&stage, &[])?.says("adapters", "2 interfaces with 2 receive queues")?;
    let again = stage.generator(&["setup"])?.succeeded()?;
    ensure!(again.stdout == "nothing to change\n", "{again}");
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    ensure!(masks()? == before, "{:x?} after undo", masks()?);
    Ok(())
}
