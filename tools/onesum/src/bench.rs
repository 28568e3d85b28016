//! `onesum bench`: speed, beside a copy kernel and rival algorithms in the same run.

pub mod contest;
pub mod permuting;
mod raw;
pub mod report;
pub mod rounds;
pub mod routing;
pub mod sampling;

use std::path::PathBuf;
use std::str::FromStr;

use indicatif::{ProgressBar, ProgressStyle};
use onesum::conformance::Adapter;
use onesum::host::Gpu;
use onesum::softmax::{Dtype, Schedule, Shape, Spec, Tier, Variant};
use onesum::{Caps, Library};
use onesum::{permute, sample};

use crate::device;
use crate::failure::Failure;
use crate::tensor::Files;
use crate::terminal::say;
use contest::Contest;
use rounds::Plan;

/// Rows and columns that are measured unless `--shape` says otherwise.
pub const SHAPES: [(u32, u32); 8] = [
    (16_384, 128),
    (4096, 1024),
    (2048, 4096),
    (512, 32_768),
    (64, 131_072),
    (8, 151_936),
    (4, 262_144),
    (1, 1_048_576),
];

/// What `--quick` measures.
const QUICK_SHAPES: [(u32, u32); 4] = [(4096, 128), (1024, 1024), (512, 4096), (64, 32_768)];

const HELP: &str = "\
Examples:
  onesum bench --quick                               a first impression in under a minute
  onesum bench --json bench.json --csv bench.csv     all shapes, with records
  onesum bench stream --shape 2048x4096              every variant named *stream* (f32, x4)
  onesum bench softmax/stream/f16                    f16: a filter may name element types
  onesum bench sample                                sampling: against a bare read, an arg max, and softmax
                                                     followed by the inverse of its distribution function
  onesum bench route                                 MoE routing: against a bare read, or a dispatch that does
                                                     nothing; plan, load and expert choice beside it
  onesum bench permute                               dispatch and combine of tokens, against a copy
  onesum bench route --shape 4096x256x8 --variant router/row/f32/baseline/w256l32/x4

Method: uniform random logits in [-10, 10) from a fixed seed. Every variant's result is held
against the CPU reference (on a sample of rows) before it is timed; one outside its error
budget is shown as WRONG and not timed (exit code 3). Time is the GPU's own (timestamps) where
it offers that, else, and on CPU adapters, from submit to done of several dispatches. Buffers
rotate past the last cache. Competitors take turns: copy, A, B, C, copy, A, B, C, ...; 'x copy'
is the time per byte over that of the copy in the same round, as median and quartiles. The copy
is the fastest of the copy kernels. GB/s counts one read and one write of each element.
Of sampling, 'x read' is the time over that of a kernel that only reads; every draw is compared with
the CPU's (on a sample of rows); temperature 0.7, a seed a row.
Of routing, rows are a softmax of the chosen (route), the way of a model where that is another thing, the plan
after a routing (x route: over that routing alone), the load, and the choice by experts; all are compared with the
CPU's to the bit, the load within its error budget. Of permutations, 'x copy' is per byte read and written.";

/// Measure speed against a copy kernel and rival algorithms.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Measure the variants whose names contain this [default: the chosen one, the best of each
    /// other schedule, and the rivals]
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Fewer repeats, four small shapes
    #[arg(long)]
    quick: bool,
    /// Write records as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write records as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    #[command(flatten)]
    choice: device::Choice,
    /// Measure these shapes, such as 2048x4096; of routing 4096x256x8 (tokens, experts, choices), of permutations
    /// 1024x4096x8 (tokens, elements, choices)
    #[arg(long = "shape", value_name = "RxC", num_args = 1..)]
    shapes: Vec<ShapeArg>,
    /// Of routing and permutations, run this variant, by name (`onesum wgsl --list`) [default: the best for shape and adapter]
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// Rounds per shape
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
}

/// `2048x4096`, `4096x256x8`.
#[derive(Clone, Copy, Debug)]
pub struct ShapeArg(pub u32, pub u32, pub Option<u32>);

impl FromStr for ShapeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<u32>> =
            text.split(['x', 'X']).map(|n| n.trim().parse().ok().filter(|&n| n > 0)).collect();
        match numbers.as_deref() {
            Some(&[rows, cols]) => Ok(Self(rows, cols, None)),
            Some(&[rows, cols, choices]) => Ok(Self(rows, cols, Some(choices))),
            _ => Err("expected ROWSxCOLUMNS, both at least 1, such as 2048x4096".to_owned()),
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Softmax,
    Sample,
    Route,
    Permute,
}

impl Subject {
    fn of(filter: Option<&str>) -> Self {
        match filter {
            Some("route") => Self::Route,
            Some("permute") => Self::Permute,
            Some(filter) if filter.starts_with("sample") => Self::Sample,
            _ => Self::Softmax,
        }
    }

