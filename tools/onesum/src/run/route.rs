//! `onesum run route`: the experts of each token, their weights, the plan that experts need, and how they are loaded.

mod options;
mod record;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use onesum::conformance::Adapter;
use onesum::host::Gpu;
use onesum::noise::Stream;
use onesum::reference::plan::Plan;
use onesum::router::NO_EXPERT;
use onesum::{plan, router, stats};

use super::{Logits, axis_of, check_name, ends_in, named, paths, rows_and_cols, to_stdout};
use crate::device::{self, Clock};
use crate::elements::dtype;
use crate::failure::{Failure, variant};
use crate::routing::{Buffers, Load, Planned, Routed, Routing, compare_plan, planned};
use crate::tensor::{Dtype, Files, Tensor, Words, read_integers};
use crate::terminal::{remark, say, say_json};
use crate::{histogram, plot, terminal};
use options::{Options, PlanOptions, words};
use record::{OptionsRecord, PlanRecord, Record, StateRecord};

const EXAMPLES: &str = "\
For each token's logits l, over the experts e, with every step but the last optional:
  z = softcap * tanh((l + bias) / softcap) + normal noise
  s = softmax(z), sigmoid(z), sqrt(softplus(z)) or z
  the groups with the greatest s + bias (their best, or two best added) stay in the race
  its experts have the greatest s + bias in them, or the greatest z + Gumbel noise
  their weights are factor * s, divided by the sum of their s

Tokens are the input's leading dimensions, experts its last. Experts are written as u32, best
first, then the shared ones; 4294967295 is none: padding, or another shard's.

The load is that of the router: of all its experts without shared ones, whatever --expert-map
calls them. Balance loss: experts * sum of fraction * mean probability, K at best (Switch);
z: mean of log-sum-exp squared; probabilities are those of the logits as the file has them.

Examples:
  onesum run route -i x.npy --preset qwen3 -w w.npy -e e.npy
  onesum run route -i x.npy --preset deepseek-v3 --bias b.npy -w w.npy -e e.npy --histogram h.svg
  onesum run route -i x.npy -k 2 -w w.npy -e e.npy --plan p.safetensors --block 64
  onesum run route -i x.npy -k 6 --no-renormalize -w w.npy -e e.npy --stats s.json
  onesum run route -i x.npy -k 8 --noise gumbel --seed 42 -w w.npy -e e.npy

Files: .npy (f16, f32; f64 is narrowed) and .safetensors (f16, f32, bf16). The plan holds counts,
offsets, sorted and inverse, with --block also blocks, with --capacity also dropped and
dropped_count. Experts, weights and plan are compared with the CPU's to the bit before they are
written, the load within its error budget; if anything differs, nothing is written (exit code 3).
Of many tokens a sample is compared; the report says so.";

/// What to route, how, and where results go.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Logits of a router, [.., experts]: a .npy or .safetensors file
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// Where the weights go: a .npy or .safetensors file, of f32
    #[arg(long, short, value_name = "FILE")]
    weights: PathBuf,
    /// Where the experts go: a .npy or .safetensors file, of u32
    #[arg(long, short, value_name = "FILE")]
    experts: PathBuf,
    /// Name of the tensor in a .safetensors file
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Where the plan of the experts' work goes: a .safetensors file
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Where the load and its figures go, as JSON
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// Draw a picture of the load of each expert: an .svg file
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    plan_options: PlanOptions,
    /// Variant to run, by name (`onesum wgsl --list router/`); plan/.. and stats/.. too [default: the best for shape and adapter]
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    #[command(flatten)]
    choice: device::Choice,
    /// Bind at most so many bytes at a time [default: the adapter's limit]
    #[arg(long, value_name = "BYTES")]
    batch_bytes: Option<u64>,
    /// Do not compare with the CPU
    #[arg(long)]
    no_check: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Spoil a result before the check: so that a test can see a wrong one refused
    #[arg(long, value_enum, hide = true)]
    plant_fault: Option<Fault>,
}

/// What can be spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fault {
    Weights,
    Experts,
    Plan,
    Load,
}

