//! `onesum bench`: speed, beside a copy kernel and rival algorithms in the same run.

mod chart;
mod compare;
pub mod contest;
pub mod definitions;
mod group;
mod markdown;
pub mod permuting;
pub mod raw;
pub mod record;
mod report;
pub mod rounds;
pub mod routing;
pub mod sampling;
mod select;
mod splice;
mod variants;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use onesum::conformance::Adapter;
use onesum::host::Gpu;

use crate::device;
use crate::failure::Failure;
use crate::run::paths::{self, is_stdout, named, named_output};
use crate::tensor::Files;
use crate::terminal::say;
use definitions::{Case, Check, Definition, Preset, Size, Types, Work};
use record::{Report, Status};
use rounds::{Outcome, Plan};
use select::Wish;

const HELP: &str = "\
Examples:
  onesum bench                                       a first impression of every kernel: --preset quick
  onesum bench --preset llm --json llm.json          shapes of language models, with records
  onesum bench --preset paper                        two passes against three, 128 to 10^7 columns
  onesum bench --preset all --list                   what there is
  onesum bench softmax                               the definition of this name
  onesum bench sample route-deepseek                 all whose names contain one of these
  onesum bench softmax --variant stream --dtype f16  every variant named *stream* that has this type
  onesum bench route --shape 4096x256x8              another shape, of the first definition of a kernel
  onesum bench route --variant chosen plan/          the routing, and with every plan
  onesum bench --shape 300x5000                      without a name: of softmax
  onesum bench --definitions mine.toml               of one's own; benches/definitions/README.md has the form
  onesum bench compare before.json after.json        what became slower; exit code 3 if anything did
  onesum bench plot bench.json -o bench.svg          bandwidth against columns
  onesum bench report bench.json --into README.md    measured tables between a document's markers

A whole name means that definition, a part of one all in the preset (or in all) that have it.

Method: uniform random logits in [-10, 10) from a fixed seed. Every variant's result is held
against the CPU reference (on a sample of rows) before it is timed; one outside its error
budget is shown as WRONG and not timed (exit code 3). Time is the GPU's own (timestamps) where
it offers that, else, and on CPU adapters, from submit to done of several dispatches, of which
the cost of an empty submit is a part: it is measured and shown. Buffers rotate past the last
cache. Competitors warm up, then take turns: copy, A, B, C, copy, A, B, C, ...; 'x copy' is
the time per byte over that of the copy in the same round, as median and quartiles. The copy is
the fastest of the copy kernels. GB/s counts one read and one write of each element, and 'limit'
is its share of the copy's. 'noisy' is noted where the interquartile range of the yardstick's
times is more than a tenth of their median. 'first' is the time from a specification to the end
of the first dispatch with nothing compiled yet; a driver's own cache counts for it
(MESA_SHADER_CACHE_DISABLE=true turns off that of Mesa).
Of sampling, 'x read' is the time over that of a kernel that only reads; every draw is compared with
the CPU's (on a sample of rows); a seed a row.
Of routing, 'plan' is a plan after a routing (x route: over the first routing alone), 'stats' the load, and
'expert-choice' the choice by experts; all are compared with the CPU's to the bit, the load within its error
budget. Fewer than 64 tokens are compared with a dispatch that does nothing (x empty). Of permutations, 'x copy'
is per byte read and written.";

