//! Which dispatches there are, and the fragments of each.

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
    #[cfg(test)]
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

    pub fn tiles(self, spec: &Spec, variant: &Variant, tokens: u32) -> (u32, u32) {
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

    /// Workgroups.
    pub fn groups(self, variant: &Variant, params: &Params) -> u64 {
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
pub(super) fn steps(spec: &Spec, variant: &Variant, tokens: u32) -> Vec<(Stage, Pass)> {
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

pub(super) fn program(spec: &Spec, variant: &Variant, stage: Stage, write_all: bool) -> Program {
    let buffers = stage.buffers(spec);
    let uses = |what: &str| buffers.iter().any(|(used, ..)| *used == what);
    let mut name = variant.to_string();
    match stage {
        Stage::Count(order) => name.push_str(&format!("#count-{}", order.name())),
        Stage::Place(order) => name.push_str(&format!("#place-{}", order.name())),
        Stage::Scan(true) => name.push_str("#scan"),
        Stage::Scan(false) => name.push_str("#scan-only"),
        Stage::Bases(true) => name.push_str("#bases"),
        Stage::Bases(false) => name.push_str("#bases-only"),
        Stage::Columns => name.push_str("#columns"),
        Stage::Keys => name.push_str("#keys"),
        Stage::Extras => name.push_str("#extras"),
        Stage::Empty => name.push_str("#empty"),
        Stage::One => {}
    }
    for (used, suffix) in [
        (uses("blocks"), "+blocks"),
        (uses("dropped"), "+dropped"),
        (uses("dropped_count"), "+dropped-count"),
        (uses("arguments"), "+arguments"),
        (write_all, "@pooled"),
    ] {
        if used {
            name.push_str(suffix);
        }
    }
    let access = |written| if written || write_all { Access::ReadWrite } else { Access::Read };
    let mut bindings = vec![(0, Access::Uniform)];
    bindings.extend(buffers.iter().map(|&(_, binding, written)| (binding, access(written))));
    Program {
        name,
        header: Header::default(),
        fragments: fragments(&uses, variant, stage, write_all),
        overrides: vec![("WIDTH", f64::from(variant.width))],
        bindings,
    }
}

/// One of two fragments.
macro_rules! either {
    ($condition:expr, $yes:literal, $no:literal) => {
        if $condition { fragment!($yes) } else { fragment!($no) }
    };
}

fn fragments(uses: &dyn Fn(&str) -> bool, variant: &Variant, stage: Stage, write_all: bool) -> Vec<Fragment> {
    let group = variant.width == 256;
    let mut list = vec![fragment!("lib/plan_params")];
    match stage {
        Stage::Empty => list.extend([fragment!("plan_empty"), fragment!("lib/plan_counts_on")]),
        Stage::Keys => list.extend([fragment!("plan_keys"), fragment!("lib/plan_key"), fragment!("lib/plan_scratch")]),
        Stage::Extras => list.extend([fragment!("plan_extras"), fragment!("lib/plan_scratch")]),
        Stage::Columns if group => {
            list.extend([fragment!("plan_columns_group"), fragment!("lib/plan_scratch_quads")]);
        }
        Stage::Columns => {
            list.extend([
                fragment!("plan_columns"),
                fragment!("lib/plan_columns"),
                fragment!("lib/plan_scratch_quads"),
            ]);
        }
        Stage::Scan(outputs) | Stage::Bases(outputs) => {
            list.extend([
                fragment!("lib/plan_scratch_quads"),
                fragment!("lib/plan_before"),
                fragment!("lib/plan_bases"),
                either!(outputs, "lib/plan_counts_on", "lib/plan_counts_off"),
            ]);
            match stage {
                Stage::Scan(_) => list.extend([fragment!("plan_scan"), fragment!("lib/plan_columns")]),
                _ => list.push(fragment!("plan_bases")),
            }
        }
        Stage::Count(order) => {
            list.extend([fragment!("lib/plan_scratch"), either!(group, "plan_count_group", "plan_count")]);
            list.extend(items(order));
            if group {
                list.push(fragment!("lib/plan_running"));
            }
            if order == Order::Kept {
                list.push(fragment!("lib/plan_inverse"));
            }
            // Tokens put themselves where they belong in the same file.
        }
        Stage::Place(order) => {
            list.extend([fragment!("lib/plan_scratch"), either!(group, "plan_place_group", "plan_place")]);
            list.extend(items(order));
            if group {
                list.extend([fragment!("lib/plan_running"), fragment!("lib/plan_rank")]);
            }
            match order {
                Order::Digits => {}
                Order::KMajor | Order::Batch => {
                    list.extend([fragment!("lib/plan_inverse"), fragment!("lib/plan_keep")]);
                }
                Order::Pairs | Order::Kept => list.extend(puts()),
            }
            if matches!(order, Order::Pairs | Order::Kept) {
                list.push(either!(uses("dropped"), "lib/plan_drop_on", "lib/plan_drop_off"));
            }
        }
        Stage::One => {
            list.extend([
                either!(group, "plan_one_group", "plan_one"),
                fragment!("lib/plan_own"),
                fragment!("lib/plan_counts_on"),
                fragment!("lib/plan_drop_off"),
            ]);
            list.extend(items(Order::Pairs));
            list.extend(puts());
            if group {
                list.extend([
                    fragment!("lib/plan_running"),
                    fragment!("lib/plan_rank"),
                    fragment!("lib/plan_before"),
                ]);
            }
        }
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
        list.push(either!(write_all, "lib/plan_experts_read_write", "lib/plan_experts_read"));
    }
    if uses("weights") {
        list.push(either!(write_all, "lib/plan_weights_read_write", "lib/plan_weights_read"));
    }
    list
}

/// Items and their buckets.
fn items(order: Order) -> Vec<Fragment> {
    match order {
        Order::Pairs => vec![fragment!("lib/plan_items_pairs"), fragment!("lib/plan_bucket_experts")],
        Order::Kept => vec![fragment!("lib/plan_items_pairs"), fragment!("lib/plan_bucket_kept")],
        Order::KMajor => vec![fragment!("lib/plan_items_k_major"), fragment!("lib/plan_bucket_experts")],
        Order::Batch => vec![fragment!("lib/plan_items_batch"), fragment!("lib/plan_bucket_experts")],
        Order::Digits => vec![fragment!("lib/plan_items_digits")],
    }
}

/// Pairs to their slots.
fn puts() -> [Fragment; 4] {
    [
        fragment!("lib/plan_put"),
        fragment!("lib/plan_inverse"),
        fragment!("lib/plan_holes"),
        fragment!("lib/plan_search"),
    ]
}

/// Every program that can be built, in both forms.
#[cfg(test)]
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
        let stages = match variant.schedule {
            Schedule::One => vec![Stage::One, Stage::Empty],
            _ => {
                let orders = Order::ALL.into_iter().flat_map(|order| [Stage::Count(order), Stage::Place(order)]);
                let rest = [Stage::Keys, Stage::Columns, Stage::Bases(true), Stage::Bases(false), Stage::Extras];
                let scans = [Stage::Scan(true), Stage::Scan(false)].into_iter();
                let scans = scans.filter(|_| variant.schedule == Schedule::Serial);
                orders.chain(rest).chain(scans).chain([Stage::Empty]).collect()
            }
        };
        for outputs in sets {
            let spec = Spec { block: Some(4), outputs, capacity, ..Spec::new(1, 1, 1) };
            for &stage in &stages {
                programs.extend([false, true].map(|write_all| program(&spec, &variant, stage, write_all)));
            }
        }
    }
    programs
}
