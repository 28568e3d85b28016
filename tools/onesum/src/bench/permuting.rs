//! The token permutation of routing against a copy of what it writes.

use onesum::host::{Gpu, HostError};
use onesum::permute::{CombineOperands, CombineSpec, DispatchOperands, DispatchSpec, Kernel, Shape, Variant};
use onesum::reference::permute::{combine, dispatch};
use onesum::reference::plan::{Plan as Layout, Problem};
use onesum::router::Spec;
use onesum::softmax::Dtype;
use onesum::{Bound, Library, Matrix};

use super::contest::{PATTERN, fastest_copy, random_logits, stored};
use super::definitions::{Case, PermuteOptions, Size};
use super::rounds::{Entrant, Label, Outcome, Plan, Runner, Standing, Timing, Yardstick, take_turns};
use super::variants::Field;
use crate::check;
use crate::elements::{decode_into, encode};
use crate::failure::Failure;
use crate::routing::{Routing, bytes};

/// One competitor and what came of its check: how many rows of it.
type Entry = (String, &'static str, Result<(Runner, usize), Standing>);

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
    fn dispatch_spec(&self) -> DispatchSpec {
        DispatchSpec { dtype: self.dtype, ..DispatchSpec::new(self.shape) }
    }

    fn combine_spec(&self) -> CombineSpec {
        CombineSpec { input: self.dtype, output: self.dtype, ..CombineSpec::new(self.shape) }
    }

    fn chosen(&self, library: &Library, kernel: Kernel) -> Variant {
        match kernel {
            Kernel::Dispatch => library.choose(&self.dispatch_spec()),
            Kernel::Combine => library.choose(&self.combine_spec()),
        }
    }

    /// The row that a kernel must write, to the bit.
    fn row(&self, kernel: Kernel, row: usize) -> Vec<f32> {
        let (hidden, choices) = (self.shape.hidden as usize, self.shape.choices as usize);
        match kernel {
            Kernel::Dispatch => dispatch(&self.x, hidden, &self.layout.sorted[row..=row], choices),
            Kernel::Combine => {
                let own = row * choices..(row + 1) * choices;
                let (inverse, weights) = (&self.layout.inverse[own.clone()], &self.weights[own]);
                let sums = combine(&self.y, hidden, inverse, Some(weights), choices, None);
                stored(&sums.iter().map(|sum| sum.rounded).collect::<Vec<_>>(), self.dtype)
            }
        }
    }
}

/// One shape's contest: set up, checked, run.
pub struct Contest<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    data: Data,
    /// Buffers in turns: rows of tokens that are read, of slots that are read, of slots that are written, of tokens that are.
    sets: Vec<[wgpu::Buffer; 4]>,
    /// `sorted`, `inverse` and the weights.
    tables: [wgpu::Buffer; 3],
    entries: Vec<Entry>,
}

/// The contest of a case.
pub fn contest<'a>(
    gpu: &'a Gpu,
    plan: &'a Plan,
    case: &Case<'_>,
    options: PermuteOptions,
) -> Result<Contest<'a>, Failure> {
    let mut contest = Contest::new(gpu, plan, case.size, case.types.input, options)?;
    for kernel in Kernel::ALL {
        for variant in variants(&gpu.library, kernel, &contest.data, &case.definition.words) {
            contest.enter(kernel, variant)?;
        }
    }
    Ok(contest)
}

/// Who competes.
fn variants(library: &Library, kernel: Kernel, data: &Data, words: &[String]) -> Vec<Variant> {
    let (shape, dtype, caps) = (data.shape, data.dtype, library.caps());
    let runnable = Variant::all()
        .filter(|v| (v.kernel, v.input, v.output) == (kernel, dtype, dtype) && (shape.quads || !v.quads))
        .filter(|v| v.supported(caps).is_ok());
    let chosen = data.chosen(library, kernel);
    let field = Field { chosen, runnable: runnable.collect(), quads: shape.quads };
    field.pick(words, |v| (false, (*v != chosen, u32::MAX - v.lanes)), |_| false)
}

