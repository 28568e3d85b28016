//! `onesum run`: a kernel on tensors in files.

mod gumbel;
mod operands;
pub mod paths;
mod route;
mod sample;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use onesum::conformance::Adapter;
use onesum::softmax::{EmptyRow, Variant};
use serde::Serialize;

use crate::check::{self, Verdict};
use crate::device;
use crate::elements::dtype;
use crate::failure::{Failure, variant};
use crate::job::{Job, Outcome};
use crate::tensor::{Dtype, Files, Tensor, move_axis_back, move_axis_last, resolve_axis};
use crate::terminal::{remark, say, say_json};
use paths::Named;

/// Run a kernel on tensors in files.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    kernel: Kernel,
}

#[derive(Subcommand)]
enum Kernel {
    /// Softmax along one axis, with everything that is usually fused into it
    #[command(after_help = EXAMPLES)]
    Softmax(Box<SoftmaxArgs>),
    /// Gumbel-Softmax along one axis: a softmax of logits with noise, the same on every device
    Gumbel(Box<gumbel::Args>),
    /// Draw columns along one axis with the probabilities of a softmax, the same on every device
    Sample(Box<sample::Args>),
    /// Choose the experts of each token of a mixture of experts, and plan and count what they get
    Route(Box<route::Args>),
}

const EXAMPLES: &str = "\
Each row, that is each line along the axis, becomes exp(x) / sum(exp(x)), where x is made from
the logits in this order: * scale; softcap * tanh(x / softcap); + slope * (column - position);
+ mask; / temperature. Columns that --causal or --lengths exclude count for nothing.

With the axis moved last, the second-last dimension counts queries, the third-last heads.

Examples:
  onesum run softmax --input x.npy --output y.npy
  onesum run softmax --input x.npy --output y.npy --axis 0 --log --lse lse.npy
  onesum run softmax --input scores.npy --output p.npy --scale 0.125 --causal --mask mask.npy
  onesum run softmax --input m.safetensors --tensor logits --output p.npy --temperature 0.7
  onesum run softmax --input x.npy --output y.npy --variant softmax/stream/f32/baseline/w256/x4

Files: .npy (f16, f32; f64 is narrowed) and .safetensors (f16, f32, bf16); C or Fortran order,
any rank, empty too. The result is held against the CPU reference before it is written; one
outside its error budget is not written (exit code 3). Of more than 2^26 elements, a sample of
the rows is checked; the report says so.";

/// What to do, on what.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "these are switches of a command line")]
pub struct SoftmaxArgs {
    /// Logits: a .npy or .safetensors file
    #[arg(long, short, value_name = "FILE")]
    pub input: PathBuf,
    /// Where the result goes: a .npy or .safetensors file
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Name of the tensor in a .safetensors file (the output gets the same name)
    #[arg(long, value_name = "NAME")]
    pub tensor: Option<String>,
    /// Axis to normalise along; -1 is the last
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub axis: i64,
    /// Factor on the logits
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub scale: Option<f32>,
    /// One temperature, or a file with one per row (or broadcast to the rows). 0 puts everything on the arg max
    #[arg(long, visible_alias = "tau", value_name = "F|FILE", allow_hyphen_values = true)]
    pub temperature: Option<String>,
    /// Additive mask, broadcast to the logits as NumPy does: [Q,K], [B,1,Q,K], [B,1,1,K], [K]; f32 or f16
    #[arg(long, value_name = "FILE")]
    pub mask: Option<PathBuf>,
    /// Query q sees columns 0 to q + OFFSET only
    #[arg(long, value_name = "OFFSET", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    #[arg(allow_negative_numbers = true)]
    pub causal: Option<i32>,
    /// Soft cap c: logits become c * tanh(x / c)
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    pub softcap: Option<f32>,
    /// One more logit per head (or one in all, or broadcast to the rows) that takes mass but has no output
    #[arg(long, value_name = "FILE")]
    pub sinks: Option<PathBuf>,
    /// `ALiBi` slopes per head (or one in all); positions count queries, from --causal's OFFSET if given
    #[arg(long, value_name = "FILE")]
    pub alibi: Option<PathBuf>,
    /// Valid columns: numbers with commas, or a file; one in all, one per row, or one per entry of the first dimension
    #[arg(long, value_name = "N,N..|FILE")]
    pub lengths: Option<String>,
    /// Log-probabilities instead of probabilities
    #[arg(long)]
    pub log: bool,
    /// Write the log-sum-exp of each row here, as f32
    #[arg(long, value_name = "FILE")]
    pub lse: Option<PathBuf>,
    /// Use one GPU buffer for logits and result
    #[arg(long)]
    pub in_place: bool,
    /// What becomes of rows in which every column is excluded
    #[arg(long, value_enum, default_value_t = EmptyRowArg::Nan)]
    pub empty_row: EmptyRowArg,
    /// Element type of the result [default: the input's]
    #[arg(long, value_name = "f32|f16|bf16")]
    pub dtype: Option<Dtype>,
    /// Variant to run, by name (`onesum wgsl --list`) [default: the best for shape and adapter]
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    pub adapter: Option<String>,
    #[command(flatten)]
    pub choice: device::Choice,
    /// Bind at most so many bytes at a time [default: the adapter's limit, or 1 GiB]
    #[arg(long, value_name = "BYTES")]
    pub batch_bytes: Option<u64>,
    /// Do not check the result against the CPU reference
    #[arg(long)]
    pub no_check: bool,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// Spoil the last value before the check: so that a test can see a wrong result refused
    #[arg(long, hide = true)]
    pub plant_fault: bool,
}

