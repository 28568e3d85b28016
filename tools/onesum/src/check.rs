//! Holds results against the CPU reference, row by row.

use std::thread;

use onesum::accuracy::{Budget, RowBudget, bf16_ulp, f16_ulp, f32_ulp};
use onesum::reference::{Problem, Row, Shared as ReferenceShared};
use onesum::softmax::{Causal, Dtype, RowMap, Schedule};

use crate::job::{Job, Outcome};

/// Results with more elements than this are checked on a sample of their rows.
const ALL_ELEMENTS: usize = 1 << 26;

/// An element that is further from the reference than its budget allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    /// Its row.
    pub row: usize,
    /// Its column; none for the log-sum-exp.
    pub column: Option<usize>,
    /// What came.
    pub got: f32,
    /// What the reference says.
    pub want: f64,
    /// Its error over what the budget allows.
    pub share: f64,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Rows that were checked.
    pub rows: usize,
    /// Elements that were checked.
    pub elements: usize,
    /// Rows that there are.
    pub rows_in_all: usize,
    /// The greatest distance of a probability of at least 2^-126 from the reference, in units in the last place of
    /// the output's type. Log-probabilities are judged by their absolute error, so they have none.
    pub worst_ulp: Option<f64>,
    /// The greatest error over what its budget allows.
    pub worst_share: f64,
    /// The worst element, if it is outside its budget.
    pub wrong: Option<Wrong>,
}

impl Verdict {
    /// Adds what another check found.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.elements += other.elements;
        self.worst_ulp = self.worst_ulp.into_iter().chain(other.worst_ulp).reduce(f64::max);
        self.worst_share = self.worst_share.max(other.worst_share);
        if let Some(wrong) = other.wrong
            && self.wrong.as_ref().is_none_or(|w| w.share < wrong.share)
        {
            self.wrong = Some(wrong);
        }
    }

    /// Notes one element; `unit` is what to state its distance in, if that means anything.
    fn note(&mut self, at: (usize, Option<usize>), budget: Budget, got: f32, unit: Option<Dtype>) {
        let judged = budget.judge(got);
        let error = (f64::from(got) - budget.want).abs();
        let share = share(&budget, got, error, judged.ulps, judged.ok);
        self.elements += 1;
        self.worst_share = self.worst_share.max(share);
        if let Some(unit) = unit {
            let distance = match unit {
                // From the reference rounded to f32: whole units.
                Dtype::F32 => f64::from(judged.ulps),
                Dtype::F16 => error / f16_ulp(budget.want),
                Dtype::Bf16 => error / bf16_ulp(budget.want),
            };
            self.worst_ulp = Some(self.worst_ulp.unwrap_or(0.0).max(distance));
        }
        if !judged.ok && self.wrong.as_ref().is_none_or(|w| w.share < share) {
            self.wrong = Some(Wrong { row: at.0, column: at.1, got, want: budget.want, share });
        }
    }
}

/// The error over what is allowed: above 1 exactly for what is not.
fn share(budget: &Budget, got: f32, error: f64, ulps: u32, ok: bool) -> f64 {
    let special = !budget.want.is_finite() || !got.is_finite();
    let raw = match (special, budget.absolute == 0.0) {
        (true, _) => f64::from(u8::from(!ok)) * f64::MAX,
        (false, true) => f64::from(ulps) / budget.ulps,
        (false, false) => error / (budget.absolute + budget.ulps * f32_ulp(budget.want)),
    };
    if ok { raw.min(1.0) } else { raw.max(1.0 + f64::EPSILON) }
}

/// How results were made, as far as their budget depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// The schedule that computed them.
    pub schedule: Schedule,
    /// How they were stored.
    pub output: Dtype,
    /// Log-probabilities.
    pub log: bool,
}

/// Holds one row of results against the reference's.
pub fn check_row(row: usize, want: &Row, making: Making, got: &[f32], lse: Option<f32>) -> Verdict {
    let budgets = RowBudget::new(want, making.schedule, making.output);
    let mut verdict = Verdict { rows: 1, ..Verdict::default() };
    for (column, &got) in got.iter().enumerate() {
        let at = (row, Some(column));
        if making.log {
            verdict.note(at, budgets.log_probability(column), got, None);
            continue;
        }
        let budget = budgets.probability(column);
        let normal = budget.want >= f64::from(f32::MIN_POSITIVE);
        verdict.note(at, budget, got, normal.then_some(making.output));
    }
    if let Some(lse) = lse {
        verdict.note((row, None), budgets.lse(), lse, None);
        // The log-sum-exp is not an element of the result.
        verdict.elements -= 1;
    }
    verdict
}