    fn is_routed(self) -> bool {
        matches!(self, Self::Route | Self::Permute)
    }

    /// Rows, columns, and choices where rows are routed.
    fn shapes(self, quick: bool) -> Vec<(u32, u32, u32)> {
        let plain = |shapes: &[(u32, u32)]| shapes.iter().map(|&(rows, cols)| (rows, cols, 0)).collect();
        match (self, quick) {
            (Self::Softmax, true) => plain(&QUICK_SHAPES),
            (Self::Softmax, false) => plain(&SHAPES),
            (Self::Sample, true) => plain(&sampling::QUICK_SHAPES),
            (Self::Sample, false) => plain(&sampling::SHAPES),
            (Self::Route, true) => routing::QUICK_SHAPES.to_vec(),
            (Self::Route, false) => routing::SHAPES.to_vec(),
            (Self::Permute, true) => permuting::QUICK_SHAPES.to_vec(),
            (Self::Permute, false) => permuting::SHAPES.to_vec(),
        }
    }
}

/// The variants that were named, by kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Named {
    routing: routing::Variants,
    permute: Option<permute::Variant>,
}

fn named(subject: Subject, names: &[String]) -> Result<Named, Failure> {
    let mut all = Named::default();
    if !names.is_empty() && !subject.is_routed() {
        return Err(Failure::usage("--variant is for `bench route` and `bench permute`: others take a filter"));
    }
    for name in names {
        let family = name.split('/').next().unwrap_or_default();
        match (family, subject) {
            ("plan", Subject::Route) => all.routing.plan = Some(name.parse()?),
            ("stats", Subject::Route) => all.routing.stats = Some(name.parse()?),
            ("expert_choice", Subject::Route) => all.routing.expert_choice = Some(name.parse()?),
            (_, Subject::Route) => all.routing.router = Some(name.parse()?),
            _ => all.permute = Some(name.parse()?),
        }
    }
    Ok(all)
}

