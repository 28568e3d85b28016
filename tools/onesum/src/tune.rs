//! `onesum tune`: the fastest variants of an adapter, measured, as a file that the library takes.

mod fields;
mod grid;
mod knockout;
mod merge;

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use onesum::host::Gpu;
use onesum::softmax::Dtype;
use onesum::tuning::{Adapter, Entry, Sizes, Tunable, Tuning, Variants};

use crate::bench::definitions::{Size, Types};
use crate::bench::rounds::{Plan, Runner, Spread, Standing};
use crate::bench::too_large;
use crate::failure::Failure;
use crate::tensor::{self, Files};
use crate::terminal::say;
use crate::{device, elements, run};
use knockout::knock_out;

const HELP: &str = "\
Examples:
  onesum tune -o tuning.toml                              all kernels, some minutes
  onesum tune --kernel softmax sample --budget-seconds 60 -o tuning.toml
  onesum tune --kernel softmax --dtype f16 --shape 64x32000 8x32000 -o tuning.toml
  onesum run softmax --tuning tuning.toml -i x.npy -o y.npy

Method: at each shape every variant that this adapter can run is held against the CPU reference; one
that is wrong is shown, left out, and makes the exit code 3. The others take turns, few rounds at
first; what is clearly slower drops out, the rest gets more rounds, and the last few are compared
with the default choice in rounds of their own. Another variant is written only where it was at
least 3 % faster than the default at the median and faster in three rounds of four; elsewhere the default
is. Sampling by blocks draws other tokens, and rivals are less accurate: they take no part.

The file names the adapter. The library uses the nearest entry for a shape up to a factor of four
away, and its own choice elsewhere: onesum::tuning.";

/// Find the fastest variants of an adapter.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Where the tuning goes: a .toml file (`-`: to standard output, instead of text)
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Tune these kernels [default: all]
    #[arg(long = "kernel", value_enum, value_name = "KERNEL", num_args = 1..)]
    kernels: Vec<Kernel>,
    /// Element types, of softmax, dispatch and combine; of the others, f32 is tuned
    #[arg(long = "dtype", value_name = "f32|f16|bf16", num_args = 1.., default_value = "f32")]
    dtypes: Vec<tensor::Dtype>,
    /// Tune for these shapes, such as 64x32000; of routing 4096x256x8 (tokens, experts, choices), of dispatch and combine
    /// 1024x4096x8 (tokens, elements, choices) [default: a grid]
    #[arg(long = "shape", value_name = "RxC", num_args = 1..)]
    shapes: Vec<Size>,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    /// Share so many seconds among the shapes; those that it does not suffice for are left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    budget_seconds: Option<u64>,
    /// Count this variant's results as wrong: so that a test can see it left out
    #[arg(long, value_name = "NAME", hide = true)]
    plant_fault: Option<String>,
}

/// A table of a tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kernel {
    Softmax,
    /// Softmax with Gumbel noise
    Gumbel,
    Sample,
    Router,
    Plan,
    Dispatch,
    Combine,
    Stats,
    ExpertChoice,
}

impl Kernel {
    fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Gumbel => "gumbel",
            Self::Sample => "sample",
            Self::Router => "router",
            Self::Plan => "plan",
            Self::Dispatch => "dispatch",
            Self::Combine => "combine",
            Self::Stats => "stats",
            Self::ExpertChoice => "expert_choice",
        }
    }

    fn takes_types(self) -> bool {
        matches!(self, Self::Softmax | Self::Dispatch | Self::Combine)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let to_stdout = run::paths::is_stdout(&args.output);
    if !to_stdout {
        run::paths::check(&[], &[run::paths::named("--output", Some(&args.output))])?;
    }
    let gpu = device::open(args.adapter.as_deref())?;
    let mut tuner = Tuner::new(args, &gpu, to_stdout)?;
    let tuning = tuner.tune()?;
    tuner.bar.finish_and_clear();
    tuner.sum_up()?;
    if tuning.variants == Variants::default() && tuner.wrong.is_empty() && tuner.left_out == 0 {
        return Err(Failure::error("nothing was measured: no variant runs here with these shapes"));
    }
    if to_stdout {
        say(&tuning.to_toml())?;
    } else {
        let mut files = Files::default();
        files.text(&args.output, &tuning.to_toml())?;
        files.commit()?;
    }
    match tuner.wrong.len() {
        0 => Ok(()),
        n => Err(Failure::OutsideBudget(format!(
            "{n} results are outside their error budget: {}",
            tuner.wrong.join("; ")
        ))),
    }
}