/// Variants by name.
#[derive(Clone, Copy, Debug, Default)]
struct Variants {
    router: Option<router::Variant>,
    plan: Option<plan::Variant>,
    stats: Option<stats::Variant>,
}

impl Variants {
    fn of(names: &[String]) -> Result<Self, Failure> {
        let mut variants = Self::default();
        for name in names {
            if name.starts_with("plan/") {
                variants.plan = Some(variant(name)?);
            } else if name.starts_with("stats/") {
                variants.stats = Some(variant(name)?);
            } else {
                variants.router = Some(variant(name)?);
            }
        }
        Ok(variants)
    }
}

/// Everything that has been computed.
struct Results {
    routed: Routed,
    load: Load,
    plan: Option<Planned>,
    /// Tokens that were compared with the CPU's.
    compared: Option<usize>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let variants = Variants::of(&args.variants)?;
    let (logits, job) = prepare(args, variants)?;
    let gpu = args.choice.open(args.adapter.as_deref())?;
    let results = compute(args, variants, &gpu, &job)?;
    let record = record(args, &gpu, &logits, &job, &results);
    write(args, &logits, &job, &results, &record)?;
    if let Some(note) = &logits.tensor.note {
        remark(&format!("{}: {note}", args.input.display()));
    }
    report(args, &job, &results, &record)
}

/// All files that are written, by the option that names them.
fn outputs(args: &Args) -> impl Iterator<Item = (&'static str, &PathBuf)> {
    [
        ("--weights", Some(&args.weights)),
        ("--experts", Some(&args.experts)),
        ("--plan", args.plan.as_ref()),
        ("--stats", args.stats.as_ref()),
        ("--histogram", args.histogram.as_ref()),
    ]
    .into_iter()
    .filter_map(|(what, path)| Some((what, path?)))
}

/// What can be known to fail when writing, before any work is done.
fn check_outputs(args: &Args) -> Result<(), Failure> {
    let o = &args.options;
    let inputs = [
        paths::named("--input", Some(&args.input)),
        paths::named("--bias", o.bias.as_ref()),
        paths::named("--noise-logits", o.noise_logits.as_ref()),
        paths::named("--expert-map", o.expert_map.as_ref()),
        paths::named("--tuning", args.choice.tuning.as_ref()),
    ];
    paths::check(&inputs, &outputs(args).map(|(what, path)| paths::named(what, Some(path))).collect::<Vec<_>>())?;
    paths::check_tensors(&[
        paths::named("--weights", Some(&args.weights)),
        paths::named("--experts", Some(&args.experts)),
    ])?;
    if args.plan.as_ref().is_some_and(|p| !ends_in(p, "safetensors")) {
        return Err(Failure::usage("--plan makes a file that ends in .safetensors"));
    }
    if args.histogram.as_ref().is_some_and(|p| !ends_in(p, "svg")) {
        return Err(Failure::usage("--histogram makes a file that ends in .svg"));
    }
    Ok(())
}

/// Reads all files and puts the job together: all that can be wrong without an adapter is found here.
fn prepare(args: &Args, variants: Variants) -> Result<(Logits, Routing), Failure> {
    check_outputs(args)?;
    let o = &args.options;
    check_name(args.tensor.as_deref(), &[&args.input])?;
    let mut tensor = Tensor::read(&args.input, args.tensor.as_deref())?;
    let axis = axis_of(&args.input, &tensor, -1)?;
    let (dims, experts) = rows_and_cols(&tensor.shape);
    if experts == 0 {
        return Err(named(&args.input, format!("there are no experts in shape {:?}", tensor.shape)));
    }
    let tokens = dims.iter().product::<usize>();
    let (tokens, experts) = (u32::try_from(tokens)?, u32::try_from(experts)?);
    let mut spec = o.spec(tokens, experts, dtype(tensor.dtype))?;
    spec.variant = variants.router;
    if variants.router.is_some_and(|v| v.input != spec.input) || variants.stats.is_some_and(|v| v.input != spec.input) {
        let message = format!("--variant reads another element type than the {} of the input", tensor.dtype);
        return Err(Failure::usage(message));
    }
    if let Some(valid) = o.valid_tokens.filter(|&n| n > tokens) {
        return Err(Failure::error(format!("--valid-tokens {valid}: there are {tokens} tokens")));
    }
    let bias = match (&o.bias, spec.options.bias) {
        (Some(path), _) => Some(bias(path, experts)?),
        (None, Some(_)) => Some(vec![0.0; experts as usize]),
        (None, None) => None,
    };
    let stream = |t: u32| Stream { seed: o.seed, position: o.position.wrapping_add(t.into()) };
    let job = Routing {
        bias,
        deviations: o.noise_logits.as_deref().map(|path| deviations(path, &tensor.shape)).transpose()?,
        seeds: spec.options.noise.map(|_| (0..tokens).map(stream).collect()),
        map: o.expert_map.as_deref().map(|path| map(path, experts, o.shared_experts)).transpose()?,
        valid: o.valid_tokens,
        batch_bytes: args.batch_bytes,
        ..Routing::new(spec, std::mem::take(&mut tensor.data))
    };
    let moved = tensor.shape.clone();
    Ok((Logits { tensor, axis, moved }, job))
}

