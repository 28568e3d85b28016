//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;

use super::{Case, Failure};

/// Why cases did not run, and how many.
pub type Skip = BTreeMap<String, usize>;

/// The largest distance from the reference within the budget, and the case that had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worst {
    /// f32 ULP.
    pub ulps: u32,
    /// The case.
    pub case: Case,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that ran.
    pub executed: usize,
    /// Cases that ran and were right.
    pub passed: usize,
    /// Cases that were wrong, and how.
    pub failures: Vec<(Case, Failure)>,
    /// Cases that did not run, by reason.
    pub skipped: Skip,
    /// The largest distance of f32 probabilities without options, by schedule and tier.
    pub worst: BTreeMap<String, Worst>,
    /// Cases that ran, by schedule and tier.
    pub counts: BTreeMap<String, usize>,
}

impl Report {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (case, failure) in self.failures.iter().take(20) {
            writeln!(f, "FAILED {case}\n       {failure}")?;
        }
        for (reason, count) in &self.skipped {
            writeln!(f, "skipped {count}: {reason}")?;
        }
        for (kind, worst) in &self.worst {
            let count = self.counts.get(kind).copied().unwrap_or(0);
            writeln!(f, "{kind:28} {count:6} cases, worst {:3} ULP in {}", worst.ulps, worst.case)?;
        }
        let skipped: usize = self.skipped.values().sum();
        let (executed, passed, failed) = (self.executed, self.passed, self.failures.len());
        write!(f, "conformance: {executed} executed, {passed} passed, {failed} failed, {skipped} skipped")
    }
}
