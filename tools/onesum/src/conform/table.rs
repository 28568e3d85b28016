//! Several runs side by side: `--table`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use onesum::softmax::Tier;
use serde::Deserialize;

use crate::failure::Failure;

/// What a table needs of a report.
#[derive(Deserialize)]
struct Run {
    implementation: String,
    adapter: Adapter,
    kinds: BTreeMap<String, Tally>,
    failures: Vec<Failed>,
    /// Why it is not all of it.
    #[serde(default)]
    ended: Option<String>,
    passed_cases: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Adapter {
    name: String,
    #[serde(default)]
    driver_info: String,
}

impl Adapter {
    fn line(&self) -> String {
        let parts = [self.name.as_str(), self.driver_info.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Default, Deserialize)]
struct Tally {
    executed: usize,
    failed: usize,
    skipped: usize,
    worst: Option<Worst>,
}

#[derive(Deserialize)]
struct Worst {
    ulps: u32,
}

#[derive(Deserialize)]
struct Failed {
    case: String,
}

/// As many cases that differ are named.
const NAMED: usize = 10;

/// One row for each run and tier, and what of the results is the same in all of them.
pub fn table(paths: &[PathBuf]) -> Result<String, Failure> {
    let runs = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let mut text = "| implementation | driver | tier | executed | failed | skipped | worst ULP, our softmax |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for run in &runs {
        let driver = run.adapter.line();
        for (tier, tally) in run.tiers() {
            let worst = tally.worst.map_or("—".to_owned(), |worst| worst.ulps.to_string());
            let Tally { executed, failed, skipped, .. } = tally;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {tier} | {executed} | {failed} | {skipped} | {worst} |",
                cell(&run.implementation),
                cell(&driver)
            );
        }
    }
    for run in &runs {
        if let Some(why) = &run.ended {
            let (implementation, driver) = (&run.implementation, run.adapter.line());
            let _ = writeln!(text, "\n{implementation}, {driver}, is not complete: {why}.");
        }
    }
    text += &equality(&runs);
    Ok(text)
}

/// What every run gives to the bit: a case of an integer kernel passes only if its words are the reference's.
fn equality(runs: &[Run]) -> String {
    let Some((first, others)) = runs.split_first() else { return String::new() };
    let common: Vec<_> = (first.passed_cases.iter().filter(|name| is_exact(name)))
        .filter(|name| others.iter().all(|run| run.passed_cases.contains(*name)))
        .collect();
    if runs.len() == 1 && runs[0].failures.is_empty() {
        // Nothing is compared, but what passes is the reference's to the bit.
        return format!(
            "\nInteger results and sampled indices: {} cases, each the reference's to the bit.\n",
            common.len()
        );
    }
    if common.is_empty() && runs.iter().all(|run| run.failures.is_empty()) {
        return format!(
            "\nInteger results and sampled indices: the {} runs have no such case in common.\n",
            runs.len()
        );
    }
    let mut text = format!(
        "\nInteger results and sampled indices: equal on {} common cases in all {} runs",
        common.len(),
        runs.len()
    );
    let mut by_kernel = BTreeMap::<&str, usize>::new();
    for name in common {
        *by_kernel.entry(kernel(name)).or_default() += 1;
    }
    let counts: Vec<_> = by_kernel.iter().map(|(kernel, count)| format!("{kernel} {count}")).collect();
    let _ = writeln!(text, "{}", if counts.is_empty() { ".".to_owned() } else { format!(" ({}).", counts.join(", ")) });
    let differing: BTreeSet<_> =
        runs.iter().flat_map(|run| &run.failures).map(|f| f.case.as_str()).filter(|name| is_exact(name)).collect();
    if !differing.is_empty() {
        let _ = writeln!(text, "\nNot equal, in at least one run, on {} cases:\n", differing.len());
        for name in differing.iter().take(NAMED) {
            let _ = writeln!(text, "- `{name}`");
        }
    }
    text
}

fn read(path: &Path) -> Result<Run, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|e| Failure::error(format!("{}: cannot read: {e}", path.display())))?;
    let report = |e| Failure::error(format!("{}: not a report of `onesum conform --json`: {e}", path.display()));
    serde_json::from_str(&text).map_err(report)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn kernel(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// Whether a kernel's results have words that are the same everywhere: all but those of softmax.
fn is_exact(name: &str) -> bool {
    kernel(name) != "softmax"
}

/// Whether it is one of this crate's own algorithms rather than a rival that it is measured against.
fn is_ours(kind: &str) -> bool {
    let schedule = kind.split('/').nth(1).unwrap_or_default();
    kernel(kind) == "softmax" && !RIVALS.contains(&schedule)
}

/// Schedules whose exp is the built-in one, or which take a maximum first.
const RIVALS: [&str; 3] = ["online", "recompute", "reload"];

impl Run {
    /// Cases by tier; kernels that have but one are part of the baseline.
    fn tiers(&self) -> BTreeMap<&'static str, Tally> {
        let mut tiers = BTreeMap::<_, Tally>::new();
        for (kind, tally) in &self.kinds {
            let tier = Tier::ALL.iter().map(|tier| tier.name()).find(|tier| kind.split('/').any(|part| part == *tier));
            let sum = tiers.entry(tier.unwrap_or(Tier::Baseline.name())).or_default();
            sum.executed += tally.executed;
            sum.failed += tally.failed;
            sum.skipped += tally.skipped;
            let (known, here) = (sum.worst.as_ref().map(|w| w.ulps), tally.worst.as_ref().map(|w| w.ulps));
            if is_ours(kind) {
                sum.worst = known.max(here).map(|ulps| Worst { ulps });
            }
        }
        tiers
    }
}
