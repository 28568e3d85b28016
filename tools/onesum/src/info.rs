//! `onesum info`: adapters, what they offer, and which variants they can run.

use std::collections::BTreeMap;
use std::fmt::Write;

use onesum::conformance::Adapter;
use onesum::conformance::probe::{Probe, probe};
use onesum::softmax::{Dtype, Shape, Tier, Variant};
use onesum::{BuildError, Caps, expert_choice, host, permute, plan, router, sample, stats};
use serde::Serialize;

use crate::bench::definitions::{Definition, Size, built_in};
use crate::failure::Failure;
use crate::terminal::{quietly, say, say_json};

/// Show adapters, what they offer, and which variants they can run.
#[derive(clap::Args)]
pub struct Args {
    /// List every variant with what it lacks on each adapter
    #[arg(long)]
    variants: bool,
    /// Measure built-in functions, special values, subgroups and limits of each adapter
    #[arg(long)]
    probe: bool,
    /// Of one adapter only, by its number or a part of its name
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// The report in JSON. Field names are stable; fields may be added.
#[derive(Serialize)]
struct Record {
    onesum: &'static str,
    adapters: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    /// What `--adapter` takes.
    index: usize,
    #[serde(flatten)]
    adapter: Adapter,
    limits: Limits,
    features: Features,
    tiers: Vec<Group>,
    /// The variants that `select` picks for shapes of the benchmarks of softmax and sampling, f32.
    selected: Vec<Selected>,
    /// The same of routing, by a softmax of the chosen.
    routing: Vec<Routed>,
    /// With --variants: every name, and what it lacks (null if nothing).
    #[serde(skip_serializing_if = "Option::is_none")]
    variants: Option<BTreeMap<String, Option<String>>>,
    /// With --probe: what was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probe>,
    /// With --probe: why nothing was. Some drivers show adapters that give no device.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_error: Option<String>,
}

/// The limits that variants and shapes depend on, named as in `wgpu::Limits`.
#[derive(Serialize)]
struct Limits {
    max_compute_invocations_per_workgroup: u32,
    max_compute_workgroup_storage_size: u32,
    max_storage_buffers_per_shader_stage: u32,
    max_compute_workgroups_per_dimension: u32,
    max_storage_buffer_binding_size: u64,
    max_buffer_size: u64,
    min_storage_buffer_offset_alignment: u32,
}

/// The features that variants and the clock depend on.
#[derive(Serialize)]
struct Features {
    subgroup: bool,
    shader_f16: bool,
    shader_int64: bool,
    timestamp_query: bool,
}

/// Variants of one tier.
#[derive(Serialize)]
struct Group {
    /// `baseline`, `subgroup`, `shuffle`, each also with `+f16` for the device's own f16 type.
    tier: &'static str,
    variants: usize,
    supported: usize,
    /// How many variants lack what.
    lacking: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct Selected {
    rows: u32,
    cols: u32,
    variant: String,
}

#[derive(Serialize)]
struct Routed {
    tokens: u32,
    experts: u32,
    choices: u32,
    router: String,
    plan: String,
    stats: String,
    expert_choice: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let adapters = quietly(host::adapters);
    if adapters.is_empty() {
        // The library knows what to install here.
        quietly(|| host::adapter(None))?;
    }
    let only = args.adapter.as_deref().map(|wanted| host::position(&adapters, wanted)).transpose()?;
    let shown = adapters.iter().enumerate().filter(|(i, _)| only.is_none_or(|only| only == *i));
    let entries = shown.map(|(i, a)| Entry::new(i, a, args)).collect::<Result<_, _>>()?;
    let record = Record { onesum: env!("CARGO_PKG_VERSION"), adapters: entries };
    if args.json {
        return say_json(&record);
    }
    for entry in &record.adapters {
        say(&entry.text())?;
    }
    Ok(())
}

impl Entry {
    fn new(index: usize, adapter: &wgpu::Adapter, args: &Args) -> Result<Self, Failure> {
        let info = adapter.get_info();
        let (features, limits) = (adapter.features(), adapter.limits());
        let caps = Caps::from_parts(&info, features & Caps::useful_features(), &limits);
        let benchmarks = built_in()?;
        let probed = args.probe.then(|| quietly(|| probe(&host::Gpu::of(adapter)?)));
        let (probe, probe_error) = match probed.transpose() {
            Ok(probe) => (probe, None),
            Err(e) => (None, Some(e.to_string())),
        };
        Ok(Self {
            index,
            adapter: Adapter::new(&info),
            limits: Limits {
                max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
                max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
                max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
                max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
                max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
                max_buffer_size: limits.max_buffer_size,
                min_storage_buffer_offset_alignment: limits.min_storage_buffer_offset_alignment,
            },
            features: Features {
                subgroup: caps.subgroup,
                shader_f16: caps.f16,
                shader_int64: caps.int64,
                timestamp_query: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            },
            tiers: TIERS.iter().map(|&tier| Group::new(tier, &caps)).collect(),
            selected: selected(&caps, &benchmarks),
            routing: of_name(&benchmarks, "route").map(|size| Routed::new(&caps, size)).collect(),
            variants: args.variants.then(|| variants(&caps).map(|v| (v.name, v.lack)).collect()),
            probe,
            probe_error,
        })
    }