/// A pass over kernels and shapes.
struct Tuner<'a> {
    args: &'a Args,
    gpu: &'a Gpu,
    plan: Plan,
    quiet: bool,
    bar: ProgressBar,
    end: Option<Instant>,
    /// Shapes still to come, of all kernels.
    left: u32,
    left_out: u32,
    /// The default's time over the best one's, everywhere, and where.
    gains: Vec<(f64, String)>,
    /// What is wrong, and where.
    wrong: Vec<String>,
}

impl<'a> Tuner<'a> {
    fn new(args: &'a Args, gpu: &'a Gpu, quiet: bool) -> Result<Self, Failure> {
        // A variant is checked at every shape: a few rows each will do.
        let mut plan = Plan::new(gpu, true, None)?;
        (plan.checked, plan.cold) = (1 << 15, false);
        let style = ProgressStyle::with_template("{elapsed} [{bar:24}] {pos}/{len} {wide_msg}");
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut tuner = Self {
            args,
            gpu,
            plan,
            quiet,
            bar,
            end: args.budget_seconds.map(|n| Instant::now() + Duration::from_secs(n)),
            left: 0,
            left_out: 0,
            gains: Vec::new(),
            wrong: Vec::new(),
        };
        for kernel in tuner.kernels() {
            tuner.left += (tuner.shapes(kernel)?.len() * tuner.types(kernel).len()) as u32;
        }
        tuner.bar.set_length(tuner.left.into());
        tuner.say(&format!("{}\n{}\n", onesum::conformance::Adapter::new(&gpu.info).line(), tuner.plan.method))?;
        Ok(tuner)
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.bar.suspend(|| say(text)) }
    }

    fn kernels(&self) -> Vec<Kernel> {
        let asked = |k: &&Kernel| self.args.kernels.is_empty() || self.args.kernels.contains(k);
        Kernel::value_variants().iter().filter(asked).copied().collect()
    }

    fn types(&self, kernel: Kernel) -> Vec<Dtype> {
        let mut all: Vec<Dtype> = Vec::new();
        for &file in &self.args.dtypes {
            let dtype = elements::dtype(file);
            if !all.contains(&dtype) && (dtype == Dtype::F32 || kernel.takes_types()) {
                all.push(dtype);
            }
        }
        all
    }

    /// The grid's, or those of the command line.
    fn shapes(&self, kernel: Kernel) -> Result<Vec<Size>, Failure> {
        let has_choices = !matches!(kernel, Kernel::Softmax | Kernel::Gumbel | Kernel::Sample);
        let shape = |&size: &Size| match size.choices {
            0 if has_choices => Ok(Size { choices: 8.min(size.cols), ..size }),
            1.. if !has_choices => Err(Failure::usage(format!("--shape of {} has two numbers", kernel.name()))),
            _ => Ok(size),
        };
        let mut shapes: Vec<Size> = self.args.shapes.iter().map(shape).collect::<Result<_, _>>()?;
        if shapes.is_empty() {
            shapes = grid::of(kernel);
        }
        shapes.sort_unstable();
        shapes.dedup();
        Ok(shapes)
    }

    fn tune(&mut self) -> Result<Tuning, Failure> {
        let mut tuning = Tuning { adapter: Adapter::of(&self.gpu.info), ..Tuning::default() };
        let v = &mut tuning.variants;
        for kernel in self.kernels() {
            match kernel {
                Kernel::Softmax => v.softmax = self.table(kernel, fields::softmax_spec, fields::softmax)?,
                Kernel::Gumbel => v.gumbel = self.table(kernel, fields::gumbel_spec, fields::softmax)?,
                Kernel::Sample => v.sample = self.table(kernel, fields::sample_spec, fields::sample)?,
                Kernel::Router => v.router = self.table(kernel, fields::router_spec, fields::router)?,
                Kernel::Plan => v.plan = self.table(kernel, fields::plan_spec, fields::plan)?,
                Kernel::Dispatch => v.dispatch = self.table(kernel, fields::dispatch_spec, fields::dispatch)?,
                Kernel::Combine => v.combine = self.table(kernel, fields::combine_spec, fields::combine)?,
                Kernel::Stats => v.stats = self.table(kernel, fields::stats_spec, fields::stats)?,
                Kernel::ExpertChoice => {
                    v.expert_choice =
                        self.table(kernel, crate::bench::routing::expert_choice_spec, fields::expert_choice)?;
                }
            }
        }
        tuning.check()?;
        Ok(tuning)
    }

    /// The entries of one kernel: `spec` asks for a shape, `field` checks who may take part in it.
    fn table<S: Tunable>(
        &mut self,
        kernel: Kernel,
        spec: fn(Size, Dtype) -> S,
        field: fields::Field<S>,
    ) -> Result<Vec<Entry<S::Variant>>, Failure> {
        let mut entries = Vec::new();
        let first_gain = self.gains.len();
        for dtype in self.types(kernel) {
            self.say(&format!("\n{} {}\n", kernel.name(), dtype.name()))?;
            let shapes = scattered(&self.shapes(kernel)?);
            let mut share = Share { end: self.share(shapes.len() as u32), left: shapes.len() as u32 };
            let mut measured = Vec::new();
            for shape in shapes {
                let spec = spec(shape, dtype);
                self.bar.set_message(format!("{} {}", kernel.name(), title(&spec.sizes())));
                let permutes = matches!(kernel, Kernel::Dispatch | Kernel::Combine);
                if let Some(why) = too_large(self.gpu, shape, Types::both(dtype), permutes) {
                    self.say(&format!("  {:18} not run: {why}\n", title(&spec.sizes())))?;
                    (self.left, share.left) = (self.left - 1, share.left - 1);
                    continue;
                }
                if let Some(best) = self.one(kernel, &spec, shape, field, &share)? {
                    measured.push((spec.sizes(), best));
                }
                self.bar.inc(1);
                (self.left, share.left) = (self.left - 1, share.left - 1);
            }
            entries.extend(merge::merged(&measured));
        }
        let gains = self.gains[first_gain..].iter();
        self.say(&format!("  {}\n", gain_line(gains)))?;
        Ok(entries)
    }

    /// When the next so many shapes should be done, of those that are left.
    fn share(&self, shapes: u32) -> Option<Instant> {
        self.end.map(|end| part(end, shapes, self.left))
    }

    /// The best variant at one shape, if there is time for it.
    fn one<S: Tunable>(
        &mut self,
        kernel: Kernel,
        spec: &S,
        shape: Size,
        field: fields::Field<S>,
        share: &Share,
    ) -> Result<Option<S::Variant>, Failure> {
        let end = share.end.map(|end| part(end, 1, share.left));
        if end.is_some_and(|end| end <= Instant::now()) {
            self.left_out += 1;
            return Ok(None);
        }
        let default = spec.select(self.gpu.library.caps());
        let candidates = spec.candidates(self.gpu.library.caps());
        let entered = field(self.gpu, &self.plan, spec, shape, &candidates)?;
        let mut runners: Vec<(S::Variant, Runner)> = Vec::new();
        for (variant, entrant) in candidates.into_iter().zip(entered) {
            match self.planted(&variant, entrant) {
                Ok(runner) => runners.push((variant, runner)),
                Err(Standing::Wrong(why)) => {
                    let place = format!("{variant} at {}: {why}", title(&spec.sizes()));
                    self.say(&format!("  WRONG {place}\n"))?;
                    self.wrong.push(place);
                }
                // What runs only with more memory, say, is no choice.
                Err(_) => {}
            }
        }
        let at = runners.iter().position(|(variant, _)| *variant == default);
        let (variants, mut runners): (Vec<_>, Vec<_>) = runners.into_iter().unzip();
        let Some(result) = knock_out(self.gpu, &self.plan, &mut runners, at, end)? else {
            self.say(&format!("  {:18} nothing runs\n", title(&spec.sizes())))?;
            return Ok(None);
        };
        let best = variants[result.best];
        self.say(&line(&spec.sizes(), &default, &best, result.gain))?;
        if let Some(gain) = result.gain {
            self.gains.push((gain.median, format!("{} {}", kernel.name(), title(&spec.sizes()))));
        }
        Ok(Some(best))
    }

    /// As it is, or wrong if a test has it so.
    fn planted(&self, variant: &impl Display, entrant: Result<Runner, Standing>) -> Result<Runner, Standing> {
        match &self.args.plant_fault {
            Some(name) if *name == variant.to_string() => Err(Standing::Wrong("planted".into())),
            _ => entrant,
        }
    }

    fn sum_up(&self) -> Result<(), Failure> {
        self.say(&format!("\nall: {}\n", gain_line(self.gains.iter())))?;
        match self.left_out {
            0 => Ok(()),
            n => self.say(&format!("left out: {n} shapes, for which there was no time\n")),
        }
    }
}

