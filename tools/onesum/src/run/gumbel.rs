//! `onesum run gumbel`: relaxed samples of rows of logits.

use std::path::PathBuf;

use onesum::noise::Stream;

use super::{SoftmaxArgs, check_paths, execute, paths, prepare, rows_and_cols};
use crate::failure::Failure;
use crate::job::Job;
use crate::tensor::{Dtype, Tensor, move_axis_back};

const EXAMPLES: &str = "\
Each row becomes softmax((x + g) / tau), where x are the logits as for `run softmax` and g is Gumbel
noise of (seed, position, column), the same on every device. Row r (from 0) has the seed S + r.
tau is --temperature (or --tau); 0, or --hard, gives exactly one 1, at the column that `run sample` draws.

Examples:
  onesum run gumbel --input logits.npy --output soft.npy --tau 0.5 --seed 42
  onesum run gumbel --input logits.npy --output one_hot.npy --hard --seed 42
  onesum run gumbel --input logits.npy --output soft.npy --noise-out g.npy

The result is held against the CPU reference before it is written, as for `run softmax`.";

/// What to relax, with which noise.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    softmax: SoftmaxArgs,
    /// One-hot rows, as a temperature of 0
    #[arg(long, conflicts_with = "temperature")]
    hard: bool,
    /// Seed of the first row; the next row has the next one
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Position in the stream
    #[arg(long, value_name = "P", default_value_t = 0)]
    position: u64,
    /// Write the noise here, as f32: the bits that the device has added
    #[arg(long, value_name = "FILE")]
    noise_out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let softmax = &args.softmax;
    check_paths(softmax, paths::named("--noise-out", args.noise_out.as_ref()))?;
    let (logits, mut job) = prepare(softmax)?;
    job.noise = Some(Stream { seed: args.seed, position: args.position });
    if args.hard {
        job.temperature = Some(crate::broadcast::Shared::one(0.0, rows_and_cols(&logits.moved).0));
    }
    execute(softmax, "gumbel", &logits, &job, |files| {
        let Some(path) = &args.noise_out else { return Ok(()) };
        let (data, shape) = move_axis_back(&noise(&job), &logits.moved, logits.axis);
        Ok(files.tensor(path, "noise", &Tensor { shape, dtype: Dtype::F32, data, note: None })?)
    })
}

/// The noise of all rows, as every device makes it.
fn noise(job: &Job) -> Vec<f32> {
    let rows = (0..job.rows).filter_map(|row| job.noise_of(row));
    rows.flat_map(|stream| (0..job.cols).map(move |column| stream.gumbel(column as u32))).collect()
}