    fn text(&self) -> String {
        let l = &self.limits;
        let mut lines = vec![
            format!("{}: {}", self.index, self.adapter.line()),
            format!(
                "   workgroups of {} invocations and {} bytes; {} storage buffers, bindings of {} MiB",
                l.max_compute_invocations_per_workgroup,
                l.max_compute_workgroup_storage_size,
                l.max_storage_buffers_per_shader_stage,
                l.max_storage_buffer_binding_size >> 20,
            ),
            format!(
                "   subgroups {}, f16 {}, int64 {}, timestamps {}",
                if self.features.subgroup {
                    format!("of {} to {}", self.adapter.subgroup_sizes[0], self.adapter.subgroup_sizes[1])
                } else {
                    "no".to_owned()
                },
                yes(self.features.shader_f16),
                yes(self.features.shader_int64),
                yes(self.features.timestamp_query),
            ),
            "   variants (Gumbel-Softmax has those of softmax)".to_owned(),
        ];
        lines.extend(self.tiers.iter().map(Group::line));
        lines.push("   chosen for f32".to_owned());
        lines.extend(self.selected.iter().map(|s| format!("     {:>6} x {:<8} {}", s.rows, s.cols, s.variant)));
        lines.push("   chosen to route f32, tokens x experts, choices".to_owned());
        lines.extend(self.routing.iter().map(Routed::line));
        if let Some(variants) = &self.variants {
            lines.push("   all variants".to_owned());
            let why = |lack: &Option<String>| lack.as_ref().map_or("runs".to_owned(), |l| format!("needs {l}"));
            lines.extend(variants.iter().map(|(name, lack)| format!("     {name:<46} {}", why(lack))));
        }
        if let Some(probe) = &self.probe {
            lines.extend(probe.to_string().lines().map(|line| format!("   {line}")));
        }
        lines.extend(self.probe_error.as_ref().map(|e| format!("   not probed: {e}")));
        lines.join("\n") + "\n"
    }
}

impl Routed {
    fn new(caps: &Caps, Size { rows: tokens, cols: experts, choices }: Size) -> Self {
        let shape = Shape::new(tokens, experts);
        let capacity = (tokens * choices).div_ceil(experts);
        Self {
            tokens,
            experts,
            choices,
            router: router::Variant::select(caps, &router::Spec::new(shape, choices)).to_string(),
            plan: plan::Variant::select(caps, &plan::Spec::new(tokens, choices, experts)).to_string(),
            stats: stats::Variant::select(caps, &shape, Dtype::F32).to_string(),
            expert_choice: expert_choice::Variant::select(caps, tokens, experts, capacity, Dtype::F32).to_string(),
        }
    }