/// Holds the results of a job against the reference.
pub fn check(job: &Job, outcome: &Outcome) -> Verdict {
    let rows = sample(job.rows, (ALL_ELEMENTS / job.cols.max(1)).max(2));
    let making = Making { schedule: outcome.variant.schedule, output: job.output, log: job.log };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(rows.len().max(1));
    let work = |first: usize| {
        let mut verdict = Verdict::default();
        for &row in rows.iter().skip(first).step_by(threads) {
            let want = reference_row(job, row);
            let got = &outcome.dst[row * job.cols..(row + 1) * job.cols];
            verdict.merge(check_row(row, &want, making, got, outcome.lse.get(row).copied()));
        }
        verdict
    };
    let mut verdict = Verdict { rows_in_all: job.rows, ..Verdict::default() };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || work(first))).collect();
        for worker in workers {
            match worker.join() {
                Ok(part) => verdict.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    verdict
}

/// What is wrong with the first of these rows that anything is wrong with, looked at by all cores.
pub fn first_wrong(rows: &[usize], wrong: impl Fn(usize) -> Option<String> + Sync) -> Option<String> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(rows.len().max(1));
    let wrong = &wrong;
    let parts = thread::scope(|scope| {
        let part = |rows| scope.spawn(move || <[usize]>::iter(rows).find_map(|&row| wrong(row)));
        let workers: Vec<_> = rows.chunks(rows.len().div_ceil(threads).max(1)).map(part).collect();
        workers.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    parts.into_iter().find_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// At most `most` of `rows` rows (at least 2), evenly spread from the first to the last.
pub fn sample(rows: usize, most: usize) -> Vec<usize> {
    if rows <= most {
        return (0..rows).collect();
    }
    (0..most).map(|i| i * (rows - 1) / (most - 1)).collect()
}

/// The reference's result of one row, as a problem of that row alone: what it shares with others is looked up here,
/// not by the map that the GPU uses.
pub fn reference_row(job: &Job, row: usize) -> Row {
    let one = |values| ReferenceShared { values, map: RowMap::one() };
    let position = (row % job.queries.max(1)) as i64 + i64::from(job.causal.unwrap_or(0));
    let position = i32::try_from(position).unwrap_or(i32::MAX);
    let scalars = |shared: &'_ Option<crate::broadcast::Shared<f32>>| shared.as_ref().map(|s| s.row(row)[0]);
    let (temperature, slope, sink) = (scalars(&job.temperature), scalars(&job.slopes), scalars(&job.sinks));
    let length = job.lengths.as_ref().map(|l| l.row(row)[0]);
    if job.cols == 0 {
        return row_without_columns(sink.map(|s| f64::from(s) / f64::from(temperature.unwrap_or(1.0))));
    }
    let noise = job.noise_of(row);
    let problem = Problem {
        seeds: noise.as_ref().map(|s| ReferenceShared { values: std::slice::from_ref(s), map: RowMap::one() }),
        scale: job.scale,
        soft_cap: job.soft_cap,
        positions: job.positioned().then_some(Causal { queries: 1, offset: position }),
        causal: job.causal.is_some(),
        slopes: slope.as_ref().map(|s| one(std::slice::from_ref(s))),
        mask: job.mask.as_ref().map(|(m, _)| one(m.row(row))),
        temperature: temperature.as_ref().map(|t| one(std::slice::from_ref(t))),
        lengths: length.as_ref().map(|l| ReferenceShared { values: std::slice::from_ref(l), map: RowMap::one() }),
        sinks: sink.as_ref().map(|s| one(std::slice::from_ref(s))),
        empty_row: job.empty_row,
        ..Problem::new(&job.src[row * job.cols..(row + 1) * job.cols], job.cols)
    };
    problem.row(0)
}

/// All the mass there is, is the sink's.
fn row_without_columns(sink: Option<f64>) -> Row {
    Row {
        probabilities: Vec::new(),
        log_probabilities: Vec::new(),
        lse: sink.unwrap_or(f64::NEG_INFINITY),
        logit_errors: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_both_ends() {
        assert_eq!(sample(3, 5), [0, 1, 2]);
        let rows = sample(1000, 10);
        assert_eq!((rows.len(), rows[0], rows[9]), (10, 0, 999));
        assert_eq!(sample(7, 2), [0, 6]);
        assert!(sample(0, 2).is_empty());
    }

    #[test]
    fn a_wrong_element_is_found_and_named() {
        let job = Job::new(vec![0.0; 8], 2, 4);
        let want = reference_row(&job, 1);
        let making = Making { schedule: Schedule::Stream, output: Dtype::F32, log: false };
        let good = check_row(1, &want, making, &[0.25; 4], None);
        assert_eq!((good.wrong, good.worst_ulp), (None, Some(0.0)));
        let bad = check_row(1, &want, making, &[0.25, 0.25, 0.250_001, 0.25], None);
        let wrong = bad.wrong.unwrap();
        assert_eq!((wrong.row, wrong.column), (1, Some(2)));
        let nan = check_row(1, &want, making, &[f32::NAN, 0.25, 0.25, 0.25], None);
        assert_eq!(nan.wrong.unwrap().column, Some(0));
    }
}
