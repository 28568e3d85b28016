//! `onesum run sample`: columns drawn with the probabilities of a softmax.

use std::path::PathBuf;

use onesum::conformance::Adapter;
use onesum::sample::{Status, Variant};
use serde::Serialize;

use super::{Logits, axis_of, check_name, ends_in, operands, paths, rows_and_cols, to_stdout};
use crate::device::{self, Clock};
use crate::draws::Draws;
use crate::elements::dtype;
use crate::failure::{Failure, variant};
use crate::plot;
use crate::tensor::{Dtype, Files, Tensor, move_axis_last};
use crate::terminal::{remark, say, say_json};

const EXAMPLES: &str = "\
Each row, that is each line along the axis, gives the column of the greatest
logit + mask + temperature * noise, which is drawn as from softmax((logit + mask) / temperature).
Draw n of row r (rows counted from 0) has the noise of seed S + r at position P + n, on every
device the same. Where nothing can be drawn the file has 4294967295 (every column excluded),
4294967294 (NaN, or a temperature that has no distribution) or 4294967293 (+inf).

Examples:
  onesum run sample --input logits.npy --output tokens.npy
  onesum run sample --input logits.npy --output tokens.npy --temperature 0.7 --seed 42 --position 17
  onesum run sample --input logits.npy --output draws.npy --count 1000 --plot draws.svg
  onesum run sample --input logits.npy --output tokens.npy --k 8 --logprobs logprobs.npy

Files: .npy (f16, f32; f64 is narrowed) and .safetensors (f16, f32, bf16); the result is a .npy
file of u32, the draws of a row as its last axis; with --k above 1, one more axis. Variants
called sample/block... draw from the same distribution, but other columns. Choices are compared with the CPU's before they
are written; if one differs, nothing is (exit code 3). Of many draws a sample is compared; the
report says so.";

/// What to draw, from what.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Logits: a .npy or .safetensors file
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// Where the columns go: a .npy file, of u32
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Name of the tensor in a .safetensors file
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Axis to draw along; -1 is the last
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    axis: i64,
    /// One temperature, or a file with one per row (or broadcast to the rows). 0 takes the arg max
    #[arg(long, value_name = "F|FILE", allow_hyphen_values = true)]
    temperature: Option<String>,
    /// Additive mask, broadcast to the logits as NumPy does; f32 or f16
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Columns that may be drawn, one bit each: a .npy file of u32 or i32 words, 32 columns to a word, the lowest bit
    /// first, [.., ceil(columns / 32)], broadcast to the rows
    #[arg(long, value_name = "FILE")]
    bits: Option<PathBuf>,
    /// Valid columns: numbers with commas, or a file; one in all, one per row, or one per entry of the first dimension
    #[arg(long, value_name = "N,N..|FILE")]
    lengths: Option<String>,
    /// Seed of the first row; the next row has the next one
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Position of the first draw; the next draw has the next one
    #[arg(long, value_name = "P", default_value_t = 0)]
    position: u64,
    /// Draws from each row
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    count: u32,
    /// Columns of each draw, without replacement, best first
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    k: u32,
    /// Where log-probabilities go: f32, of each draw the log-sum-exp, then the log-probability of each of its columns
    #[arg(long, value_name = "FILE")]
    logprobs: Option<PathBuf>,
    /// Draw a picture of what was drawn: of the first rows, the likeliest columns' expected and drawn shares; an .svg file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Variant to run, by name (`onesum wgsl --list sample`) [default: the best for shape and adapter]
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    #[command(flatten)]
    choice: device::Choice,
    /// Do not compare with the CPU
    #[arg(long)]
    no_check: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Spoil the last choice before the check: so that a test can see a wrong result refused
    #[arg(long, hide = true)]
    plant_fault: bool,
}

/// The report in JSON. Field names are stable; fields may be added.
#[derive(Serialize)]
struct Record {
    kernel: &'static str,
    input: String,
    output: String,
    shape: Vec<usize>,
    axis: usize,
    rows: usize,
    cols: usize,
    /// Draws from each row.
    count: u32,
    /// Columns of each draw.
    k: u32,
    seed: u64,
    position: u64,
    /// Draws that gave no column.
    none: usize,
    adapter: Adapter,
    variant: String,
    time_ms: f64,
    time_method: &'static str,
    /// Draws that were compared with the CPU's, all equal. Null with --no-check.
    compared: Option<usize>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (logits, job) = prepare(args)?;
    let gpu = args.choice.open(args.adapter.as_deref())?;
    let mut drawn = job.draw(&gpu)?;
    if args.plant_fault
        && let Some(word) = drawn.words.last_mut()
    {
        *word ^= 1;
    }
    let compared = if args.no_check { None } else { Some(job.compare(&drawn)?) };
    let mut shape = rows_and_cols(&logits.moved).0.to_vec();
    shape.push(job.count as usize);
    let mut scored = shape.clone();
    scored.push(job.k as usize + 1);
    if job.k > 1 {
        shape.push(job.k as usize);
    }
    let mut files = Files::default();
    if let Some(path) = &args.logprobs {
        let data = drawn.logprobs.clone();
        files.tensor(path, "logprobs", &Tensor { shape: scored, dtype: Dtype::F32, data, note: None })?;
    }
    if let Some(path) = &args.plot {
        files.text(path, &plot::svg(&job, &drawn)?)?;
    }
    // Last: where it is, all is.
    files.indices(&args.output, &shape, &drawn.words)?;
    files.commit()?;
    if let Some(note) = &logits.tensor.note {
        remark(&format!("{}: {note}", args.input.display()));
    }
    let record = Record {
        kernel: "sample",
        input: args.input.display().to_string(),
        output: args.output.display().to_string(),
        shape: logits.tensor.shape.clone(),
        axis: logits.axis,
        rows: job.rows,
        cols: job.cols,
        count: job.count,
        k: job.k,
        seed: job.seed,
        position: job.position,
        none: drawn.words.iter().filter(|&&w| !matches!(Status::of(w), Status::Column(_))).count(),
        adapter: Adapter::new(&gpu.info),
        variant: drawn.variant.to_string(),
        time_ms: drawn.seconds * 1e3,
        time_method: Clock::method(&gpu),
        compared,
    };
    report(args, &record, job.rows * job.count as usize)
}

