//! Burn's wgpu backend, by the operations that its tensors have.

use anyhow::{Context, Result, anyhow};
use burn_tensor::activation::softmax;
use burn_tensor::wgpu::WgpuBackend;
use burn_tensor::{Device, Distribution, Int, Tensor, TensorData};
use onesum::host::Gpu;

use crate::peer::{Elapsed, Peer, locked};
use crate::work::{Kind, Problem, Results, TEMPERATURE, Work};

/// What a call leaves on the device: probabilities, columns, or weights and columns.
struct Output {
    values: Option<Tensor<2>>,
    columns: Option<Tensor<2, Int>>,
}

pub struct Burn {
    device: Device,
    version: String,
    work: Option<Work>,
    inputs: Vec<Tensor<2>>,
}

/// Burn's device, made as Burn makes it by default, and the same for onesum: one adapter, one device, one queue.
pub fn open() -> Result<(Burn, Gpu)> {
    let (device, setup) = Device::wgpu_options().graphics_api(WgpuBackend::Auto).init_with_setup()?;
    let gpu = Gpu::from_parts(&setup.device, &setup.queue)?;
    let version = format!("{}, cubecl {}, wgpu {}", locked("burn-tensor"), locked("cubecl"), locked("wgpu"));
    Ok((Burn { device, version, work: None, inputs: Vec::new() }, gpu))
}

fn call(work: Work, x: Tensor<2>) -> Output {
    match work.kind {
        Kind::Softmax => Output { values: Some(softmax(x, 1)), columns: None },
        Kind::ArgMax => Output { values: None, columns: Some(x.argmax(1)) },
        Kind::Sample => {
            let gumbel = x.random_like(Distribution::Uniform(0.0, 1.0)).log().neg().log().neg();
            Output { values: None, columns: Some((x + gumbel.mul_scalar(TEMPERATURE)).argmax(1)) }
        }
        Kind::Route => {
            let (weights, experts) = softmax(x, 1).topk_with_indices(work.choices as usize, 1);
            let sum = weights.clone().sum_dim(1);
            Output { values: Some(weights / sum), columns: Some(experts) }
        }
    }
}

fn columns(tensor: Tensor<2, Int>) -> Result<Vec<u32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow!("{e:?}"))?;
    Ok(data.iter::<i64>().map(|column| u32::try_from(column).unwrap_or(u32::MAX)).collect())
}

fn floats(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow!("{e:?}"))?;
    data.try_to_vec::<f32>().map_err(|e| anyhow!("{e:?}"))
}

impl Burn {
    fn wait(&self) -> Result<()> {
        self.device.sync().map_err(|e| anyhow!("{e:?}"))
    }
}

impl Peer for Burn {
    fn name(&self) -> &'static str {
        "Burn wgpu"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        let work = problem.work;
        let data = TensorData::new(problem.logits.clone(), [work.rows as usize, work.cols as usize]);
        self.inputs = (0..problem.sets).map(|_| Tensor::from_data(data.clone(), &self.device)).collect();
        self.work = Some(work);
        self.wait()
    }

    fn results(&mut self) -> Result<Results> {
        let (work, x) = self.work.zip(self.inputs.first().cloned()).context("nothing prepared")?;
        let output = call(work, x);
        Ok(Results {
            columns: output.columns.map_or(Ok(Vec::new()), columns)?,
            values: output.values.map_or(Ok(Vec::new()), floats)?,
        })
    }

    fn time(&mut self, calls: u32) -> Result<Elapsed> {
        let work = self.work.context("nothing prepared")?;
        let inputs: Vec<_> = self.inputs.iter().cycle().take(calls as usize).cloned().collect();
        // Fusion does not write what nobody holds when it runs, so outputs are held until all is done.
        let mut outputs = Vec::with_capacity(inputs.len());
        let elapsed = Elapsed::of(|| {
            outputs.extend(inputs.into_iter().map(|x| call(work, x)));
            self.wait()
        });
        drop(outputs);
        elapsed
    }

    fn clear(&mut self) {
        self.inputs.clear();
        self.work = None;
        self.device.memory_cleanup();
    }
}
