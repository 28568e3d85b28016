//! Which dispatches there are, and the fragments of each.

use std::fmt::Write;

use super::params::Params;
use super::{Outputs, Priority, Schedule, Spec, Variant};
use crate::library::{Access, Program};
use crate::shader::{Fragment, Header, fragment};

/// Buckets of the sort of tokens: the values of 8 bits.
pub(super) const DIGITS: u32 = 256;

/// What is sorted, in which order, into which buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Pairs in their order, by expert.
    Pairs,
    /// The same, by what the capacity has left.
    Kept,
    /// Pairs in an order of priority, by expert: their ranks decide which are kept.
    KMajor,
    Batch,
    /// Tokens, by a digit of their key.
    Digits,
}

impl Order {
    #[cfg(feature = "conformance")]
    const ALL: [Self; 5] = [Self::Pairs, Self::Kept, Self::KMajor, Self::Batch, Self::Digits];

    fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::Kept => "kept",
            Self::KMajor => "k-major",
            Self::Batch => "batch",
            Self::Digits => "digits",
        }
    }
}

/// One counting sort.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub order: Order,
    /// Of the sort of tokens: which digit, the lowest first.
    pub digit: u32,
}

impl Pass {
    fn new(order: Order) -> Self {
        Self { order, digit: 0 }
    }

    pub fn of(spec: &Spec) -> Vec<Self> {
        let Some(capacity) = spec.capacity else { return vec![Self::new(Order::Pairs)] };
        match capacity.priority {
            Priority::KMajor => vec![Self::new(Order::KMajor), Self::new(Order::Kept)],
            Priority::BatchPrioritised => {
                let digits = (0..4).map(|digit| Self { order: Order::Digits, digit });
                digits.chain([Self::new(Order::Batch), Self::new(Order::Kept)]).collect()
            }
        }
    }

    pub fn items(self, spec: &Spec, tokens: u32) -> u32 {
        if self.order == Order::Digits { tokens } else { tokens.saturating_mul(spec.k) }
    }

    pub fn columns(self, spec: &Spec) -> u32 {
        match self.order {
            Order::Pairs | Order::KMajor | Order::Batch => spec.experts,
            Order::Kept => spec.experts + 1,
            Order::Digits => DIGITS,
        }
    }

    /// One column more, for items of no bucket and for the end of the last one's slots; in quads.
    pub fn stride(self, spec: &Spec) -> u32 {
        (self.columns(spec) + 1).next_multiple_of(4)
    }

    pub fn tiles(self, spec: &Spec, variant: Variant, tokens: u32) -> (u32, u32) {
        let fills = matches!(self.order, Order::Pairs | Order::Kept);
        variant.tiles(self.items(spec, tokens), self.columns(spec), if fills { spec.slots(tokens) } else { 0 })
    }
}

/// One dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No pairs.
    Empty,
    /// Everything.
    One,
    /// The tokens' keys.
    Keys,
    /// Counters of each tile.
    Count(Order),
    /// The scan of all counters, and of their totals; whether these are outputs.
    Scan(bool),
    /// The scan of the counters alone.
    Columns,
    /// The scan of their totals.
    Bases(bool),
    /// Everything to its place.
    Place(Order),
    /// What is made of the totals.
    Extras,
}

/// What operands decide, once they are bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// A buffer that is written to is also read: every binding is read-write.
    pub write_all: bool,
    /// Pairs lie without gaps, in quads.
    pub quads: bool,
}

impl Form {
    /// Of operands in separate buffers, without gaps.
    pub fn likely(spec: &Spec) -> Self {
        Self { write_all: false, quads: (spec.tokens.wrapping_mul(spec.k)).is_multiple_of(4) }
    }
}

/// How many counters an invocation may have in its own memory: 32, 128 or 256 experts, the dropped, and the others. Few
/// sizes, and no larger ones: a compiler takes an instruction to clear each, and lavapipe's a minute for a thousand.
const OWN_COUNTERS: [u32; 3] = [36, 132, 260];

