//! `onesum bench`: speed, beside a copy kernel and rival algorithms in the same run.

pub mod contest;
pub mod report;
pub mod rounds;
pub mod sampling;

use std::path::PathBuf;
use std::str::FromStr;

use indicatif::{ProgressBar, ProgressStyle};
use onesum::Caps;
use onesum::host::Gpu;
use onesum::sample;
use onesum::softmax::{Dtype, Schedule, Shape, Tier, Variant};

use crate::device::{self, AdapterRecord};
use crate::failure::Failure;
use crate::tensor::write_text;
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

Method: uniform random logits in [-10, 10) from a fixed seed. Every variant's result is held
against the CPU reference (on a sample of rows) before it is timed; one outside its error
budget is shown as WRONG and not timed (exit code 3). Time is the GPU's own (timestamps) where
it offers that, else, and on CPU adapters, from submit to done of several dispatches. Buffers
rotate past the last cache. Competitors take turns: copy, A, B, C, copy, A, B, C, ...; 'x copy'
is the time per byte over that of the copy in the same round, as median and quartiles. The copy
is the fastest of the copy kernels. GB/s counts one read and one write of each element.
Of sampling, 'x read' is the time over that of a kernel that only reads; every draw is compared with
the CPU's (on a sample of rows); temperature 0.7, a seed a row.";

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
    /// Measure these shapes, such as 2048x4096
    #[arg(long = "shape", value_name = "RxC", num_args = 1..)]
    shapes: Vec<ShapeArg>,
    /// Rounds per shape
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
}

/// `2048x4096`.
#[derive(Clone, Copy, Debug)]
struct ShapeArg(u32, u32);

impl FromStr for ShapeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected ROWSxCOLUMNS, both at least 1, such as 2048x4096".to_owned();
        let (rows, cols) = text.split_once(['x', 'X']).ok_or_else(wrong)?;
        match (rows.trim().parse(), cols.trim().parse()) {
            (Ok(rows), Ok(cols)) if rows > 0 && cols > 0 => Ok(Self(rows, cols)),
            _ => Err(wrong()),
        }
    }
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
    let draws = filter.is_some_and(|f| f.starts_with("sample"));
    let shapes: Vec<_> = match (&args.shapes[..], args.quick) {
        ([], true) if draws => sampling::QUICK_SHAPES.to_vec(),
        ([], false) if draws => sampling::SHAPES.to_vec(),
        ([], true) => QUICK_SHAPES.to_vec(),
        ([], false) => SHAPES.to_vec(),
        (given, _) => given.iter().map(|s| (s.0, s.1)).collect(),
    };
    let names: Vec<_> = if draws {
        sample::Variant::all().map(|v| v.to_string()).collect()
    } else {
        Variant::all().map(|v| v.to_string()).collect()
    };
    if let Some(filter) = filter.filter(|f| !names.iter().any(|name| name.contains(f))) {
        return Err(Failure::error(format!("no variant's name contains {filter:?}; `onesum wgsl --list` lists them")));
    }
    let gpu = device::open(args.adapter.as_deref())?;
    let plan = Plan::new(&gpu, args.quick, args.repeats);
    say(&format!("{}\n{}\n", AdapterRecord::new(&gpu.info).line(), plan.line()))?;
    let mut records = Vec::new();
    for (rows, cols) in shapes {
        let shape = Shape::new(rows, cols);
        let result = match filter {
            Some(filter) if draws => one_sampling(&gpu, &plan, shape, filter)?,
            _ => one_shape(&gpu, &plan, shape, filter)?,
        };
        say(&report::table(&result))?;
        records.extend(report::records(&result));
    }
    let report = report::Report::new(&gpu, &plan, records);
    if let Some(path) = &args.json {
        write_text(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(path) = &args.csv {
        write_text(path, &report.csv())?;
    }
    if report.wrong() > 0 {
        return Err(Failure::OutsideBudget(format!("{} results are outside their error budget", report.wrong())));
    }
    Ok(())
}

fn one_shape(gpu: &Gpu, plan: &Plan, shape: Shape, filter: Option<&str>) -> Result<rounds::Outcome, Failure> {
    let variants = match filter {
        None => interesting(gpu.library.caps(), &shape),
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
fn interesting(caps: &Caps, shape: &Shape) -> Vec<Variant> {
    let chosen = Variant::select(caps, shape, Dtype::F32, Dtype::F32);
    let mut list = vec![chosen];
    for schedule in Schedule::ALL {
        let likeliest = runnable(caps, shape)
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
