//! What is checked of every run, and the faults that the checks must find.

use std::fmt;

use super::Case;
use super::data::{Data, spec};
use super::tape::{Freedom, Loose, loose};
use crate::accuracy::{Budget, RowBudget, Verdict};
use crate::sample::Status;
use crate::softmax::Dtype;

/// Why a case failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Elements of outputs are not what they should be.
    Elements {
        /// The first of them, in the order of the outputs.
        first: Vec<Element>,
        /// How many there are, as far as the check went.
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
    /// The library refuses what the case asks for.
    Refused(String),
    /// The device could not build or run it.
    Broken(String),
}

/// An element that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element {
    /// The output.
    pub what: &'static str,
    /// Its row.
    pub row: u32,
    /// Its column.
    pub column: u32,
    /// What the device gave, and what is right.
    pub difference: Difference,
}

/// What the device gave, and what is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Difference {
    /// Outside of its budget.
    Float {
        /// What the device gave.
        got: f32,
        /// What the reference gives.
        want: f64,
        /// The distance in f32 ULP.
        ulps: u32,
        /// The ULP that are allowed.
        allowed: f64,
    },
    /// An integer, or a float that has to be the same to the bit.
    Word {
        /// What the device gave.
        got: u32,
        /// What the reference gives.
        want: u32,
    },
    /// Another column than the reference chooses.
    Choice {
        /// What the device chose.
        got: Status,
        /// What the reference chooses.
        want: Status,
    },
}

/// As many wrong elements as are told of one by one.
const TOLD: usize = 8;

/// Wrong elements, as a check finds them.
#[derive(Default)]
pub(super) struct Findings {
    first: Vec<Element>,
    count: usize,
}

impl Findings {
    pub fn add(&mut self, what: &'static str, row: usize, column: usize, difference: Difference) {
        if self.first.len() < TOLD {
            self.first.push(Element { what, row: row as u32, column: column as u32, difference });
        }
        self.count += 1;
    }

    /// An element that a budget judges; whether it is within.
    pub fn judge(&mut self, what: &'static str, row: usize, column: usize, got: f32, budget: Budget) -> Verdict {
        let verdict = budget.judge(got);
        if !verdict.ok {
            let Budget { want, ulps: allowed, .. } = budget;
            self.add(what, row, column, Difference::Float { got, want, ulps: verdict.ulps, allowed });
        }
        verdict
    }

    /// Words of rows of `cols` that have to be the reference's.
    pub fn words(&mut self, what: &'static str, cols: usize, got: &[u32], want: &[u32]) {
        for (i, (&got, &want)) in got.iter().zip(want).enumerate().filter(|(_, (got, want))| got != want) {
            self.add(what, i / cols.max(1), i % cols.max(1), Difference::Word { got, want });
        }
    }

    pub fn verdict(self) -> Result<(), Failure> {
        if self.count == 0 { Ok(()) } else { Err(Failure::Elements { first: self.first, count: self.count }) }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}, {}] is ", self.what, self.row, self.column)?;
        match self.difference {
            Difference::Float { got, want, ulps, allowed } => {
                write!(f, "{got:e}, not {want:e}: {ulps} ULP, {allowed} allowed")
            }
            Difference::Word { got, want } => write!(f, "{got:#x}, not {want:#x}"),
            Difference::Choice { got, want } => write!(f, "{got:?}, not {want:?}"),
        }
    }
}

/// One line; the elements after the first have lines of their own in a report.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements { first, count } => match first.first() {
                Some(element) if *count > 1 => write!(f, "{element}; {count} such in all"),
                Some(element) => write!(f, "{element}"),
                None => write!(f, "{count} wrong elements"),
            },
            Self::GuardTouched { what, index } => {
                write!(f, "{what}: element {index}, outside of every row, was written")
            }
            Self::InputChanged { index } => write!(f, "src: element {index} was changed"),
            Self::NotRepeatable { index } => write!(f, "a second run differs at byte {index}"),
            Self::Refused(message) | Self::Broken(message) => f.write_str(message),
        }
    }
}

impl Failure {
    /// The wrong elements that are told of one by one, if it is about such.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        match self {
            Self::Elements { first, .. } => first,
            _ => &[],
        }
    }
}

/// That all words are the reference's, of rows of `cols`.
pub(super) fn same_words(what: &'static str, cols: usize, got: &[u32], want: &[u32]) -> Result<(), Failure> {
    if got.len() != want.len() {
        return Err(Failure::Broken(format!("{what}: {} words, not {}", got.len(), want.len())));
    }
    let mut findings = Findings::default();
    findings.words(what, cols, got, want);
    findings.verdict()
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
    let (mut worst, mut findings) = (0, Findings::default());
    let spec = spec(case);
    let mut look = |what, row, column, got, budget: Budget| {
        let verdict = findings.judge(what, row, column, got, budget);
        if verdict.ok && budget.absolute == 0.0 {
            worst = worst.max(verdict.ulps);
        }
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
    findings.verdict().map(|()| worst)
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
