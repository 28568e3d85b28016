//! A run's record, for programs.

use std::collections::HashMap;
use std::time::Duration;

use onesum::conformance::{Failed, Filter, Outcome, Report};
use serde::Serialize;

use super::{Args, Tried};

/// What a run leaves. Field names are stable; fields may be added.
#[derive(Serialize)]
pub struct Record<'a> {
    /// Whose WGSL compiler and validation, and what it runs on.
    pub implementation: String,
    #[serde(flatten)]
    pub report: &'a Report,
    pub profile: &'static str,
    pub filters: &'a [String],
    /// Of random cases.
    pub seed: Option<u64>,
    pub seconds: f64,
    /// The names of all cases that passed: what reports of several implementations are compared by.
    pub passed_cases: Vec<&'a str>,
    #[serde(skip)]
    pub tried: &'a [Tried],
}

impl<'a> Record<'a> {
    pub fn new(args: &'a Args, filter: &Filter, report: &'a Report, tried: &'a [Tried], time: Duration) -> Self {
        let passed = tried.iter().filter(|case| matches!(case.outcome, Outcome::Passed(_)));
        Self {
            implementation: format!("wgpu, {}", report.adapter.backend),
            report,
            profile: args.profile.name(),
            filters: &args.filters,
            seed: filter.random,
            seconds: time.as_secs_f64(),
            passed_cases: passed.map(|case| case.name.as_str()).collect(),
            tried,
        }
    }

    /// The failures by the case that was run first.
    pub fn failures(&self) -> HashMap<&str, &Failed> {
        self.report.failures.iter().map(|f| (f.from.as_deref().unwrap_or(&f.case), f)).collect()
    }
}