/// Padding may take more room than there is.
fn check_block(args: &Args, gpu: &Gpu, spec: &plan::Spec) -> Result<(), Failure> {
    let (Some(block), true) = (spec.block, args.plan.is_some()) else { return Ok(()) };
    let bytes = |spec: &plan::Spec| spec.slots(spec.tokens).saturating_mul(4);
    let (needed, limit) = (bytes(spec), gpu.library.caps().max_binding_bytes);
    if needed <= limit || bytes(&plan::Spec { block: None, ..spec.clone() }) > limit {
        return Ok(());
    }
    Err(Failure::error(format!(
        "--block {block}: a plan that pads each of {} experts to it may take {} slots, {needed} bytes; this adapter binds {limit}",
        spec.experts,
        spec.slots(spec.tokens)
    )))
}

fn bias(path: &Path, experts: u32) -> Result<Vec<f32>, Failure> {
    let tensor = Tensor::read(path, None)?;
    if tensor.shape != [experts as usize] {
        return Err(named(path, format!("expected a bias of shape [{experts}], got {:?}", tensor.shape)));
    }
    Ok(tensor.data)
}

fn deviations(path: &Path, shape: &[usize]) -> Result<Vec<f32>, Failure> {
    let tensor = Tensor::read(path, None)?;
    if tensor.shape != shape {
        return Err(named(path, format!("expected the input's shape {shape:?}, got {:?}", tensor.shape)));
    }
    Ok(tensor.data)
}

fn map(path: &Path, experts: u32, shared: u32) -> Result<Vec<u32>, Failure> {
    let (shape, values) = read_integers(path)?;
    let all = experts as usize + shared as usize;
    if shape != [all] {
        let besides = if shared > 0 { format!(", {shared} of them shared") } else { String::new() };
        return Err(named(path, format!("expected a map of shape [{all}]{besides}, got {shape:?}")));
    }
    let name = |&value: &i64| match value {
        -1 => Ok(NO_EXPERT),
        _ => u32::try_from(value).map_err(|_| named(path, format!("expected an expert or -1, got {value}"))),
    };
    values.iter().map(name).collect()
}

fn wrong(what: impl std::fmt::Display) -> Failure {
    Failure::OutsideBudget(format!("{what}; nothing was written"))
}