impl<'a> Contest<'a> {
    /// Routes random tokens on the CPU, and uploads rows.
    pub fn new(
        gpu: &'a Gpu,
        plan: &'a Plan,
        Size { rows: tokens, cols: hidden, choices }: Size,
        dtype: Dtype,
        options: PermuteOptions,
    ) -> Result<Self, Failure> {
        let experts = options.experts;
        let logits = random_logits(tokens as usize * experts as usize);
        let spec = Spec::new(onesum::softmax::Shape::new(tokens, experts), choices);
        let (chosen, weights) = Routing::new(spec, logits).on_cpu();
        let (k, slots) = (choices as usize, tokens as usize * choices as usize);
        let layout = Problem { experts: &chosen, k, count: experts, block: None, capacity: None, weights: &[] }.plan();
        let x = stored(&random_logits(tokens as usize * hidden as usize), dtype);
        let y = stored(&random_logits(slots * hidden as usize), dtype);
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

    fn traffic(&self, kernel: Kernel) -> u64 {
        self.slot_bytes()
            + match kernel {
                Kernel::Dispatch => self.slot_bytes(),
                Kernel::Combine => self.data.x.len() as u64 * self.data.dtype.bytes(),
            }
    }

    /// Builds, binds and checks one more competitor.
    pub fn enter(&mut self, kernel: Kernel, variant: Variant) -> Result<(), Failure> {
        let chosen = variant == self.data.chosen(&self.gpu.library, kernel);
        let (out, _) = self.written(kernel);
        self.gpu.queue.write_buffer(out, 0, &vec![PATTERN; out.size() as usize]);
        let entry = match self.plan.first_use(self.gpu, |gpu| self.bind(gpu, kernel, variant))? {
            Err(e) => Err(Standing::Refused(e.to_string())),
            Ok(first) => match self.check(kernel)? {
                Err(wrong) => Err(Standing::Wrong(wrong)),
                Ok(rows) => Ok((Runner::first(first, self.traffic(kernel)), rows)),
            },
        };
        self.entries.push((variant.to_string(), if chosen { "chosen" } else { "other" }, entry));
        Ok(())
    }

    /// What a kernel writes, and how many rows.
    fn written(&self, kernel: Kernel) -> (&wgpu::Buffer, usize) {
        let hidden = self.data.shape.hidden as usize;
        match kernel {
            Kernel::Dispatch => (&self.sets[0][2], self.data.y.len() / hidden),
            Kernel::Combine => (&self.sets[0][3], self.data.x.len() / hidden),
        }
    }

    fn bind(&self, gpu: &Gpu, kernel: Kernel, variant: Variant) -> Result<Vec<Bound>, HostError> {
        let Shape { tokens, choices, hidden, .. } = self.data.shape;
        let slots = tokens * choices;
        let [sorted, inverse, weights] = &self.tables;
        let variant = Some(variant);
        match kernel {
            Kernel::Dispatch => {
                let kernel = gpu.library.dispatch(&DispatchSpec { variant, ..self.data.dispatch_spec() })?;
                let bind = |[x, _, out, _]: &[wgpu::Buffer; 4]| {
                    Ok(kernel.bind(&DispatchOperands {
                        x: Matrix::new(x, tokens, hidden),
                        sorted: Matrix::new(sorted, 1, slots),
                        weights: None,
                        out: Matrix::new(out, slots, hidden),
                    })?)
                };
                self.sets.iter().map(bind).collect()
            }
            Kernel::Combine => {
                let kernel = gpu.library.combine(&CombineSpec { variant, ..self.data.combine_spec() })?;
                let bind = |[_, y, _, out]: &[wgpu::Buffer; 4]| {
                    Ok(kernel.bind(&CombineOperands {
                        y: Matrix::new(y, slots, hidden),
                        inverse: Matrix::new(inverse, tokens, choices),
                        weights: Some(Matrix::new(weights, tokens, choices)),
                        out: Matrix::new(out, tokens, hidden),
                    })?)
                };
                self.sets.iter().map(bind).collect()
            }
        }
    }

    /// Compares some of the rows that were written with the reference's, to the bit; how many.
    fn check(&self, kernel: Kernel) -> Result<Result<usize, String>, HostError> {
        let hidden = self.data.shape.hidden as usize;
        let (out, rows) = self.written(kernel);
        let mut got = Vec::new();
        let bytes = self.gpu.download(out, (rows * hidden) as u64 * self.data.dtype.bytes())?;
        decode_into(&bytes, self.data.dtype, &mut got);
        let data = &self.data;
        let rows = check::sample(rows, (self.plan.checked / hidden).max(2));
        let wrong = check::first_wrong(&rows, |r| {
            let (want, got) = (data.row(kernel, r), &got[r * hidden..][..hidden]);
            let at = (0..hidden).find(|&c| want[c].to_bits() != got[c].to_bits())?;
            Some(format!("row {r} column {at}: got {:e}, want {:e}", got[at], want[at]))
        });
        Ok(wrong.map_or(Ok(rows.len()), Err))
    }

    /// Those that entered, in order: what runs, or why it does not.
    pub fn into_runners(self) -> Vec<Result<Runner, Standing>> {
        self.entries.into_iter().map(|(.., entry)| entry.map(|(runner, _)| runner)).collect()
    }

    /// Lets all take turns; tells after each round.
    pub fn run(mut self, tell: impl FnMut()) -> Result<Outcome, Failure> {
        let (gpu, plan) = (self.gpu, self.plan);
        let encoded = encode(&self.data.y, self.data.dtype);
        let (src, dst): (Vec<_>, Vec<_>) = self.sets.iter().map(|[_, y, out, _]| (y.clone(), out.clone())).unzip();
        let (copy_name, mut copy) = fastest_copy(gpu, plan, &src, &dst, &encoded)?;
        let timed = self.entries.iter_mut().filter_map(|(.., entry)| Some(&mut entry.as_mut().ok()?.0));
        take_turns(gpu, plan, std::iter::once(&mut copy).chain(timed), tell)?;
        let Shape { tokens, choices, hidden, .. } = self.data.shape;
        let entrants = self.entries.iter().map(|(name, role, entry)| {
            let standing = match entry {
                Ok((runner, rows)) => {
                    Standing::Timed(Box::new(Timing { rows_checked: *rows, ..runner.timing(&copy, plan) }))
                }
                Err(standing) => standing.clone(),
            };
            Entrant { name: name.clone(), role, over: Yardstick::Copy, standing }
        });
        let entrants = entrants.collect();
        Ok(Outcome {
            label: Label::default(),
            shape: (tokens, hidden),
            choices: Some(choices),
            title: format!("{tokens} tokens of {hidden} {}, {choices} choices", self.data.dtype.name()),
            yardstick: Yardstick::Copy,
            unit: (copy_name.to_string(), copy.timing(&copy, plan)),
            entrants,
        })
    }
}
