//! The token permutation of routing against a copy of what it writes.

use half::{bf16, f16};
use onesum::host::{Gpu, HostError};
use onesum::permute::{CombineOperands, CombineSpec, DispatchOperands, DispatchSpec, Kernel, Shape, Variant};
use onesum::reference::permute::{combine, dispatch};
use onesum::reference::plan::{Plan as Layout, Problem};
use onesum::router::Spec;
use onesum::softmax::Dtype;
use onesum::{Bound, Matrix};

use super::contest::{PATTERN, fastest_copy, random_logits};
use super::rounds::{Entrant, Outcome, Plan, Runner, Standing, Yardstick, take_turns};
use crate::check;
use crate::elements::{decode_into, encode};
use crate::failure::Failure;
use crate::routing::{Routing, bytes};

/// Tokens, elements of a token and choices that are measured unless `--shape` says otherwise.
pub const SHAPES: [(u32, u32, u32); 2] = [(1024, 2048, 8), (1024, 4096, 8)];

/// What `--quick` measures.
pub const QUICK_SHAPES: [(u32, u32, u32); 2] = [(256, 2048, 8), (256, 4096, 8)];

/// The element types that are measured.
pub const TYPES: [Dtype; 2] = [Dtype::F32, Dtype::Bf16];

/// So many experts, and at least as many as there are choices.
const EXPERTS: u32 = 128;

