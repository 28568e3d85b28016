//! candle on the CPU, by the operations that its tensors have.

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;

use crate::peer::{Elapsed, Peer, locked};
use crate::work::{Kind, Problem, Results, TEMPERATURE, Work};

/// How columns are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// arg max of logits and Gumbel noise: `candle_nn::sampling::gumbel_softmax` with noise that is not cut off. (Its own u lies in
    /// [1e-7, 0.999), so that no noise exceeds 6.9, where the greatest of a vocabulary is expected at 12.)
    Gumbel,
    /// A softmax, then a walk along its sums: what the `LogitsProcessor` of `candle_transformers` does.
    Weighted,
}

pub struct Candle {
    draw: Draw,
    work: Option<Work>,
    inputs: Vec<Tensor>,
}

/// What a call returns: probabilities, columns, or weights and columns.
struct Output {
    values: Option<Tensor>,
    columns: Option<Tensor>,
}

impl Candle {
    pub fn new(draw: Draw) -> Self {
        Self { draw, work: None, inputs: Vec::new() }
    }

    fn call(&self, work: Work, x: &Tensor) -> candle_core::Result<Output> {
        Ok(match work.kind {
            Kind::Softmax => Output { values: Some(softmax_last_dim(x)?), columns: None },
            Kind::ArgMax => Output { values: None, columns: Some(x.argmax(D::Minus1)?) },
            Kind::Sample => Output { values: None, columns: Some(self.draw(x)?) },
            Kind::Route => {
                // As the mixtures of candle_transformers do it.
                let weights = softmax_last_dim(x)?;
                let experts = weights.arg_sort_last_dim(false)?.narrow(D::Minus1, 0, work.choices as usize)?;
                let experts = experts.contiguous()?;
                let weights = weights.gather(&experts, D::Minus1)?;
                let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
                Output { values: Some(weights), columns: Some(experts) }
            }
        })
    }

    fn draw(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let temperature = f64::from(TEMPERATURE);
        if self.draw == Draw::Gumbel {
            let minus_gumbel = x.rand_like(0.0, 1.0)?.log()?.neg()?.log()?;
            return (x + (minus_gumbel * -temperature)?)?.argmax(D::Minus1);
        }
        let rows: Vec<Vec<f32>> = softmax_last_dim(&(x / temperature)?)?.to_vec2()?;
        let mut rng = rand::rng();
        let draw =
            |row: &Vec<f32>| Ok(WeightedIndex::new(row).map_err(candle_core::Error::wrap)?.sample(&mut rng) as u32);
        let columns = rows.iter().map(draw).collect::<candle_core::Result<Vec<u32>>>()?;
        Tensor::new(columns, &Device::Cpu)
    }
}

impl Peer for Candle {
    fn name(&self) -> &'static str {
        match self.draw {
            Draw::Gumbel => "candle CPU",
            Draw::Weighted => "candle CPU, weighted index",
        }
    }

    fn version(&self) -> &'static str {
        locked("candle-core")
    }

    fn takes(&self, kind: Kind) -> bool {
        self.draw == Draw::Gumbel || kind == Kind::Sample
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        let work = problem.work;
        let shape = (work.rows as usize, work.cols as usize);
        let copy = |_| Tensor::from_vec(problem.logits.clone(), shape, &Device::Cpu);
        self.inputs = (0..problem.sets).map(copy).collect::<Result<_, _>>()?;
        self.work = Some(work);
        Ok(())
    }

    fn results(&mut self) -> Result<Results> {
        let (work, x) = self.work.zip(self.inputs.first()).context("nothing prepared")?;
        let output = self.call(work, x)?;
        let mut results = Results::default();
        if let Some(values) = output.values {
            results.values = values.flatten_all()?.to_vec1()?;
        }
        if let Some(columns) = output.columns {
            results.columns = columns.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
        }
        Ok(results)
    }

    fn time(&mut self, calls: u32) -> Result<Elapsed> {
        let work = self.work.context("nothing prepared")?;
        Elapsed::of(|| {
            for x in self.inputs.iter().cycle().take(calls as usize) {
                std::hint::black_box(self.call(work, x)?);
            }
            Ok(())
        })
    }

    fn clear(&mut self) {
        self.inputs.clear();
        self.work = None;
    }
}
