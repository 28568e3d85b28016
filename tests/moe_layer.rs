//! A mixture-of-experts layer from end to end, in one pass and from one pooled buffer, on every adapter: logits to experts and
//! weights, the plan, hidden states to experts that do nothing, and back; the load beside it.

use onesum::host::{Gpu, adapters};
use onesum::permute::{CombineOperands, CombineSpec, DispatchOperands, DispatchSpec, Shape};
use onesum::reference::permute::combine;
use onesum::router::Preset;
use onesum::{Matrix, plan, reference, router, stats};

#[path = "common/mod.rs"]
mod common;

const TOKENS: u32 = 37;
const HIDDEN: u32 = 64;

/// Windows of one buffer, one after another, as an engine's pool hands them out.
struct Pool<'a> {
    gpu: &'a Gpu,
    buffer: wgpu::Buffer,
    words: u32,
}

impl<'a> Pool<'a> {
    fn new(gpu: &'a Gpu) -> Self {
        Self { gpu, buffer: gpu.allocate(1 << 22).unwrap(), words: 0 }
    }

    /// Rows of words, at the next multiple of the binding alignment that leaves the one before alone.
    fn window(&mut self, rows: u32, cols: u32) -> (u32, [u32; 2]) {
        let alignment = self.gpu.library.caps().binding_alignment / 4;
        let at = self.words;
        self.words = (at + rows * cols + alignment).next_multiple_of(alignment);
        assert!(u64::from(self.words) * 4 <= self.buffer.size());
        (at, [rows, cols])
    }

    fn matrix(&self, (at, [rows, cols]): (u32, [u32; 2])) -> Matrix<'_> {
        Matrix::new(&self.buffer, rows, cols).at(u64::from(at))
    }

    fn write(&self, (at, _): (u32, [u32; 2]), values: &[f32]) {
        self.gpu.queue.write_buffer(&self.buffer, u64::from(at) * 4, bytemuck::cast_slice(values));
    }

    fn read(&self) -> Vec<u32> {
        bytemuck::pod_collect_to_vec(&self.gpu.download(&self.buffer, self.buffer.size()).unwrap())
    }
}

fn part(all: &[u32], (at, [rows, cols]): (u32, [u32; 2])) -> &[u32] {
    &all[at as usize..][..(rows * cols) as usize]
}

fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().copied().map(f32::from_bits).collect()
}

