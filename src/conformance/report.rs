//! What came of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::run::{Outcome, Trial};
use super::suite::terms;
use super::{Difference, Failure};
use crate::host::Gpu;

/// An adapter, as it tells of itself. Field names are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// `discrete-gpu`, `integrated-gpu`, `virtual-gpu`, `cpu` or `other`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `vulkan`, `gl`, `metal`, `dx12`.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version, in its own words.
    pub driver_info: String,
    /// Invocations of a subgroup, least and most.
    pub subgroup_sizes: [u32; 2],
}

impl Adapter {
    /// What the adapter says of itself.
    #[must_use]
    pub fn new(info: &wgpu::AdapterInfo) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete-gpu",
            wgpu::DeviceType::IntegratedGpu => "integrated-gpu",
            wgpu::DeviceType::VirtualGpu => "virtual-gpu",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        };
        Self {
            name: info.name.clone(),
            kind: kind.to_owned(),
            backend: format!("{:?}", info.backend).to_lowercase(),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
        }
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let driver = [self.driver.as_str(), self.driver_info.as_str()];
        let driver = driver.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" ");
        let parts = [self.name.as_str(), &self.kind, &self.backend, &driver];
        parts.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

/// The largest distance from the reference within the budget, and the case that had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Worst {
    /// f32 ULP.
    pub ulps: u32,
    /// The case's name.
    pub case: String,
}

/// Cases of one kernel, schedule and tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Cases that ran.
    pub executed: usize,
    /// Cases that ran and were right.
    pub passed: usize,
    /// Cases that ran and were wrong.
    pub failed: usize,
    /// Cases that this device cannot run.
    pub skipped: usize,
    /// The largest distance within the budget, where results are floats and no option adds a rounding of its own.
    pub worst: Option<Worst>,
}

/// A case that was wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failed {
    /// Its name, which is all that it takes to repeat it.
    pub case: String,
    /// For a case that was made smaller: the one that failed first.
    pub from: Option<String>,
    /// How it was wrong, in a line.
    pub failure: String,
    /// The first wrong elements.
    pub first: Vec<WrongElement>,
}

/// A wrong element, for readers of JSON, which has neither NaN nor infinities: numbers are text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrongElement {
    /// The output.
    pub what: &'static str,
    /// Row and column.
    pub index: [u32; 2],
    /// What the device gave.
    pub got: String,
    /// What the reference gives.
    pub want: String,
    /// For floats with a budget: the distance, and what is allowed.
    pub ulps: Option<[String; 2]>,
}

impl Failed {
    pub(super) fn new(case: String, failure: &Failure) -> Self {
        let element = |e: &super::Element| {
            let (got, want, ulps) = match e.difference {
                Difference::Float { got, want, ulps, allowed } => {
                    (format!("{got:e}"), format!("{want:e}"), Some([ulps.to_string(), allowed.to_string()]))
                }
                Difference::Word { got, want } => (format!("{got:#x}"), format!("{want:#x}"), None),
                Difference::Choice { got, want } => (format!("{got:?}"), format!("{want:?}"), None),
            };
            WrongElement { what: e.what, index: [e.row, e.column], got, want, ulps }
        };
        let first = failure.elements().iter().map(element).collect();
        Self { case, from: None, failure: failure.to_string(), first }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED {}\n       {}", self.case, self.failure)?;
        if let Some(from) = &self.from {
            write!(f, "\n       made smaller from {from}")?;
        }
        for WrongElement { what, index: [row, column], got, want, ulps } in self.first.iter().skip(1) {
            write!(f, "\n       {what}[{row}, {column}] is {got}, not {want}")?;
            if let Some([ulps, allowed]) = ulps {
                write!(f, ": {ulps} ULP, {allowed} allowed")?;
            }
        }
        Ok(())
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Of this crate.
    pub onesum: &'static str,
    /// What ran the cases.
    pub adapter: Adapter,
    /// Cases that ran.
    pub executed: usize,
    /// Cases that ran and were right.
    pub passed: usize,
    /// Cases that were wrong, and how.
    pub failures: Vec<Failed>,
    /// Cases that did not run, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// The same by kernel, schedule and tier.
    pub kinds: BTreeMap<String, Tally>,
    /// Why the run ended before its cases did.
    pub ended: Option<String>,
    /// What this adapter's own functions do, if the caller had it measured: [`super::probe::probe`].
    pub probe: Option<super::probe::Probe>,
    /// Kernels, with every part of a variant's name and every fill, option and the like, that a case ran with.
    #[serde(skip)]
    pub covered: BTreeSet<String>,
    /// The same of cases that were skipped.
    #[serde(skip)]
    pub skipped_terms: BTreeSet<String>,
}

impl Report {
    pub(super) fn of(gpu: &Gpu) -> Self {
        Self { onesum: env!("CARGO_PKG_VERSION"), adapter: Adapter::new(&gpu.info), ..Self::default() }
    }

    pub(super) fn add<C: Trial + ?Sized>(&mut self, case: &C, outcome: Outcome) {
        let name = case.to_string();
        let tally = self.kinds.entry(case.kind()).or_default();
        match outcome {
            Outcome::Skipped(reason) => {
                tally.skipped += 1;
                *self.skipped.entry(reason).or_default() += 1;
                self.skipped_terms.extend(terms(&name));
                return;
            }
            Outcome::Passed(ulps) => {
                self.passed += 1;
                tally.passed += 1;
                let known = tally.worst.as_ref().map_or(0, |w| w.ulps);
                if ulps >= known && case.measured() {
                    tally.worst = Some(Worst { ulps, case: name.clone() });
                }
            }
            Outcome::Failed(failure) => {
                tally.failed += 1;
                self.failures.push(Failed::new(name.clone(), &failure));
            }
        }
        tally.executed += 1;
        self.executed += 1;
        self.covered.extend(terms(&name));
    }

    /// Whether cases ran and nothing was wrong.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.failures.is_empty() && self.executed > 0
    }

    /// Cases that did not run.
    #[must_use]
    pub fn skips(&self) -> usize {
        self.skipped.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failed in self.failures.iter().take(20) {
            writeln!(f, "{failed}")?;
        }
        for (reason, count) in &self.skipped {
            writeln!(f, "skipped {count}: {reason}")?;
        }
        for (kind, tally) in &self.kinds {
            write!(f, "{kind:28} {:6} cases", tally.executed)?;
            if tally.failed > 0 {
                write!(f, ", {} failed", tally.failed)?;
            }
            if tally.skipped > 0 {
                write!(f, ", {} skipped", tally.skipped)?;
            }
            match &tally.worst {
                Some(worst) => writeln!(f, ", worst {:3} ULP in {}", worst.ulps, worst.case)?,
                None => writeln!(f)?,
            }
        }
        if let Some(why) = &self.ended {
            writeln!(f, "ended early: {why}")?;
        }
        let (executed, passed, failed, skipped) = (self.executed, self.passed, self.failures.len(), self.skips());
        write!(f, "conformance: {executed} executed, {passed} passed, {failed} failed, {skipped} skipped")
    }
}