fn check_paths(args: &Args) -> Result<(), Failure> {
    let inputs = [
        paths::named("--input", Some(&args.input)),
        paths::named("--mask", args.mask.as_ref()),
        paths::named("--bits", args.bits.as_ref()),
        paths::named("--tuning", args.choice.tuning.as_ref()),
        paths::named_text("--temperature", args.temperature.as_ref()),
        paths::named_text("--lengths", args.lengths.as_ref()),
    ];
    let logprobs = paths::named("--logprobs", args.logprobs.as_ref());
    let output = paths::named("--output", Some(&args.output));
    paths::check(&inputs, &[output, logprobs, paths::named("--plot", args.plot.as_ref())])?;
    // Pipes and devices need no ending.
    let file = !args.output.exists() || args.output.is_file();
    if file && !ends_in(&args.output, "npy") {
        return Err(Failure::usage("--output makes a file that ends in .npy for indices"));
    }
    paths::check_tensors(&[logprobs])
}

fn prepare(args: &Args) -> Result<(Logits, Draws), Failure> {
    let variant = args.variant.as_deref().map(variant::<Variant>).transpose()?;
    check_paths(args)?;
    if args.plot.as_ref().is_some_and(|p| !ends_in(p, "svg")) {
        return Err(Failure::usage("--plot makes a file that ends in .svg"));
    }
    check_name(args.tensor.as_deref(), &[&args.input])?;
    let mut tensor = Tensor::read(&args.input, args.tensor.as_deref())?;
    let axis = axis_of(&args.input, &tensor, args.axis)?;
    let (src, moved) = move_axis_last(&tensor.data, &tensor.shape, axis);
    tensor.data = Vec::new();
    let (dims, cols) = rows_and_cols(&moved);
    let job = Draws {
        input: dtype(tensor.dtype),
        mask: args.mask.as_deref().map(|path| operands::mask(path, axis, &moved)).transpose()?,
        bits: args.bits.as_deref().map(|path| operands::bits(path, dims, cols)).transpose()?,
        temperature: args
            .temperature
            .as_deref()
            .map(|text| operands::temperature(text, dims, 2_f32.powi(96)))
            .transpose()?,
        lengths: args.lengths.as_deref().map(|text| operands::lengths(text, dims)).transpose()?,
        seed: args.seed,
        position: args.position,
        k: args.k,
        logprobs: args.logprobs.is_some(),
        variant,
        ..Draws::new(src, dims.iter().product(), cols, args.count)
    };
    if variant.is_some_and(|v| v.input != job.input) {
        return Err(Failure::usage(format!(
            "--variant reads another element type than the {} of the input",
            tensor.dtype
        )));
    }
    Ok((Logits { tensor, axis, moved }, job))
}

fn report(args: &Args, record: &Record, draws: usize) -> Result<(), Failure> {
    if to_stdout(&args.output) || args.logprobs.as_deref().is_some_and(to_stdout) {
        return Ok(());
    }
    if args.json {
        return say_json(record);
    }
    let check = match record.compared {
        None => "not compared".to_owned(),
        Some(n) if n == draws => format!("all {n} draws as on the CPU"),
        Some(n) => format!("{n} of {draws} draws, a sample: as on the CPU"),
    };
    let none = if record.none > 0 { format!(", {} of them none", record.none) } else { String::new() };
    say(&format!(
        "adapter  {}\nvariant  {}\nshape    {:?}, axis {}: {} rows of {}\ndraws    {} of each row{none}, seed {}, position {}\n\
         time     {:.3} ms ({})\ncheck    {check}\n",
        record.adapter.line(),
        record.variant,
        record.shape,
        record.axis,
        record.rows,
        record.cols,
        record.count,
        record.seed,
        record.position,
        record.time_ms,
        record.time_method,
    ))
}