/// Rows in which every column is excluded.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EmptyRowArg {
    /// Probability 0 (log-probability -inf), as `where=` gives in JAX
    Zero,
    /// NaN, as in `PyTorch`
    Nan,
}

/// The report in JSON. Field names are stable; fields may be added.
#[derive(Serialize)]
struct Record<'a> {
    kernel: &'static str,
    input: String,
    output: String,
    shape: &'a [usize],
    /// The axis, counted from the first.
    axis: usize,
    rows: usize,
    cols: usize,
    /// Element types of input and output.
    input_dtype: String,
    output_dtype: String,
    /// What reading changed: a narrowed type.
    note: Option<&'a str>,
    adapter: Adapter,
    variant: String,
    /// Batches of rows that the adapter's limits made necessary.
    batches: usize,
    /// Time of the kernel, without transfers, and what it was measured by.
    time_ms: f64,
    time_method: &'static str,
    /// Null with --no-check.
    check: Option<CheckRecord>,
}

#[derive(Serialize)]
struct CheckRecord {
    ok: bool,
    rows: usize,
    rows_in_all: usize,
    elements: usize,
    /// In units in the last place of the output's type, for probabilities of at least 2^-126; null for
    /// log-probabilities, which are judged by absolute error.
    worst_ulp: Option<f64>,
    /// Greatest error over what the budget allows.
    worst_share_of_budget: f64,
}

