//! What every peer can be asked.

use std::time::Instant;

use anyhow::Result;
use cpu_time::ProcessTime;
use serde::Deserialize;

use crate::work::{Kind, Problem, Results};

/// What some calls took, in seconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Elapsed {
    /// From the first call until all work is done.
    pub seconds: f64,
    /// Of the peer's process, on all its threads; software adapters compute on them.
    pub cpu: f64,
}

impl Elapsed {
    /// Of this work of this process.
    pub fn of(work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (wall, cpu) = (Instant::now(), ProcessTime::now());
        work()?;
        Ok(Self { seconds: wall.elapsed().as_secs_f64(), cpu: cpu.elapsed().as_secs_f64() })
    }
}

/// One that computes.
pub trait Peer {
    /// As tables name it.
    fn name(&self) -> &str;
    /// Of what computes.
    fn version(&self) -> &str;
    /// Whether it does this kind of work: some are only another way to draw.
    fn takes(&self, _kind: Kind) -> bool {
        true
    }
    /// Takes the inputs over, and does all that is done once. The error says why it cannot do this work.
    fn prepare(&mut self, problem: &Problem) -> Result<()>;
    /// How this work is done, where that needs saying.
    fn note(&self) -> Option<String> {
        None
    }
    /// One call and its results on the host.
    fn results(&mut self) -> Result<Results>;
    /// So many calls; their results stay where they were computed.
    fn time(&mut self, calls: u32) -> Result<Elapsed>;
    /// Lets go of the inputs.
    fn clear(&mut self);
}

/// The version of a package, as the lock file has it.
pub fn locked(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let name = format!("name = \"{package}\"");
    let version = lock.lines().skip_while(|line| **line != name).nth(1);
    version.and_then(|line| line.split('"').nth(1)).unwrap_or("unknown")
}
