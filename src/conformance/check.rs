//! What is checked of every run, and the faults that the checks must find.

use std::fmt;

use super::Case;
use super::data::{Data, spec};
use super::tape::{Freedom, Loose, loose};
use crate::accuracy::{Budget, RowBudget};
use crate::sample::Status;
use crate::softmax::Dtype;

/// Why a case failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// An element is outside its budget.
    Value {
        /// `dst` or `lse`.
        what: &'static str,
        /// Its row.
        row: u32,
        /// Its column.
        column: u32,
        /// What the device gave.
        got: f32,
        /// What the reference gives.
        want: f64,
        /// The distance in f32 ULP.
        ulps: u32,
        /// The ULP that are allowed.
        allowed: f64,
        /// How many elements of the case are outside.
        count: usize,
    },
    /// Another column was chosen than the reference chooses.
    Choice {
        /// The row.
        row: u32,
        /// What the device chose.
        got: Status,
        /// What the reference chooses.
        want: Status,
        /// How many rows of the case are wrong.
        count: usize,
    },
    /// An integer, or a float that has to be the same to the bit, is another than the reference's.
    Word {
        /// The output.
        what: &'static str,
        /// Its row.
        row: u32,
        /// Its column.
        column: u32,
        /// What the device gave.
        got: u32,
        /// What the reference gives.
        want: u32,
        /// How many elements of the case are wrong.
        count: usize,
    },
    /// A word outside every window was written.
    GuardTouched {
        /// The operand.
        what: &'static str,
        /// The element's index in the buffer.
        index: usize,
    },
    /// An input was written.
    InputChanged {
        /// The element's index in the buffer.
        index: usize,
    },
    /// A second run gave other bits.
    NotRepeatable {
        /// The byte's index in the output's buffer.
        index: usize,
    },
    /// The case could not be built, bound or run.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { what, row, column, got, want, ulps, allowed, count } => write!(
                f,
                "{what}[{row}, {column}] is {got:e}, not {want:e}: {ulps} ULP, {allowed} allowed; {count} such in all"
            ),
            Self::Choice { row, got, want, count } => {
                write!(f, "row {row} chose {got:?}, not {want:?}; {count} such rows in all")
            }
            Self::Word { what, row, column, got, want, count } => {
                write!(f, "{what}[{row}, {column}] is {got:#x}, not {want:#x}; {count} such in all")
            }
            Self::GuardTouched { what, index } => {
                write!(f, "{what}: element {index}, outside of every row, was written")
            }
            Self::InputChanged { index } => write!(f, "src: element {index} was changed"),
            Self::NotRepeatable { index } => write!(f, "a second run differs at byte {index}"),
            Self::Broken(message) => f.write_str(message),
        }
    }
}

/// The first word that is not the reference's, of rows of `cols`.
pub(super) fn same_words(what: &'static str, cols: usize, got: &[u32], want: &[u32]) -> Result<(), Failure> {
    if got.len() != want.len() {
        return Err(Failure::Broken(format!("{what}: {} words, not {}", got.len(), want.len())));
    }
    let wrong: Vec<_> = (0..got.len()).filter(|&i| got[i] != want[i]).collect();
    let Some(&first) = wrong.first() else { return Ok(()) };
    let (row, column) = ((first / cols.max(1)) as u32, (first % cols.max(1)) as u32);
    Err(Failure::Word { what, row, column, got: got[first], want: want[first], count: wrong.len() })
}

/// A fault to plant into a correct result: the suite is only worth something if it finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two rows exchanged.
    SwappedRows,
    /// The last column of a row left as it was before.
    DroppedTail,
    /// Two columns of a row exchanged.
    ExchangedColumns,
    /// One element one ULP beyond its budget.
    OneUlpBeyond,
    /// One element written past the end of a row.
    GuardTouched,
    /// One element of the input changed.
    InputChanged,
    /// The second run differs in one bit.
    NotRepeatable,
    /// One NaN where a number should be.
    Nan,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SwappedRows,
        Self::DroppedTail,
        Self::ExchangedColumns,
        Self::OneUlpBeyond,
        Self::GuardTouched,
        Self::InputChanged,
        Self::NotRepeatable,
        Self::Nan,
    ];
}

/// A device's results, read back: whole buffers, decoded.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub layout: Layout,
    /// Every element of the output's buffer after each of two runs, as bits of f32.
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// The input's buffer before and after. Empty for in-place work.
    pub src_before: Vec<f32>,
    pub src_after: Vec<f32>,
    pub lse: Vec<f32>,
}

/// Where rows lie in the output's buffer, in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub offset: usize,
    pub stride: usize,
    pub rows: usize,
    pub cols: usize,
}

impl Layout {
    fn index(&self, row: usize, column: usize) -> usize {
        self.offset + row * self.stride + column
    }

    /// Whether an element of the buffer belongs to a row.
    pub fn contains(&self, index: usize) -> bool {
        index.checked_sub(self.offset).is_some_and(|i| i / self.stride < self.rows && i % self.stride < self.cols)
    }
}

/// What the output's buffer holds before a run, outside of rows ever after: -2^-5, which no correct output is.
pub(super) const PATTERN: f32 = -0.031_25;