/// Measure speed against a copy kernel and rival algorithms.
#[derive(clap::Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    records: Option<Records>,
    /// Measure the definitions whose names contain one of these [default: all of the preset]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// A set of definitions [default: quick; with FILTER, all]
    #[arg(long, value_enum, value_name = "NAME")]
    preset: Option<Preset>,
    /// As --preset quick: few small shapes, fewer repeats
    #[arg(long, conflicts_with = "preset")]
    quick: bool,
    /// Show what would be measured, and measure nothing
    #[arg(long)]
    list: bool,
    /// Definitions from this file instead of those that are built in
    #[arg(long, value_name = "FILE")]
    definitions: Option<PathBuf>,
    /// Write records as JSON (`-`: to standard output, instead of tables)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write records as CSV (`-`: to standard output, instead of tables)
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the tables as Markdown (`-`: to standard output)
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    #[command(flatten)]
    choice: device::Choice,
    /// Measure these shapes instead, such as 2048x4096; of routing 4096x256x8 (tokens, experts, choices), of permutations
    /// 1024x4096x8 (tokens, elements, choices)
    #[arg(long = "shape", value_name = "RxC", num_args = 1..)]
    shapes: Vec<Size>,
    /// Measure these element types instead: f32, f16, bf16, or of input and output, f16-f32
    #[arg(long = "dtype", value_name = "TYPE", num_args = 1..)]
    types: Vec<Types>,
    /// Measure these variants instead: chosen, others, rivals, a schedule's name, or a part of a variant's name
    /// (`onesum wgsl --list`)
    #[arg(long = "variant", value_name = "WORD", num_args = 1..)]
    variants: Vec<String>,
    /// Rounds per shape [default: 21; of --preset quick 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
}

/// What is done with the records of earlier runs.
#[derive(clap::Subcommand)]
enum Records {
    Compare(compare::Args),
    Plot(chart::Args),
    Report(splice::Args),
}

impl Args {
    fn preset(&self) -> Option<Preset> {
        if self.quick { Some(Preset::Quick) } else { self.preset }
    }

    /// The preset that all of what is measured is of; where nothing was asked for, a first impression.
    fn preset_run(&self) -> Option<Preset> {
        let nothing =
            self.filters.is_empty() && self.shapes.is_empty() && self.types.is_empty() && self.variants.is_empty();
        let usual = (nothing && self.definitions.is_none()).then_some(Preset::Quick);
        self.preset().or(usual)
    }

