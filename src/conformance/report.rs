//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;

use super::Failure;

/// Why cases did not run, and how many.
pub type Skip = BTreeMap<String, usize>;

/// The largest distance from the reference within the budget, and the case that had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worst {
    /// f32 ULP.
    pub ulps: u32,
    /// The case's name.
    pub case: String,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that ran.
    pub executed: usize,
    /// Cases that ran and were right.
    pub passed: usize,
    /// Names of cases that were wrong, and how.
    pub failures: Vec<(String, Failure)>,
    /// Cases that did not run, by reason.
    pub skipped: Skip,
    /// The largest distance of f32 probabilities without options, by kernel, schedule and tier.
    pub worst: BTreeMap<String, Worst>,
    /// Cases that ran, by kernel, schedule and tier.
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
        for (kind, count) in &self.counts {
            write!(f, "{kind:28} {count:6} cases")?;
            match self.worst.get(kind) {
                Some(worst) => writeln!(f, ", worst {:3} ULP in {}", worst.ulps, worst.case)?,
                None => writeln!(f)?,
            }
        }
        let skipped: usize = self.skipped.values().sum();
        let (executed, passed, failed) = (self.executed, self.passed, self.failures.len());
        write!(f, "conformance: {executed} executed, {passed} passed, {failed} failed, {skipped} skipped")
    }
}