fn layer(gpu: &Gpu, preset: Preset) {
    let spec = preset.spec(TOKENS);
    let (experts, k) = (spec.shape.cols, spec.width());
    let planner = gpu.library.plan(&plan::Spec { block: Some(16), ..plan::Spec::new(TOKENS, k, experts) }).unwrap();
    let slots = u32::try_from(planner.slots(TOKENS)).unwrap();
    let scratch_words = u32::try_from(planner.scratch_bytes(TOKENS) / 4).unwrap().max(1);
    let mut pool = Pool::new(gpu);
    let [logits, bias, chosen, weights] =
        [(TOKENS, experts), (1, experts), (TOKENS, k), (TOKENS, k)].map(|(rows, cols)| pool.window(rows, cols));
    let [counts, offsets, sorted, inverse, scratch] =
        [(1, experts), (1, experts + 1), (1, slots), (TOKENS, k), (1, scratch_words)].map(|(r, c)| pool.window(r, c));
    let [x, inputs, out, state] = [(TOKENS, HIDDEN), (slots, HIDDEN), (TOKENS, HIDDEN), (1, stats::words(experts))]
        .map(|(rows, cols)| pool.window(rows, cols));

    let given = common::logits(7, (TOKENS * experts) as usize);
    let biases: Vec<f32> = common::logits(8, experts as usize).iter().map(|b| b * 0.01).collect();
    let states = common::logits(9, (TOKENS * HIDDEN) as usize);
    pool.write(logits, &given);
    pool.write(bias, &biases);
    pool.write(x, &states);

    let shape = Shape::new(TOKENS, k, HIDDEN);
    let biased = spec.options.bias.is_some();
    let steps = [
        gpu.library
            .router(&spec)
            .unwrap()
            .bind(&router::Operands {
                bias: biased.then(|| pool.matrix(bias)),
                ..router::Operands::new(pool.matrix(logits), pool.matrix(chosen), pool.matrix(weights))
            })
            .unwrap(),
        planner
            .bind(&plan::Operands {
                scratch: Some(pool.matrix(scratch)),
                ..plan::Operands::new(
                    pool.matrix(chosen),
                    pool.matrix(counts),
                    pool.matrix(offsets),
                    pool.matrix(sorted),
                    pool.matrix(inverse),
                )
            })
            .unwrap(),
        gpu.library
            .dispatch(&DispatchSpec::new(shape))
            .unwrap()
            .bind(&DispatchOperands {
                x: pool.matrix(x),
                sorted: pool.matrix(sorted),
                weights: None,
                out: pool.matrix(inputs),
            })
            .unwrap(),
        // Experts that give back what they got.
        gpu.library
            .combine(&CombineSpec::new(shape))
            .unwrap()
            .bind(&CombineOperands {
                y: pool.matrix(inputs),
                inverse: pool.matrix(inverse),
                weights: Some(pool.matrix(weights)),
                out: pool.matrix(out),
            })
            .unwrap(),
        gpu.library
            .stats(&stats::Spec::new(onesum::softmax::Shape::new(TOKENS, experts)))
            .unwrap()
            .bind(&stats::Operands {
                src: pool.matrix(logits),
                experts: pool.matrix(chosen),
                weights: pool.matrix(weights),
                state: pool.matrix(state),
            })
            .unwrap(),
    ];
    gpu.run(&steps.iter().collect::<Vec<_>>()).unwrap();
    let all = pool.read();

    let problem = reference::router::Problem {
        bias: if biased { &biases } else { &[] },
        ..reference::router::Problem::new(&spec, &given, experts as usize)
    };
    let routes: Vec<_> = (0..TOKENS as usize).map(|token| problem.route(token)).collect();
    let want: Vec<u32> = routes.iter().flat_map(|r| r.experts.clone()).collect();
    let weigh: Vec<f32> = routes.iter().flat_map(|r| r.weights.clone()).collect();
    assert_eq!(part(&all, chosen), want);
    assert_eq!(floats(part(&all, weights)), weigh);
    let planned = reference::plan::Problem {
        experts: &want,
        k: k as usize,
        count: experts,
        block: Some(16),
        capacity: None,
        weights: &weigh,
    }
    .plan();
    assert_eq!(part(&all, sorted), planned.sorted);
    assert_eq!(part(&all, inverse), planned.inverse);
    assert_eq!(part(&all, offsets), planned.offsets);

    let rows = floats(part(&all, inputs));
    let sums = combine(&rows, HIDDEN as usize, &planned.inverse, Some(&weigh), k as usize, None);
    for (i, (got, sum)) in floats(part(&all, out)).into_iter().zip(&sums).enumerate() {
        assert!((f64::from(got) - sum.value).abs() <= sum.budget(), "{i}: {got}, not {}", sum.value);
        // Experts that do nothing leave x times the sum of the weights.
        let total: f64 = routes[i / HIDDEN as usize].weights.iter().map(|&w| f64::from(w)).sum();
        assert!((sum.value - f64::from(states[i]) * total).abs() <= 1e-12 * sum.magnitude);
    }
    let state = stats::State::from_words(part(&all, state)).unwrap();
    assert_eq!((state.tokens, state.pairs()), (u64::from(TOKENS), u64::from(TOKENS * k)));
    assert_eq!(state.counts.iter().map(|&n| n as u32).collect::<Vec<_>>(), planned.counts);
}

#[test]
fn from_logits_to_sums() {
    for adapter in &adapters() {
        let gpu = Gpu::of(adapter).unwrap();
        for preset in [Preset::Mixtral, Preset::DeepseekV3] {
            layer(&gpu, preset);
        }
    }
}