fn compute(args: &Args, variants: Variants, gpu: &Gpu, job: &Routing) -> Result<Results, Failure> {
    let plan_spec = plan_spec(args, variants, job);
    check_block(args, gpu, &plan_spec)?;
    let buffers = Buffers::new(gpu, job)?;
    let mut routed = job.route(gpu, &buffers)?;
    let mut plan = args.plan.is_some().then(|| planned(gpu, &buffers, &plan_spec)).transpose()?;
    // The load is that of the router, whatever a shard calls its experts.
    let whole = (job.map.is_some()).then(|| {
        let mut whole = Routing { map: None, ..job.clone() };
        whole.spec.options.map = false;
        whole
    });
    let stats_spec = stats::Spec { variant: variants.stats, ..job.load_spec() };
    let (mut load, whole) = match &whole {
        None => (job.load(gpu, &buffers, &stats_spec)?, None),
        Some(whole) => {
            let buffers = Buffers::new(gpu, whole)?;
            let routed = whole.route(gpu, &buffers)?;
            (whole.load(gpu, &buffers, &stats_spec)?, Some((whole, routed)))
        }
    };
    spoil(args, &mut routed, plan.as_mut(), &mut load);
    let mut compared = None;
    if !args.no_check {
        compared = Some(job.compare_most(&routed).map_err(wrong)?);
        let (counted, of) = whole.as_ref().map_or((job, &routed), |(whole, routed)| (*whole, routed));
        if whole.is_some() {
            counted.compare_most(of).map_err(wrong)?;
        }
        counted.compare_load(&load.state, &of.experts, &of.weights).map_err(wrong)?;
        if let Some(plan) = &plan {
            compare_plan(&plan.plan, &plan_spec, &routed.experts, &routed.weights).map_err(wrong)?;
        }
    }
    Ok(Results { routed, load, plan, compared })
}

fn spoil(args: &Args, routed: &mut Routed, plan: Option<&mut Planned>, load: &mut Load) {
    match args.plant_fault {
        Some(Fault::Weights) => {
            if let Some(weight) = routed.weights.last_mut() {
                *weight = f32::from_bits(weight.to_bits() ^ 1);
            }
        }
        Some(Fault::Experts) => {
            if let Some(expert) = routed.experts.last_mut() {
                *expert ^= 1;
            }
        }
        Some(Fault::Plan) => {
            if let Some(pair) = plan.and_then(|p| p.plan.sorted.first_mut()) {
                *pair ^= 1;
            }
        }
        Some(Fault::Load) => load.state.counts[0] += 1,
        None => {}
    }
}

/// The plan of all experts, or of those that are on this shard.
fn plan_spec(args: &Args, variants: Variants, job: &Routing) -> plan::Spec {
    let o = &args.plan_options;
    let experts = match &job.map {
        None => job.spec.shape.cols.saturating_add(args.options.shared_experts),
        Some(map) => map.iter().filter(|&&e| e != NO_EXPERT).max().map_or(1, |e| e.saturating_add(1)),
    };
    let (capacity, block) = (o.room(), o.block);
    let outputs = plan::Outputs {
        blocks: block.is_some(),
        dropped: capacity.is_some(),
        dropped_count: capacity.is_some(),
        ..plan::Outputs::default()
    };
    let base = plan::Spec::new(job.spec.shape.rows, job.spec.width(), experts);
    plan::Spec { block, capacity, outputs, variant: variants.plan, ..base }
}

fn record(args: &Args, gpu: &Gpu, logits: &Logits, job: &Routing, results: &Results) -> Record {
    let shown = |path: &PathBuf| path.display().to_string();
    Record {
        kernel: "route",
        onesum: env!("CARGO_PKG_VERSION"),
        wgpu: crate::bench::record::wgpu_version(),
        input: shown(&args.input),
        weights: shown(&args.weights),
        experts: shown(&args.experts),
        shape: logits.tensor.shape.clone(),
        dtype: logits.tensor.dtype.to_string(),
        note: logits.tensor.note.clone(),
        tokens: job.tokens(),
        num_experts: job.experts(),
        options: OptionsRecord::new(&args.options, &job.spec),
        adapter: Adapter::new(&gpu.info),
        variant: results.routed.variant.to_string(),
        stats_variant: results.load.variant.to_string(),
        time_ms: results.routed.seconds * 1e3,
        stats_time_ms: results.load.seconds * 1e3,
        time_method: Clock::method(gpu),
        compared: results.compared,
        plan: results.plan.as_ref().map(|plan| PlanRecord::new(args, plan)),
        figures: record::Figures::new(&results.load.state),
        state: None,
    }
}