/// The least of these sizes that is enough.
pub(super) fn own_counters(stride: u32) -> Option<u32> {
    OWN_COUNTERS.into_iter().find(|&counters| stride <= counters)
}

/// Operands and their bindings.
pub(super) const BUFFERS: [(&str, u32); 11] = [
    ("experts", 1),
    ("scratch", 2),
    ("counts", 3),
    ("offsets", 4),
    ("sorted", 5),
    ("inverse", 6),
    ("blocks", 7),
    ("dropped", 8),
    ("dropped_count", 9),
    ("arguments", 10),
    ("weights", 11),
];

impl Stage {
    /// (name, binding, written), in order of binding.
    pub fn buffers(self, spec: &Spec) -> Vec<(&'static str, u32, bool)> {
        let Outputs { blocks, dropped, dropped_count, arguments } = spec.outputs;
        let (places, chosen) = match self {
            Self::Place(order) => (matches!(order, Order::Pairs | Order::Kept), reads_experts(order)),
            Self::Count(order) => (false, reads_experts(order)),
            _ => (false, false),
        };
        let bases = matches!(self, Self::Scan(true) | Self::Bases(true) | Self::Empty | Self::One);
        let used = |what: &str| match what {
            "experts" => chosen || self == Self::One,
            "scratch" => !matches!(self, Self::Empty | Self::One),
            "counts" | "offsets" => bases,
            "sorted" => places || self == Self::One,
            "inverse" => match self {
                Self::Count(order) => order == Order::Kept,
                Self::Place(order) => order != Order::Digits,
                other => other == Self::One,
            },
            "blocks" => blocks && matches!(self, Self::Extras | Self::One),
            "dropped" => dropped && self == Self::Place(Order::Kept),
            "dropped_count" => dropped_count && matches!(self, Self::Extras | Self::Empty),
            "arguments" => arguments.is_some() && matches!(self, Self::Extras | Self::Empty | Self::One),
            _ => self == Self::Keys,
        };
        let writes = |what: &str| !matches!(what, "experts" | "weights");
        let used = BUFFERS.into_iter().filter(|(what, _)| used(what));
        used.map(|(what, binding)| (what, binding, writes(what))).collect()
    }

    /// Whether it takes pairs four at a time where they lie so.
    pub fn in_quads(self, variant: Variant) -> bool {
        let pairs = matches!(self, Self::Count(Order::Pairs | Order::Kept) | Self::Place(Order::Pairs | Order::Kept));
        pairs && variant.schedule == Schedule::Serial
    }

    /// Workgroups.
    pub fn groups(self, variant: Variant, params: &Params) -> u64 {
        let width = u64::from(variant.width);
        let each = |count: u32| u64::from(count).div_ceil(width);
        match self {
            Self::One | Self::Scan(_) | Self::Bases(_) => 1,
            Self::Empty => each(params.experts + 1),
            Self::Keys => each(params.tokens),
            Self::Count(_) | Self::Place(_) if variant.schedule == Schedule::Group => u64::from(params.tiles),
            Self::Count(_) | Self::Place(_) => each(params.tiles),
            Self::Columns if variant.schedule == Schedule::Group => u64::from(params.stride / 4),
            Self::Columns => each(params.stride / 4),
            Self::Extras => each(params.blocks.max(params.experts).div_ceil(params.share)),
        }
    }
}

fn reads_experts(order: Order) -> bool {
    matches!(order, Order::Pairs | Order::KMajor | Order::Batch)
}