/// The time of a kernel and a type, and how many shapes have to share what is left of it.
struct Share {
    end: Option<Instant>,
    left: u32,
}

/// When `n` of `all` equal parts of the time until `end` are over.
fn part(end: Instant, n: u32, all: u32) -> Instant {
    let now = Instant::now();
    now + end.saturating_duration_since(now) * n / all.max(1)
}

/// Every fourth shape, then those between: should time run out, what is left out has neighbours.
fn scattered(shapes: &[Size]) -> Vec<Size> {
    [0, 2, 1, 3].into_iter().flat_map(|first| shapes.iter().skip(first).step_by(4).copied()).collect()
}

fn title(sizes: &Sizes) -> String {
    let choices = sizes.choices.filter(|&n| n > 1).map_or(String::new(), |n| format!(" x {n}"));
    format!("{} x {}{choices}", sizes.rows, sizes.cols)
}

/// A shape's line: the default, and what is faster by how much.
fn line<V: Display + PartialEq>(sizes: &Sizes, default: &V, best: &V, gain: Option<Spread>) -> String {
    let what = if best == default { default.to_string() } else { format!("{default} -> {best}") };
    let gain =
        gain.map_or("the default does not run".into(), |g| format!("{:.2} ({:.2}..{:.2})", g.median, g.q1, g.q3));
    format!("  {:18} {gain:18} {what}\n", title(sizes))
}