    fn line(&self) -> String {
        let Self { tokens, experts, choices, router, plan, stats, .. } = self;
        format!("     {tokens:>6} x {experts:<3} {choices:>2}  {router}, {plan}, {stats}")
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// A variant of any kernel, and what the device lacks for it.
struct AnyVariant {
    name: String,
    tier: Tier,
    native_f16: bool,
    lack: Option<String>,
}

fn variants(caps: &Caps) -> impl Iterator<Item = AnyVariant> {
    fn any(name: String, tier: Tier, native_f16: bool, supported: Result<(), BuildError>) -> AnyVariant {
        AnyVariant { name, tier, native_f16, lack: supported.err().map(|e| lack(&e)) }
    }
    let baseline = |name, supported| any(name, Tier::Baseline, false, supported);
    (Variant::all().map(|v| any(v.to_string(), v.tier, v.native_f16, v.supported(caps))))
        .chain(sample::Variant::all().map(|v| any(v.to_string(), v.tier, v.native_f16, v.supported(caps))))
        .chain(router::Variant::all().map(|v| any(v.to_string(), v.tier, false, v.supported(caps))))
        .chain(plan::Variant::ALL.map(move |v| baseline(v.to_string(), v.supported(caps))))
        .chain(stats::Variant::all().map(|v| any(v.to_string(), Tier::Baseline, v.native_f16, v.supported(caps))))
        .chain(expert_choice::Variant::all().map(move |v| baseline(v.to_string(), v.supported(caps))))
        .chain(permute::Variant::all().map(move |v| baseline(v.to_string(), v.supported(caps))))
}

/// Tier, and whether the device's own f16 type is used.
const TIERS: [(Tier, bool, &str); 6] = [
    (Tier::Baseline, false, "baseline"),
    (Tier::Subgroup, false, "subgroup"),
    (Tier::Shuffle, false, "shuffle"),
    (Tier::Baseline, true, "baseline+f16"),
    (Tier::Subgroup, true, "subgroup+f16"),
    (Tier::Shuffle, true, "shuffle+f16"),
];

impl Group {
    fn new((tier, f16, name): (Tier, bool, &'static str), caps: &Caps) -> Self {
        let mut group = Self { tier: name, variants: 0, supported: 0, lacking: BTreeMap::new() };
        for variant in variants(caps).filter(|v| (v.tier, v.native_f16) == (tier, f16)) {
            group.variants += 1;
            match variant.lack {
                None => group.supported += 1,
                Some(lack) => *group.lacking.entry(lack).or_default() += 1,
            }
        }
        group
    }

    fn line(&self) -> String {
        let mut line = format!("     {:<13} {} of {} run here", self.tier, self.supported, self.variants);
        for (what, n) in &self.lacking {
            // Writing to a String cannot fail.
            let _ = write!(line, "; {n} need {what}");
        }
        line
    }
}

/// What the device lacks, without the variant's name, so that variants can be counted by it.
fn lack(error: &BuildError) -> String {
    match error {
        BuildError::MissingFeature { feature, .. } => (*feature).to_owned(),
        BuildError::LimitTooLow { limit, needed, available, .. } => format!("{limit} of {needed} (here {available})"),
        other => other.to_string(),
    }
}

/// The shapes of the definition of this name.
fn of_name<'a>(all: &'a [Definition], name: &str) -> impl Iterator<Item = Size> + use<'a> {
    let found = all.iter().find(|d| d.name == name);
    found.into_iter().flat_map(|d| d.sizes.iter().copied())
}

/// Rows of every length, and the vocabularies that are sampled from.
fn selected(caps: &Caps, all: &[Definition]) -> Vec<Selected> {
    let softmax = of_name(all, "softmax").map(|size| {
        let variant = Variant::select(caps, &size.shape(), Dtype::F32, Dtype::F32);
        Selected { rows: size.rows, cols: size.cols, variant: variant.to_string() }
    });
    let sample = of_name(all, "sample").map(|size| {
        let variant = sample::Variant::select(caps, &size.shape(), Dtype::F32, 1);
        Selected { rows: size.rows, cols: size.cols, variant: variant.to_string() }
    });
    softmax.chain(sample).collect()
}