/// The dispatches for so many tokens, in order.
pub(super) fn steps(spec: &Spec, variant: Variant, tokens: u32) -> Vec<(Stage, Pass)> {
    let passes = Pass::of(spec);
    let last = passes[passes.len() - 1];
    if tokens == 0 {
        return vec![(Stage::Empty, last)];
    }
    if variant.schedule == Schedule::One {
        return vec![(Stage::One, last)];
    }
    let mut steps = Vec::new();
    if spec.by_weight() {
        steps.push((Stage::Keys, passes[0]));
    }
    for pass in passes {
        let outputs = matches!(pass.order, Order::Pairs | Order::Kept);
        let (_, tiles) = pass.tiles(spec, variant, tokens);
        steps.push((Stage::Count(pass.order), pass));
        if variant.scans_at_once(tiles, pass.stride(spec)) {
            steps.push((Stage::Scan(outputs), pass));
        } else {
            steps.push((Stage::Columns, pass));
            // Ranks alone decide what is kept.
            if !matches!(pass.order, Order::KMajor | Order::Batch) {
                steps.push((Stage::Bases(outputs), pass));
            }
        }
        steps.push((Stage::Place(pass.order), pass));
    }
    let o = &spec.outputs;
    if o.blocks || o.dropped_count || o.arguments.is_some() {
        steps.push((Stage::Extras, last));
    }
    steps
}

pub(super) fn program(spec: &Spec, variant: Variant, stage: Stage, form: Form) -> Program {
    let buffers = stage.buffers(spec);
    let uses = |what: &str| buffers.iter().any(|(used, ..)| *used == what);
    let quads = form.quads && stage.in_quads(variant);
    let own = own_counters_of(spec, variant, stage, quads);
    let stage_name = match stage {
        Stage::One => String::new(),
        Stage::Count(order) => format!("#count-{}", order.name()),
        Stage::Place(order) => format!("#place-{}", order.name()),
        Stage::Scan(true) => "#scan".into(),
        Stage::Scan(false) => "#scan-only".into(),
        Stage::Bases(true) => "#bases".into(),
        Stage::Bases(false) => "#bases-only".into(),
        Stage::Columns => "#columns".into(),
        Stage::Keys => "#keys".into(),
        Stage::Extras => "#extras".into(),
        Stage::Empty => "#empty".into(),
    };
    let mut name = format!("{variant}{stage_name}");
    if let Some(counters) = own {
        let _ = write!(name, "/c{counters}");
    }
    for (used, suffix) in [
        (quads, "/x4"),
        (uses("blocks"), "+blocks"),
        (uses("dropped"), "+dropped"),
        (uses("dropped_count"), "+dropped-count"),
        (uses("arguments"), "+arguments"),
        (form.write_all, "@pooled"),
    ] {
        if used {
            name.push_str(suffix);
        }
    }
    let access = |written| if written || form.write_all { Access::ReadWrite } else { Access::Read };
    let mut bindings = vec![(0, Access::Uniform)];
    bindings.extend(buffers.iter().map(|&(_, binding, written)| (binding, access(written))));
    Program {
        name,
        header: Header { constants: own.map(|n| ("COUNTERS", n)).into_iter().collect(), ..Header::default() },
        fragments: fragments(&uses, variant, stage, own.is_some(), Form { quads, ..form }),
        overrides: vec![("WIDTH", f64::from(variant.width))],
        bindings,
    }
}

/// How many counters an invocation has in its own memory, where it has: in the walks that most plans are made of.
fn own_counters_of(spec: &Spec, variant: Variant, stage: Stage, quads: bool) -> Option<u32> {
    match stage {
        Stage::Count(order) | Stage::Place(order) if quads => own_counters(Pass::new(order).stride(spec)),
        Stage::One if variant.width == 1 => own_counters(Pass::new(Order::Pairs).stride(spec)),
        _ => None,
    }
}

/// One of two fragments.
macro_rules! either {
    ($condition:expr, $yes:literal, $no:literal) => {
        if $condition { fragment!($yes) } else { fragment!($no) }
    };
}