impl CheckRecord {
    fn new(verdict: &Verdict) -> Self {
        Self {
            ok: verdict.wrong.is_none(),
            rows: verdict.rows,
            rows_in_all: verdict.rows_in_all,
            elements: verdict.elements,
            worst_ulp: verdict.worst_ulp,
            worst_share_of_budget: verdict.worst_share,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.kernel {
        Kernel::Softmax(args) => {
            check_paths(args, None)?;
            let (logits, job) = prepare(args)?;
            execute(args, "softmax", &logits, &job, |_| Ok(()))
        }
        Kernel::Gumbel(args) => gumbel::run(args),
        Kernel::Sample(args) => sample::run(args),
        Kernel::Route(args) => route::run(args),
    }
}

/// The logits with the axis moved last.
struct Logits {
    tensor: Tensor,
    axis: usize,
    /// The shape with the axis last.
    moved: Vec<usize>,
}

/// Computes, checks, writes and reports. `more` adds files of its own.
fn execute(
    args: &SoftmaxArgs,
    kernel: &'static str,
    logits: &Logits,
    job: &Job,
    more: impl FnOnce(&mut Files) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let gpu = args.choice.open(args.adapter.as_deref())?;
    let mut outcome = job.run(&gpu)?;
    if args.plant_fault
        && let Some(value) = outcome.dst.last_mut()
    {
        *value += 0.01;
    }
    let verdict = (!args.no_check).then(|| check::check(job, &outcome));
    if let Some(wrong) = verdict.as_ref().and_then(|v| v.wrong.as_ref()) {
        return Err(outside(wrong, logits, &outcome));
    }
    let record = Record {
        kernel,
        input: args.input.display().to_string(),
        output: args.output.display().to_string(),
        shape: &logits.tensor.shape,
        axis: logits.axis,
        rows: job.rows,
        cols: job.cols,
        input_dtype: logits.tensor.dtype.to_string(),
        output_dtype: output_dtype(args, logits).to_string(),
        note: logits.tensor.note.as_deref(),
        adapter: Adapter::new(&gpu.info),
        variant: outcome.variant.to_string(),
        batches: outcome.batches,
        time_ms: outcome.seconds * 1e3,
        time_method: outcome.clock,
        check: verdict.as_ref().map(CheckRecord::new),
    };
    let mut files = Files::default();
    more(&mut files)?;
    stage(&mut files, args, logits, &outcome)?;
    files.commit()?;
    if let Some(note) = record.note {
        remark(&format!("{}: {note}", args.input.display()));
    }
    report(args, &record)
}

fn output_dtype(args: &SoftmaxArgs, logits: &Logits) -> Dtype {
    args.dtype.unwrap_or(logits.tensor.dtype)
}

/// Whether each output, `more` ones too, is a file of its own.
fn check_paths(args: &SoftmaxArgs, more: Option<Named<'_>>) -> Result<(), Failure> {
    let inputs = [
        paths::named("--input", Some(&args.input)),
        paths::named("--mask", args.mask.as_ref()),
        paths::named("--sinks", args.sinks.as_ref()),
        paths::named("--alibi", args.alibi.as_ref()),
        paths::named("--tuning", args.choice.tuning.as_ref()),
        paths::named_text("--temperature", args.temperature.as_ref()),
        paths::named_text("--lengths", args.lengths.as_ref()),
    ];
    let outputs = [paths::named("--output", Some(&args.output)), paths::named("--lse", args.lse.as_ref()), more];
    paths::check(&inputs, &outputs)?;
    paths::check_tensors(&outputs)
}

/// Reads all files and puts the job together: all that can be wrong without an adapter is found here. Paths have been checked.
fn prepare(args: &SoftmaxArgs) -> Result<(Logits, Job), Failure> {
    let variant = args.variant.as_deref().map(variant::<Variant>).transpose()?;
    check_name(args.tensor.as_deref(), &[&args.input, &args.output])?;
    let mut tensor = Tensor::read(&args.input, args.tensor.as_deref())?;
    let axis = axis_of(&args.input, &tensor, args.axis)?;
    let (values, moved) = move_axis_last(&tensor.data, &tensor.shape, axis);
    tensor.data = Vec::new();
    let logits = Logits { tensor, axis, moved };
    let output = output_dtype(args, &logits);
    check_output(args, output)?;
    if args.in_place && output != logits.tensor.dtype {
        let message = format!("--in-place needs one element type, got {} and {output}", logits.tensor.dtype);
        return Err(Failure::usage(message));
    }
    let (dims, cols) = rows_and_cols(&logits.moved);
    let mut job = Job {
        input: dtype(logits.tensor.dtype),
        output: dtype(output),
        log: args.log,
        lse: args.lse.is_some(),
        in_place: args.in_place,
        empty_row: match args.empty_row {
            EmptyRowArg::Zero => EmptyRow::Zero,
            EmptyRowArg::Nan => EmptyRow::Nan,
        },
        scale: args.scale,
        soft_cap: args.softcap,
        queries: dims.last().copied().unwrap_or(1),
        causal: args.causal,
        variant,
        batch_bytes: args.batch_bytes,
        ..Job::new(values, dims.iter().product(), cols)
    };
    operands::read(args, logits.axis, &logits.moved, &mut job)?;
    Ok((logits, job))
}

/// The dimensions that rows are counted over, and the columns.
fn rows_and_cols(moved: &[usize]) -> (&[usize], usize) {
    moved.split_last().map_or((&[], 0), |(&cols, dims)| (dims, cols))
}

/// What can be known to fail when writing, before any work is done.
fn check_output(args: &SoftmaxArgs, output: Dtype) -> Result<(), Failure> {
    // The tensor module says how; an empty tensor tells whether name and type go together.
    if ends_in(&args.output, "npy") && output == Dtype::Bf16 {
        return Err(named(
            &args.output,
            "bf16 has no .npy dtype: choose --dtype f32 or f16, or a file name that ends in .safetensors",
        ));
    }
    Ok(())
}

/// There must be a folder for a file that is to be written.
fn check_folder(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(named(path, "cannot write: it is a folder"));
    }
    match path.parent().filter(|f| !f.as_os_str().is_empty() && !f.is_dir()) {
        Some(folder) => Err(named(path, format!("cannot write: there is no folder {}", folder.display()))),
        None => Ok(()),
    }
}

fn ends_in(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
}

/// A name of a tensor is for a file that has names.
fn check_name(tensor: Option<&str>, files: &[&Path]) -> Result<(), Failure> {
    if tensor.is_some() && files.iter().all(|path| ends_in(path, "npy")) {
        return Err(Failure::usage("--tensor is for .safetensors files: a .npy file has no names"));
    }
    Ok(())
}

/// The axis of the logits, counted from the first.
fn axis_of(path: &Path, logits: &Tensor, axis: i64) -> Result<usize, Failure> {
    if logits.shape.is_empty() {
        return Err(named(path, "logits need at least one axis: a single number has no axes"));
    }
    resolve_axis(axis, logits.shape.len()).map_err(|e| named(path, e))
}

/// An error about a file.
fn named(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::Error(format!("{}: {what}", path.display()))
}

/// Log-sum-exp first: a result that is there means that all is there.
fn stage(files: &mut Files, args: &SoftmaxArgs, logits: &Logits, outcome: &Outcome) -> Result<(), Failure> {
    if let Some(path) = &args.lse {
        let shape = rows_and_cols(&logits.moved).0.to_vec();
        let lse = Tensor { shape, dtype: Dtype::F32, data: outcome.lse.clone(), note: None };
        files.tensor(path, "lse", &lse)?;
    }
    let (data, shape) = move_axis_back(&outcome.dst, &logits.moved, logits.axis);
    let result = Tensor { shape, dtype: output_dtype(args, logits), data, note: None };
    Ok(files.tensor(&args.output, args.tensor.as_deref().unwrap_or("softmax"), &result)?)
}

fn outside(wrong: &check::Wrong, logits: &Logits, outcome: &Outcome) -> Failure {
    let place = match wrong.column {
        None => format!("log-sum-exp of row {:?}", index(wrong.row, rows_and_cols(&logits.moved).0)),
        Some(column) => {
            let mut at = index(wrong.row, rows_and_cols(&logits.moved).0);
            at.insert(logits.axis, column);
            format!("index {at:?}")
        }
    };
    Failure::OutsideBudget(format!(
        "the result of {} is outside its error budget at {place}: got {:e}, the reference has {:e}; nothing was written",
        outcome.variant, wrong.got, wrong.want
    ))
}

/// The index of the `n`-th entry of an array of these dimensions.
fn index(mut n: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for (place, &d) in at.iter_mut().zip(dims).rev() {
        *place = n % d.max(1);
        n /= d.max(1);
    }
    at
}

/// A report must not run into a result that goes to standard output.
fn to_stdout(path: &Path) -> bool {
    ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|s| path == Path::new(s))
}