/// What is measured: as the command line says, or the usual.
fn shapes(args: &Args, subject: Subject) -> Result<Vec<(u32, u32, u32)>, Failure> {
    if args.shapes.is_empty() {
        return Ok(subject.shapes(args.quick));
    }
    let shape = |&ShapeArg(rows, cols, choices): &ShapeArg| match (subject, choices) {
        (Subject::Softmax | Subject::Sample, Some(_)) => {
            Err(Failure::usage("--shape has two numbers, ROWSxCOLUMNS: only rows that are routed have choices"))
        }
        (Subject::Route, None) => Ok((rows, cols, 8.min(cols))),
        (_, choices) => Ok((rows, cols, choices.unwrap_or(8))),
    };
    args.shapes.iter().map(shape).collect()
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    for path in [&args.json, &args.csv].into_iter().flatten() {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if folder.is_some_and(|f| !f.is_dir()) {
            return Err(Failure::error(format!("{}: cannot write: there is no such folder", path.display())));
        }
    }
    let filter = args.filter.as_deref();
    let subject = Subject::of(filter);
    let shapes = shapes(args, subject)?;
    let variants = named(subject, &args.variants)?;
    let names: Vec<_> = match subject {
        Subject::Softmax => Variant::all().map(|v| v.to_string()).collect(),
        Subject::Sample => sample::Variant::all().map(|v| v.to_string()).collect(),
        Subject::Route | Subject::Permute => Vec::new(),
    };
    if let Some(filter) = filter.filter(|f| !subject.is_routed() && !names.iter().any(|name| name.contains(f))) {
        return Err(Failure::error(format!("no variant's name contains {filter:?}; `onesum wgsl --list` lists them")));
    }
    let gpu = args.choice.open(args.adapter.as_deref())?;
    let plan = Plan::new(&gpu, args.quick, args.repeats);
    say(&format!("{}\n{}\n", Adapter::new(&gpu.info).line(), plan.line()))?;
    let mut records = Vec::new();
    let mut tell = |result: &rounds::Outcome| {
        records.extend(report::records(result));
        say(&report::table(result))
    };
    for (rows, cols, choices) in shapes {
        let shape = Shape::new(rows, cols);
        match (subject, filter) {
            (Subject::Route, _) => tell(&one_routing(&gpu, &plan, (rows, cols, choices), variants.routing)?)?,
            (Subject::Permute, _) => {
                let types = permuting::TYPES.iter().filter(|&&t| variants.permute.is_none_or(|v| v.input == t));
                for &dtype in types {
                    tell(&one_permutation(&gpu, &plan, (rows, cols, choices), dtype, variants.permute)?)?;
                }
            }
            (Subject::Sample, Some(filter)) => tell(&one_sampling(&gpu, &plan, shape, filter)?)?,
            _ => tell(&one_shape(&gpu, &plan, shape, filter)?)?,
        }
    }
    let report = report::Report::new(&gpu, &plan, records);
    let mut files = Files::default();
    if let Some(path) = &args.json {
        files.text(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(path) = &args.csv {
        files.text(path, &report.csv())?;
    }
    files.commit()?;
    if report.wrong() > 0 {
        return Err(Failure::OutsideBudget(format!("{} results are outside their error budget", report.wrong())));
    }
    Ok(())
}

fn one_shape(gpu: &Gpu, plan: &Plan, shape: Shape, filter: Option<&str>) -> Result<rounds::Outcome, Failure> {
    let variants = match filter {
        None => interesting(&gpu.library, shape),
        Some(filter) => matching(gpu.library.caps(), &shape, filter),
    };
    let logits = contest::random_logits(shape.rows as usize * shape.cols as usize);
    let bar = progress(&shape);
    let mut contest = Contest::new(gpu, plan, shape, &logits)?;
    for variant in variants {
        bar.set_message(format!("checking {variant}"));
        contest.enter(variant)?;
    }
    bar.set_length(u64::from(plan.repeats));
    bar.set_message("timing");
    let outcome = contest.run(|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(outcome)
}

fn one_sampling(gpu: &Gpu, plan: &Plan, shape: Shape, filter: &str) -> Result<rounds::Outcome, Failure> {
    let logits = contest::random_logits(shape.rows as usize * shape.cols as usize);
    let bar = progress(&shape);
    bar.set_message("checking");
    let contest = sampling::contest(gpu, plan, shape, &logits, filter)?;
    bar.set_length(u64::from(plan.repeats));
    bar.set_message("timing");
    let outcome = contest.run(|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(outcome)
}

fn one_routing(
    gpu: &Gpu,
    plan: &Plan,
    shape: (u32, u32, u32),
    variants: routing::Variants,
) -> Result<rounds::Outcome, Failure> {
    let bar = progress(&Shape::new(shape.0, shape.1));
    bar.set_message("checking");
    let mut contest = routing::Contest::new(gpu, plan, shape, variants)?;
    contest.enter_all()?;
    bar.set_length(u64::from(plan.repeats));
    bar.set_message("timing");
    let outcome = contest.run(|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(outcome)
}

fn one_permutation(
    gpu: &Gpu,
    plan: &Plan,
    shape: (u32, u32, u32),
    dtype: Dtype,
    variant: Option<permute::Variant>,
) -> Result<rounds::Outcome, Failure> {
    let bar = progress(&Shape::new(shape.0, shape.1));
    bar.set_message("checking");
    let mut contest = permuting::Contest::new(gpu, plan, shape, dtype, variant)?;
    contest.enter_all()?;
    bar.set_length(u64::from(plan.repeats));
    bar.set_message("timing");
    let outcome = contest.run(|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(outcome)
}

/// Drawn only when standard error is a terminal: indicatif sees to that.
fn progress(shape: &Shape) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
    let bar = ProgressBar::new(1).with_prefix(format!("{} x {}", shape.rows, shape.cols));
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// The chosen variant, then the likeliest of each other schedule, the rivals last.
fn interesting(library: &Library, shape: Shape) -> Vec<Variant> {
    let (caps, chosen) = (library.caps(), library.choose(&Spec::new(shape)));
    let mut list = vec![chosen];
    for schedule in Schedule::ALL {
        let likeliest = runnable(caps, &shape)
            .filter(|v| v.schedule == schedule && (v.input, v.output) == (Dtype::F32, Dtype::F32))
            .filter(|v| v.quads == shape.quads && (v.width <= 8) == caps.cpu)
            .filter(|v| v.tier == Tier::select(caps, v.width, v.lanes))
            // The tightest that keeps a row on chip; the widest of those that keep none.
            .min_by_key(|v| (if v.keep > 0 { v.max_columns() } else { 0 }, u32::MAX - v.width));
        list.extend(likeliest.filter(|&v| v != chosen));
    }
    list
}

/// Those whose name contains `filter`: f32 and the shape's own x4 or x1, unless the filter speaks of that.
fn matching(caps: &Caps, shape: &Shape, filter: &str) -> Vec<Variant> {
    let types = filter.contains("16");
    let moves = filter.contains("x1") || filter.contains("x4");
    runnable(caps, shape)
        .filter(|v| v.to_string().contains(filter))
        .filter(|v| types || (v.input, v.output) == (Dtype::F32, Dtype::F32))
        .filter(|v| if moves { !v.quads || shape.quads } else { v.quads == shape.quads })
        .collect()
}

fn runnable<'a>(caps: &'a Caps, shape: &'a Shape) -> impl Iterator<Item = Variant> + 'a {
    Variant::all().filter(|v| v.supported(caps).is_ok() && v.max_columns() >= shape.cols)
}