/// Median and greatest of the default's times over the best ones'.
fn gain_line<'g>(gains: impl Iterator<Item = &'g (f64, String)> + Clone) -> String {
    let others = gains.clone().filter(|(gain, _)| *gain > 1.0).count();
    let median = Spread::of(gains.clone().map(|(gain, _)| *gain)).median;
    match gains.clone().max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        None => "nothing was measured".to_owned(),
        Some((most, place)) => format!(
            "{} shapes, another variant in {others}; time of the default over the best: {median:.2} at the median, {most:.2} at \
             most ({place})",
            gains.count()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_shapes_are_all_of_them() {
        let shapes: Vec<Size> = (0..11).map(|n| Size { rows: n, cols: n, choices: n }).collect();
        let mut order = scattered(&shapes);
        assert_eq!(order.iter().map(|s| s.rows).collect::<Vec<_>>(), [0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7]);
        order.sort_unstable();
        assert_eq!(order, shapes);
    }

    #[test]
    fn grids_leave_no_shape_alone() {
        for &kernel in Kernel::value_variants() {
            let shapes = grid::of(kernel);
            let least = if matches!(kernel, Kernel::Stats | Kernel::ExpertChoice) { 64 } else { 1 };
            assert!(shapes.len() > 8 && shapes.iter().any(|s| s.rows == least), "{}", kernel.name());
            // A shape between two of them is within the radius of one.
            let octaves = |a: u32, b: u32| (f64::from(a) / f64::from(b)).log2().abs();
            for &Size { rows, cols, choices } in &shapes {
                for (r, c) in [(rows * 2, cols + cols / 2), (rows + rows / 2, cols * 2)] {
                    let near = |s: &Size| {
                        s.choices == choices && octaves(s.rows, r).hypot(octaves(s.cols, c)) <= onesum::tuning::RADIUS
                    };
                    assert!(shapes.iter().any(near), "{} {r} x {c}", kernel.name());
                }
            }
        }
    }
}