/// One competitor and what came of its check.
type Entry = (String, &'static str, Result<Runner, Standing>);

/// What is moved, and where to.
struct Data {
    shape: Shape,
    dtype: Dtype,
    /// Rows of tokens, and of slots.
    x: Vec<f32>,
    y: Vec<f32>,
    layout: Layout,
    weights: Vec<f32>,
}

impl Data {
    /// The row that a kernel must write, to the bit.
    fn row(&self, kernel: Kernel, row: usize) -> Vec<f32> {
        let (hidden, choices) = (self.shape.hidden as usize, self.shape.choices as usize);
        match kernel {
            Kernel::Dispatch => dispatch(&self.x, hidden, &self.layout.sorted[row..=row], choices),
            Kernel::Combine => {
                let own = row * choices..(row + 1) * choices;
                let (inverse, weights) = (&self.layout.inverse[own.clone()], &self.weights[own]);
                let sums = combine(&self.y, hidden, inverse, Some(weights), choices, None);
                sums.iter().map(|sum| self.stored(sum.rounded)).collect()
            }
        }
    }

    fn stored(&self, x: f32) -> f32 {
        match self.dtype {
            Dtype::F32 => x,
            Dtype::F16 => f16::from_f32(x).to_f32(),
            Dtype::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }
}

/// One shape's contest: set up, checked, run.
pub struct Contest<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    variant: Option<Variant>,
    data: Data,
    /// Buffers in turns: rows of tokens that are read, of slots that are read, of slots that are written, of tokens that are.
    sets: Vec<[wgpu::Buffer; 4]>,
    /// `sorted`, `inverse` and the weights.
    tables: [wgpu::Buffer; 3],
    entries: Vec<Entry>,
}

impl<'a> Contest<'a> {
    /// Routes random tokens on the CPU, and uploads rows.
    pub fn new(
        gpu: &'a Gpu,
        plan: &'a Plan,
        (tokens, hidden, choices): (u32, u32, u32),
        dtype: Dtype,
        variant: Option<Variant>,
    ) -> Result<Self, Failure> {
        let experts = EXPERTS.max(choices);
        let logits = random_logits(tokens as usize * experts as usize);
        let spec = Spec::new(onesum::softmax::Shape::new(tokens, experts), choices);
        spec.check(experts)?;
        let (chosen, weights) = Routing::new(spec, logits).on_cpu();
        let (k, slots) = (choices as usize, tokens as usize * choices as usize);
        let layout = Problem { experts: &chosen, k, count: experts, block: None, capacity: None, weights: &[] }.plan();
        let rounded = |values: Vec<f32>| {
            let mut stored = Vec::with_capacity(values.len());
            decode_into(&encode(&values, dtype), dtype, &mut stored);
            stored
        };
        let x = rounded(random_logits(tokens as usize * hidden as usize));
        let y = rounded(random_logits(slots * hidden as usize));
        let (row_bytes, slot_bytes) = (x.len() as u64 * dtype.bytes(), y.len() as u64 * dtype.bytes());
        let count = plan.rotate.div_ceil((2 * slot_bytes).max(1)).clamp(1, 8);
        let (x_bytes, y_bytes) = (encode(&x, dtype), encode(&y, dtype));
        let set = |_| {
            Ok::<_, HostError>([
                gpu.upload(&x_bytes)?,
                gpu.upload(&y_bytes)?,
                gpu.allocate(slot_bytes)?,
                gpu.allocate(row_bytes)?,
            ])
        };
        let tables = [
            gpu.upload(&bytes(&layout.sorted))?,
            gpu.upload(&bytes(&layout.inverse))?,
            gpu.upload(&encode(&weights, Dtype::F32))?,
        ];
        Ok(Self {
            gpu,
            plan,
            variant,
            sets: (0..count).map(set).collect::<Result<_, _>>()?,
            tables,
            data: Data { shape: Shape::new(tokens, choices, hidden), dtype, x, y, layout, weights },
            entries: Vec::new(),
        })
    }

    /// Bytes of all slots.
    fn slot_bytes(&self) -> u64 {
        self.data.y.len() as u64 * self.data.dtype.bytes()
    }

    /// One more variant takes part.
    pub fn enter(&mut self, variant: Variant) -> Result<(), Failure> {
        self.variant = Some(variant);
        self.enter_all()
    }

    /// Those that entered, in order: what runs, or why it does not.
    pub fn into_runners(self) -> Vec<Result<Runner, Standing>> {
        self.entries.into_iter().map(|(.., entry)| entry).collect()
    }

    /// Both kernels take part, or the one whose variant was named.
    pub fn enter_all(&mut self) -> Result<(), Failure> {
        for kernel in Kernel::ALL {
            if self.variant.is_none_or(|v| v.kernel == kernel) {
                let (name, entry) = match self.bind(kernel) {
                    Err(e) => (format!("permute/{}", kernel_name(kernel)), Err(Standing::Refused(e.to_string()))),
                    Ok((variant, bounds)) => {
                        let right = self.check(kernel, &bounds[0])?;
                        let traffic = self.slot_bytes()
                            + match kernel {
                                Kernel::Dispatch => self.slot_bytes(),
                                Kernel::Combine => self.data.x.len() as u64 * self.data.dtype.bytes(),
                            };
                        let runner = Runner::of(bounds, traffic);
                        (variant.to_string(), right.map_err(Standing::Wrong).map(|()| runner))
                    }
                };
                self.entries.push((name, if self.variant.is_some() { "other" } else { "chosen" }, entry));
            }
        }
        Ok(())
    }

    fn bind(&self, kernel: Kernel) -> Result<(Variant, Vec<Bound>), HostError> {
        let Shape { tokens, choices, hidden, .. } = self.data.shape;
        let slots = tokens * choices;
        let [sorted, inverse, weights] = &self.tables;
        let variant = self.variant;
        match kernel {
            Kernel::Dispatch => {
                let spec = DispatchSpec { dtype: self.data.dtype, variant, ..DispatchSpec::new(self.data.shape) };
                let kernel = self.gpu.library.dispatch(&spec)?;
                let bind = |[x, _, out, _]: &[wgpu::Buffer; 4]| {
                    kernel.bind(&DispatchOperands {
                        x: Matrix::new(x, tokens, hidden),
                        sorted: Matrix::new(sorted, 1, slots),
                        weights: None,
                        out: Matrix::new(out, slots, hidden),
                    })
                };
                Ok((kernel.variant(), self.sets.iter().map(bind).collect::<Result<_, _>>()?))
            }
            Kernel::Combine => {
                let types = CombineSpec {
                    input: self.data.dtype,
                    output: self.data.dtype,
                    ..CombineSpec::new(self.data.shape)
                };
                let kernel = self.gpu.library.combine(&CombineSpec { variant, ..types })?;
                let bind = |[_, y, _, out]: &[wgpu::Buffer; 4]| {
                    kernel.bind(&CombineOperands {
                        y: Matrix::new(y, slots, hidden),
                        inverse: Matrix::new(inverse, tokens, choices),
                        weights: Some(Matrix::new(weights, tokens, choices)),
                        out: Matrix::new(out, tokens, hidden),
                    })
                };
                Ok((kernel.variant(), self.sets.iter().map(bind).collect::<Result<_, _>>()?))
            }
        }
    }

    /// Runs it once and compares some of its rows with the reference's, to the bit.
    fn check(&self, kernel: Kernel, bound: &Bound) -> Result<Result<(), String>, Failure> {
        let hidden = self.data.shape.hidden as usize;
        let (out, rows) = match kernel {
            Kernel::Dispatch => (&self.sets[0][2], self.data.y.len() / hidden),
            Kernel::Combine => (&self.sets[0][3], self.data.x.len() / hidden),
        };
        self.gpu.queue.write_buffer(out, 0, &vec![PATTERN; out.size() as usize]);
        self.plan.once(self.gpu, bound)?;
        let mut got = Vec::new();
        decode_into(
            &self.gpu.download(out, (rows * hidden) as u64 * self.data.dtype.bytes())?,
            self.data.dtype,
            &mut got,
        );
        let data = &self.data;
        let rows = check::sample(rows, (self.plan.checked / hidden).max(2));
        let wrong = check::first_wrong(&rows, |r| {
            let (want, got) = (data.row(kernel, r), &got[r * hidden..][..hidden]);
            let at = (0..hidden).find(|&c| want[c].to_bits() != got[c].to_bits())?;
            Some(format!("row {r} column {at}: got {:e}, want {:e}", got[at], want[at]))
        });
        Ok(wrong.map_or(Ok(()), Err))
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (gpu, plan) = (self.gpu, self.plan);
        let encoded = encode(&self.data.y, self.data.dtype);
        let (src, dst): (Vec<_>, Vec<_>) = self.sets.iter().map(|[_, y, out, _]| (y.clone(), out.clone())).unzip();
        let (copy_name, mut copy) = fastest_copy(gpu, plan, &src, &dst, &encoded)?;
        let timed = self.entries.iter_mut().filter_map(|(.., entry)| entry.as_mut().ok());
        take_turns(gpu, plan, std::iter::once(&mut copy).chain(timed), tell)?;
        let Shape { tokens, choices, hidden, .. } = self.data.shape;
        let entrants = self.entries.iter().map(|(name, role, entry)| {
            let standing = match entry {
                Ok(runner) => Standing::Timed(runner.timing(&copy, plan.cpu, None, tokens as usize)),
                Err(standing) => standing.clone(),
            };
            Entrant { name: name.clone(), role, over: Yardstick::Copy, standing }
        });
        let entrants = entrants.collect();
        Ok(Outcome {
            shape: (tokens, hidden),
            choices: Some(choices),
            title: format!("{tokens} tokens of {hidden} {}, {choices} choices", self.data.dtype.name()),
            yardstick: Yardstick::Copy,
            unit: (copy_name.to_string(), copy.timing(&copy, plan.cpu, None, 0)),
            entrants,
        })
    }
}

fn kernel_name(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Dispatch => "dispatch",
        Kernel::Combine => "combine",
    }
}