fn report(args: &SoftmaxArgs, record: &Record<'_>) -> Result<(), Failure> {
    if to_stdout(&args.output) || args.lse.as_deref().is_some_and(to_stdout) {
        return Ok(());
    }
    if args.json {
        return say_json(record);
    }
    let check = match &record.check {
        None => "not checked".to_owned(),
        Some(check) => line_of(check),
    };
    let batches = if record.batches > 1 { format!(" in {} batches of rows", record.batches) } else { String::new() };
    say(&format!(
        "adapter  {}\nvariant  {}{batches}\nshape    {:?} {} to {}, axis {}: {} rows of {}\ntime     {:.3} ms ({})\ncheck    {check}\n",
        record.adapter.line(),
        record.variant,
        record.shape,
        record.input_dtype,
        record.output_dtype,
        record.axis,
        record.rows,
        record.cols,
        record.time_ms,
        record.time_method,
    ))
}

fn line_of(check: &CheckRecord) -> String {
    // Log-probabilities have no worst ULP.
    let worst = check.worst_ulp.map_or(String::new(), |ulp| format!("worst {ulp:.3} ULP, ").replace(".000 ", " "));
    let sample =
        if check.rows < check.rows_in_all { format!(" of {}, a sample", check.rows_in_all) } else { String::new() };
    format!(
        "{worst}{:.0} % of the error budget at most ({} elements, {} rows{sample})",
        check.worst_share_of_budget * 100.0,
        check.elements,
        check.rows
    )
}