    /// What is measured.
    fn chosen(&self) -> Result<Vec<Definition>, Failure> {
        let all = match &self.definitions {
            Some(path) => definitions::read(path)?,
            None => definitions::built_in()?,
        };
        let wish = Wish {
            own: self.definitions.is_some(),
            filters: &self.filters,
            preset: self.preset(),
            sizes: &self.shapes,
            types: &self.types,
            words: &self.variants,
        };
        let chosen = select::select(&all, wish)?;
        if chosen.is_empty() {
            return Err(Failure::error("no definition is in this preset: `onesum bench --list` lists all"));
        }
        Ok(chosen)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.records {
        Some(Records::Compare(args)) => return compare::run(args),
        Some(Records::Plot(args)) => return chart::run(args),
        Some(Records::Report(args)) => return splice::run(args),
        None => {}
    }
    let inputs = [named("--tuning", args.choice.tuning.as_ref()), named("--definitions", args.definitions.as_ref())];
    let outputs = [("--json", &args.json), ("--csv", &args.csv), ("--markdown", &args.markdown)];
    let to_stdout = outputs.iter().filter(|(_, path)| path.as_deref().is_some_and(is_stdout)).count();
    if to_stdout > 1 {
        return Err(Failure::usage("only one of --json, --csv and --markdown can go to standard output"));
    }
    let tell = |text: &str| if to_stdout == 0 { say(text) } else { Ok(()) };
    paths::check(&inputs, &outputs.map(|(what, path)| named_output(what, path.as_ref())))?;
    let chosen = args.chosen()?;
    if args.list {
        return say(&list(&chosen));
    }
    let gpu = args.choice.open(args.adapter.as_deref())?;
    let mut plan = Plan::new(&gpu, args.preset_run() == Some(Preset::Quick), args.repeats)?;
    tell(&format!("{}\n{}\n", Adapter::new(&gpu.info).line(), plan.line()))?;
    let cases: Vec<_> = chosen.iter().flat_map(Definition::cases).collect();
    let mut records = Vec::new();
    for (number, case) in (1..).zip(&cases) {
        let permutes = matches!(case.definition.work, Work::Permute(_));
        if let Some(why) = too_large(&gpu, case.size, case.types, permutes) {
            tell(&format!("\n{}: not run: {why}\n", case.name()))?;
            continue;
        }
        plan.checked = if case.definition.check == Check::All { usize::MAX } else { rounds::CHECKED };
        let bar = progress(&format!("{number}/{} {}", cases.len(), case.name()));
        let outcome = measure(&gpu, &plan, case, &bar)?;
        bar.finish_and_clear();
        if outcome.entrants.is_empty() {
            let words = case.definition.words.join(" ");
            tell(&format!("\n{}: not run: no variant of {words} runs here\n", case.name()))?;
            continue;
        }
        records.extend(report::records(&outcome));
        tell(&report::table(&outcome))?;
    }
    if records.is_empty() {
        return Err(Failure::error("nothing was measured: no variant that was asked for runs here with this shape"));
    }
    let report = Report { preset: args.preset_run().map(|p| p.name().to_owned()), ..Report::new(&gpu, &plan, records) };
    let mut files = Files::default();
    let mut write = |path: &Path, text: String| -> Result<(), Failure> {
        if is_stdout(path) { say(&text) } else { Ok(files.text(path, &text)?) }
    };
    if let Some(path) = &args.json {
        write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(path) = &args.csv {
        write(path, report.csv()?)?;
    }
    if let Some(path) = &args.markdown {
        write(path, markdown::document(&report))?;
    }
    files.commit()?;
    if report.results.iter().all(|record| record.is_yardstick() || record.status == Status::Refused) {
        return Err(Failure::error("nothing that was asked for runs here"));
    }
    if report.wrong() > 0 {
        return Err(Failure::OutsideBudget(format!("{} results are outside their error budget", report.wrong())));
    }
    Ok(())
}

/// What would be measured, a line each.
fn list(chosen: &[Definition]) -> String {
    let mut text = String::new();
    for definition in chosen {
        let presets: Vec<_> = definition.presets.iter().map(|p| p.name()).collect();
        let (kernel, about) = (definition.kernel.name(), &definition.about);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} ({kernel}; {}): {about}", definition.name, presets.join(", "));
        for case in definition.cases() {
            let _ = writeln!(text, "  {}", case.name());
        }
    }
    text
}

/// Why the operands of a case are more than this device takes, if they are.
pub fn too_large(gpu: &Gpu, size: Size, types: Types, permutes: bool) -> Option<String> {
    let Size { rows, cols, choices } = size;
    let width = types.input.bytes().max(types.output.bytes());
    // A permutation has a row for each choice.
    let times = if permutes { choices.max(1) } else { 1 };
    let needed = u64::from(rows).saturating_mul(u64::from(cols)).saturating_mul(u64::from(times) * width);
    let most = gpu.library.caps().max_binding_bytes.min(gpu.device.limits().max_buffer_size);
    (needed > most).then(|| format!("a matrix of {needed} bytes, where this device binds at most {most}"))
}

/// Everyone is checked, then all take turns.
fn measure(gpu: &Gpu, plan: &Plan, case: &Case<'_>, bar: &ProgressBar) -> Result<Outcome, Failure> {
    bar.set_message("checking");
    let timing = |bar: &ProgressBar| {
        bar.set_length(u64::from(plan.repeats));
        bar.set_message("timing");
    };
    let tell = || bar.inc(1);
    let outcome = match case.definition.work {
        Work::Softmax(options) => {
            let contest = contest::contest(gpu, plan, case, options)?;
            timing(bar);
            contest.run(tell)?
        }
        Work::Sample(options) => {
            let contest = sampling::contest(gpu, plan, case, options)?;
            timing(bar);
            contest.run(tell)?
        }
        Work::Route(options) => {
            let contest = routing::contest(gpu, plan, case, options)?;
            timing(bar);
            contest.run(tell)?
        }
        Work::Permute(options) => {
            let contest = permuting::contest(gpu, plan, case, options)?;
            timing(bar);
            contest.run(tell)?
        }
    };
    Ok(Outcome { label: case.label(), ..outcome })
}

/// Drawn only when standard error is a terminal: indicatif sees to that.
fn progress(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
    let bar = ProgressBar::new(1).with_prefix(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