fn fragments(
    uses: &dyn Fn(&str) -> bool,
    variant: Variant,
    stage: Stage,
    own: bool,
    Form { write_all, quads }: Form,
) -> Vec<Fragment> {
    let group = variant.width == 256;
    let mut list = vec![fragment!("lib/plan_params")];
    match stage {
        Stage::Empty => list.extend([fragment!("plan_empty"), fragment!("lib/plan_counts_on")]),
        Stage::Keys => list.extend([fragment!("plan_keys"), fragment!("lib/plan_key")]),
        Stage::Extras => list.push(fragment!("plan_extras")),
        Stage::Columns if group => list.push(fragment!("plan_columns_group")),
        Stage::Columns => list.extend([fragment!("plan_columns"), fragment!("lib/plan_columns")]),
        Stage::Scan(outputs) | Stage::Bases(outputs) => {
            list.extend([
                fragment!("lib/plan_before"),
                fragment!("lib/plan_bases"),
                either!(outputs, "lib/plan_counts_on", "lib/plan_counts_off"),
            ]);
            match stage {
                Stage::Scan(_) => list.extend([fragment!("plan_scan"), fragment!("lib/plan_columns")]),
                _ => list.push(fragment!("plan_bases")),
            }
        }
        Stage::Count(order) | Stage::Place(order) => {
            let places = matches!(stage, Stage::Place(_));
            list.extend(walk(order, places, group, own, quads));
            if places && matches!(order, Order::Pairs | Order::Kept) {
                list.push(either!(uses("dropped"), "lib/plan_drop_on", "lib/plan_drop_off"));
            }
        }
        Stage::One => {
            list.extend([
                either!(group, "plan_one_group", "plan_one"),
                fragment!("lib/plan_own"),
                fragment!("lib/plan_counts_on"),
                fragment!("lib/plan_drop_off"),
                fragment!("lib/plan_put_one"),
            ]);
            list.extend(items(Order::Pairs, false));
            list.extend(PUTS);
            if group {
                list.extend([fragment!("lib/plan_running"), fragment!("lib/plan_rank"), fragment!("lib/plan_before")]);
            } else {
                list.push(fragment!("lib/plan_counters_own"));
            }
        }
    }
    if uses("scratch") {
        // Counters that are shared, and orders of tokens, are read and written one by one.
        let by_token = matches!(stage, Stage::Count(order) | Stage::Place(order)
            if !own || matches!(order, Order::Digits | Order::Batch));
        let one_by_one = by_token || matches!(stage, Stage::Keys | Stage::Extras);
        list.push(either!(one_by_one, "lib/plan_scratch", "lib/plan_scratch_quads"));
    }
    if uses("inverse") {
        list.push(either!(quads, "lib/plan_inverse_quads", "lib/plan_inverse"));
    }
    if matches!(stage, Stage::Extras | Stage::One) {
        list.push(either!(uses("blocks"), "lib/plan_blocks_on", "lib/plan_blocks_off"));
        if uses("blocks") && stage == Stage::Extras {
            list.push(fragment!("lib/plan_search"));
        }
    }
    if matches!(stage, Stage::Extras | Stage::One | Stage::Empty) {
        list.push(either!(uses("arguments"), "lib/plan_arguments_on", "lib/plan_arguments_off"));
    }
    if matches!(stage, Stage::Extras | Stage::Empty) {
        list.push(either!(uses("dropped_count"), "lib/plan_dropped_count_on", "lib/plan_dropped_count_off"));
    }
    if uses("experts") {
        list.push(match (quads, write_all) {
            (false, false) => fragment!("lib/plan_experts_read"),
            (false, true) => fragment!("lib/plan_experts_read_write"),
            (true, false) => fragment!("lib/plan_experts_quads_read"),
            (true, true) => fragment!("lib/plan_experts_quads_read_write"),
        });
    }
    if uses("weights") {
        list.push(either!(write_all, "lib/plan_weights_read_write", "lib/plan_weights_read"));
    }
    list
}