/// The worst distance within the budget, or what is wrong.
pub(super) fn check(case: &Case, data: &Data, results: &Results) -> Result<u32, Failure> {
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits();
    let first_difference = |a: &[f32], b: &[f32]| a.iter().zip(b).position(|(&x, &y)| !same(x, y));
    if let Some(index) = first_difference(&results.first, &results.second) {
        return Err(Failure::NotRepeatable { index });
    }
    if let Some(index) = first_difference(&results.src_before, &results.src_after) {
        return Err(Failure::InputChanged { index });
    }
    let layout = &results.layout;
    let touched = |(i, &x): (usize, &f32)| !layout.contains(i) && !same(x, PATTERN);
    if let Some(index) = results.first.iter().enumerate().position(touched) {
        return Err(Failure::GuardTouched { what: "dst", index });
    }
    values(case, data, results)
}

fn values(case: &Case, data: &Data, results: &Results) -> Result<u32, Failure> {
    let problem = data.problem(case);
    let (mut worst, mut count, mut first) = (0, 0, None);
    let spec = spec(case);
    let mut look = |what, row: usize, column: usize, got: f32, budget: Budget| {
        let verdict = budget.judge(got);
        if verdict.ok {
            worst = worst.max(if budget.absolute == 0.0 { verdict.ulps } else { 0 });
            return;
        }
        count += 1;
        first.get_or_insert(Failure::Value {
            what,
            row: row as u32,
            column: column as u32,
            got,
            want: budget.want,
            ulps: verdict.ulps,
            allowed: budget.ulps,
            count: 0,
        });
    };
    for row in 0..case.rows as usize {
        let want = problem.row(row);
        let budgets = RowBudget::new(&want, case.variant.schedule, case.variant.output);
        for column in 0..case.cols as usize {
            let budget = if spec.log { budgets.log_probability(column) } else { budgets.probability(column) };
            look("dst", row, column, results.first[results.layout.index(row, column)], budget);
        }
        if let Some(&got) = results.lse.get(row) {
            look("lse", row, 0, got, budgets.lse());
        }
    }
    match first {
        None => Ok(worst),
        Some(Failure::Value { what, row, column, got, want, ulps, allowed, .. }) => {
            Err(Failure::Value { what, row, column, got, want, ulps, allowed, count })
        }
        Some(other) => Err(other),
    }
}

/// How far each element of the output may be off, row by row, as bytes of the buffer it is in.
pub(super) fn loose_rows(case: &Case, data: &Data, layout: &Layout) -> Vec<Loose> {
    let (problem, spec, output) = (data.problem(case), spec(case), case.variant.output);
    let rows = (0..layout.rows).flat_map(|row| {
        let want = problem.row(row);
        let budgets = RowBudget::new(&want, case.variant.schedule, output);
        let budget = |column| if spec.log { budgets.log_probability(column) } else { budgets.probability(column) };
        let elements = (0..layout.cols).map(|column| Freedom::Within(budget(column).interval()));
        loose(output, layout.index(row, 0) as u64 * output.bytes(), elements)
    });
    rows.collect()
}

/// The same of the log-sum-exps.
pub(super) fn loose_lse(case: &Case, data: &Data) -> Vec<Loose> {
    let problem = data.problem(case);
    let elements = (0..case.rows as usize).map(|row| {
        let want = problem.row(row);
        Freedom::Within(RowBudget::new(&want, case.variant.schedule, case.variant.output).lse().interval())
    });
    loose(Dtype::F32, 0, elements)
}

/// `results` with a fault in them.
pub(super) fn planted(case: &Case, data: &Data, results: &Results, fault: Fault) -> Results {
    let mut r = results.clone();
    let layout = r.layout;
    let (a, b) = (layout.index(0, 0), layout.index(0, layout.cols - 1));
    match fault {
        Fault::SwappedRows => {
            for c in 0..layout.cols {
                r.first.swap(layout.index(0, c), layout.index(1, c));
            }
            r.second.clone_from(&r.first);
        }
        Fault::DroppedTail => both(&mut r, b, |_| PATTERN),
        Fault::ExchangedColumns => {
            r.first.swap(a, b);
            r.second.swap(a, b);
        }
        Fault::OneUlpBeyond => {
            let row = data.problem(case).row(0);
            let budget = RowBudget::new(&row, case.variant.schedule, case.variant.output).probability(0);
            both(&mut r, a, |_| {
                let mut x = budget.want as f32;
                for _ in 0..=(budget.ulps as u32) {
                    x = x.next_up();
                }
                x
            });
        }
        Fault::GuardTouched => both(&mut r, b + 1, |_| 0.0),
        Fault::InputChanged => r.src_after[layout.offset] += 1.0,
        Fault::NotRepeatable => r.second[a] = f32::from_bits(r.second[a].to_bits() ^ 1),
        Fault::Nan => both(&mut r, a, |_| f32::NAN),
    }
    r
}

fn both(r: &mut Results, index: usize, change: impl Fn(f32) -> f32) {
    r.first[index] = change(r.first[index]);
    r.second[index] = change(r.second[index]);
}