/// Everything or nothing. The experts come last: where they are, all is.
fn write(args: &Args, logits: &Logits, job: &Routing, results: &Results, record: &Record) -> Result<(), Failure> {
    let mut shape = rows_and_cols(&logits.moved).0.to_vec();
    shape.push(job.spec.width() as usize);
    let state = &results.load.state;
    let mut files = Files::default();
    if let (Some(path), Some(plan)) = (&args.plan, &results.plan) {
        files.words(path, &arrays(&args.plan_options, &plan.plan, &shape, &[plan.plan.dropped.len() as u32]))?;
    }
    if let Some(path) = &args.stats {
        let record = Record { state: Some(StateRecord::new(state)), ..record.clone() };
        files.text(path, &(serde_json::to_string_pretty(&record)? + "\n"))?;
    }
    if let Some(path) = &args.histogram {
        let title = format!("{} tokens: {}", job.tokens(), words(&job.spec));
        files.text(path, &plot::load(&title, &state.counts)?)?;
    }
    let data = results.routed.weights.clone();
    files.tensor(&args.weights, "weights", &Tensor { shape: shape.clone(), dtype: Dtype::F32, data, note: None })?;
    files.words(&args.experts, &[Words { name: "experts", shape, values: &results.routed.experts }])?;
    Ok(files.commit()?)
}

fn line<'a>(name: &'static str, values: &'a [u32]) -> Words<'a> {
    Words { name, shape: vec![values.len()], values }
}

/// What the file of a plan holds. `dropped` is how many choices are.
fn arrays<'a>(args: &PlanOptions, plan: &'a Plan, pairs: &[usize], dropped: &'a [u32]) -> Vec<Words<'a>> {
    let mut arrays = vec![
        line("counts", &plan.counts),
        line("offsets", &plan.offsets),
        line("sorted", &plan.sorted),
        Words { name: "inverse", shape: pairs.to_vec(), values: &plan.inverse },
    ];
    arrays.extend(args.block.map(|_| line("blocks", &plan.blocks)));
    if args.capacity.is_some() {
        arrays.extend([line("dropped", &plan.dropped), line("dropped_count", dropped)]);
    }
    arrays
}

fn report(args: &Args, job: &Routing, results: &Results, record: &Record) -> Result<(), Failure> {
    if outputs(args).any(|(_, path)| to_stdout(path)) {
        return Ok(());
    }
    if args.json {
        return say_json(record);
    }
    let mut lines = vec![format!("adapter  {}", record.adapter.line())];
    if let Some(preset) = args.options.preset {
        lines.push(format!("preset   {preset}: {}", words(&preset.spec(1))));
    }
    let zeros = if args.options.no_bias { "; the bias is zeros (--no-bias)" } else { "" };
    lines.push(format!("router   {}{zeros}", words(&job.spec)));
    let more = |what: fn(&PlanRecord) -> String| record.plan.as_ref().map_or(String::new(), what);
    let plan = more(|plan| format!(", {}", plan.variant));
    lines.push(format!("variant  {}, {}{plan}", record.variant, record.stats_variant));
    lines.push(format!("shape    {:?} {}: {} tokens", record.shape, record.dtype, record.tokens));
    let plan = more(|plan| format!(", {:.3} ms to plan", plan.time_ms));
    let (route, count) = (record.time_ms, record.stats_time_ms);
    lines.push(format!("time     {route:.3} ms to route, {count:.3} ms to count{plan} ({})", record.time_method));
    lines.push(format!(
        "check    {}",
        match record.compared {
            None => "not compared".to_owned(),
            Some(n) => {
                let sample = if n < record.tokens { format!(" of {}, a sample", record.tokens) } else { String::new() };
                let plan = if record.plan.is_some() { ", so is the plan" } else { "" };
                format!("{n} tokens{sample}: experts and weights as on the CPU, to the bit{plan}; load within its error budget")
            }
        }
    ));
    lines.extend(record.plan.as_ref().map(PlanRecord::line));
    lines.extend(record.figures.lines(&results.load.state));
    let (columns, height) = terminal::size();
    lines.push("load     choices of each expert, | is the mean".to_owned());
    // What is above stays in sight.
    let room = height.saturating_sub(lines.len() + 2).clamp(8, 64);
    say(&(lines.join("\n") + "\n" + &histogram::text(&results.load.state.counts, (columns.min(110), room))))
}