/// One of the two walks through the items of a tile.
fn walk(order: Order, places: bool, group: bool, own: bool, quads: bool) -> Vec<Fragment> {
    let mut list = items(order, quads);
    list.push(match (places, group, quads) {
        (false, true, _) => fragment!("plan_count_group"),
        (false, false, false) => fragment!("plan_count"),
        (false, false, true) => fragment!("plan_count_quads"),
        (true, true, _) => fragment!("plan_place_group"),
        (true, false, false) => fragment!("plan_place"),
        (true, false, true) => fragment!("plan_place_quads"),
    });
    if group {
        list.push(fragment!("lib/plan_running"));
    } else if own {
        list.extend([fragment!("lib/plan_counters_own"), fragment!("lib/plan_counters_carry")]);
    } else {
        list.push(fragment!("lib/plan_counters_shared"));
    }
    let ranks = matches!(order, Order::KMajor | Order::Batch);
    if places || !group {
        list.push(either!(ranks, "lib/plan_based_off", "lib/plan_based_on"));
    }
    if !places {
        return list;
    }
    if group {
        list.push(fragment!("lib/plan_rank"));
    }
    match order {
        Order::Digits => {}
        Order::KMajor | Order::Batch => list.push(fragment!("lib/plan_keep")),
        Order::Pairs | Order::Kept => {
            list.extend(PUTS);
            if !quads {
                list.push(fragment!("lib/plan_put_one"));
            }
        }
    }
    list
}

/// Items and their buckets.
fn items(order: Order, quads: bool) -> Vec<Fragment> {
    match (order, quads) {
        (Order::Pairs, true) => vec![fragment!("lib/plan_buckets_experts")],
        (Order::Kept, true) => vec![fragment!("lib/plan_buckets_kept")],
        (Order::Pairs, false) => vec![fragment!("lib/plan_items_pairs"), fragment!("lib/plan_bucket_experts")],
        (Order::Kept, false) => vec![fragment!("lib/plan_items_pairs"), fragment!("lib/plan_bucket_kept")],
        (Order::KMajor, _) => vec![fragment!("lib/plan_items_k_major"), fragment!("lib/plan_bucket_experts")],
        (Order::Batch, _) => vec![fragment!("lib/plan_items_batch"), fragment!("lib/plan_bucket_experts")],
        (Order::Digits, _) => vec![fragment!("lib/plan_items_digits")],
    }
}

/// Pairs to their slots.
const PUTS: [Fragment; 3] = [fragment!("lib/plan_put"), fragment!("lib/plan_holes"), fragment!("lib/plan_search")];

/// Every program that can be built, in both forms.
#[cfg(feature = "conformance")]
pub(crate) fn every_program() -> Vec<Program> {
    use super::{Arguments, Capacity};

    let arguments = Some(Arguments { rows_per_group: 64, y: 2 });
    let all = Outputs { blocks: true, dropped: true, dropped_count: true, arguments };
    let none = Outputs::default();
    let sets = [
        none,
        all,
        Outputs { blocks: true, ..none },
        Outputs { dropped: true, ..none },
        Outputs { dropped_count: true, ..none },
        Outputs { arguments, ..none },
        Outputs { blocks: false, ..all },
        Outputs { arguments: None, ..all },
        Outputs { dropped_count: false, ..all },
    ];
    let capacity = Some(Capacity { slots: 8, priority: Priority::BatchPrioritised });
    let mut programs = Vec::new();
    for variant in Variant::ALL {
        let mut stages = vec![Stage::Empty];
        if variant.schedule == Schedule::One {
            stages.push(Stage::One);
        } else {
            stages.extend(Order::ALL.into_iter().flat_map(|order| [Stage::Count(order), Stage::Place(order)]));
            stages.extend([Stage::Keys, Stage::Columns, Stage::Bases(true), Stage::Bases(false), Stage::Extras]);
        }
        if variant.schedule == Schedule::Serial {
            stages.extend([Stage::Scan(true), Stage::Scan(false)]);
        }
        for outputs in sets {
            // Few experts, and more than one invocation has counters for.
            for experts in [1, 128, 256, 4096] {
                let spec = Spec { block: Some(4), outputs, capacity, ..Spec::new(1, 1, experts) };
                let possible = |stage: &&Stage| **stage != Stage::One || variant.takes(&spec, 1);
                for &stage in stages.iter().filter(possible) {
                    for (write_all, quads) in [(false, false), (true, false), (false, true), (true, true)] {
                        programs.push(program(&spec, variant, stage, Form { write_all, quads }));
                    }
                }
            }
        }
    }
    programs
}
