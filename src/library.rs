//! The pipelines of one device, each built once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::shader::{Dialect, Fragment, Header, fragment, link};
use crate::tuning::{Tunable, Tuning};
use crate::{BuildError, Caps, copy, expert_choice, gumbel, permute, plan, router, sample, softmax, stats};

/// The kernels of one device. Cheap to clone; clones share what has been built. Threads build different pipelines side by side; who
/// wants one that another is building waits for it.
#[derive(Clone, Debug)]
pub struct Library {
    shared: Arc<Shared>,
    tuning: Option<Arc<Tuning>>,
}

#[derive(Debug)]
struct Shared {
    device: wgpu::Device,
    caps: Caps,
    cache: Option<wgpu::PipelineCache>,
    /// A lock of its own for each: compiling takes long.
    built: Mutex<HashMap<String, Arc<Mutex<Option<Built>>>>>,
    #[cfg(feature = "conformance")]
    hook: Option<Arc<Hook>>,
}

/// What the suite's mutants do to programs before they are compiled.
#[cfg(feature = "conformance")]
#[derive(Debug)]
pub(crate) enum Hook {
    /// Notes the fragments of every program, and compiles something that does nothing.
    Survey(Mutex<Vec<Fragment>>),
    /// Another text in place of a file's.
    Patch(Patch),
}

/// Another text in place of a file's, and what came of it.
#[cfg(feature = "conformance")]
#[derive(Debug)]
pub(crate) struct Patch {
    /// As [`Fragment::name`].
    pub file: &'static str,
    pub text: String,
    /// Programs that had it.
    pub applied: std::sync::atomic::AtomicUsize,
    /// Why no program can have it.
    pub refused: Mutex<Option<String>>,
}

/// A compiled pipeline and the layout its bind groups need.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub pipeline: Arc<wgpu::ComputePipeline>,
    pub layout: Arc<wgpu::BindGroupLayout>,
    #[cfg(feature = "conformance")]
    pub program: Arc<Program>,
}

/// How a binding is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A uniform buffer.
    Uniform,
    /// A storage buffer that is read only.
    Read,
    /// A storage buffer that is declared read-write.
    ReadWrite,
}

/// Everything that decides which machine code runs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Unique to the rest of the fields; also the pipeline's label.
    pub name: String,
    pub header: Header,
    pub fragments: Vec<Fragment>,
    pub overrides: Vec<(&'static str, f64)>,
    pub bindings: Vec<(u32, Access)>,
}

/// How shaders multiply for the random stream.
pub(crate) const PRODUCT_16: Fragment = fragment!("lib/product_16");

/// How they do where the device has 64-bit integers. The bits are the same.
const WIDER_PRODUCTS: [(Fragment, Fragment); 1] = [(PRODUCT_16, fragment!("lib/product_64"))];

/// How quads are loaded and stored where it runs on the CPU besides: there each lane's take their turn, and cost as much however
/// wide they are. On a GPU there is nothing to win.
const WIDER_MOVES: [(Fragment, Fragment); 17] = [
    (fragment!("lib/src_f32_x4"), fragment!("lib/src_f32_x4_int64")),
    (fragment!("lib/src_f16_x4"), fragment!("lib/src_f16_x4_int64")),
    (fragment!("lib/src_bf16_x4"), fragment!("lib/src_bf16_x4_int64")),
    (fragment!("lib/src_w32_x4"), fragment!("lib/src_w32_x4_int64")),
    (fragment!("lib/src_w16_x4"), fragment!("lib/src_w16_x4_int64")),
    (fragment!("lib/dst_f32_x4"), fragment!("lib/dst_f32_x4_int64")),
    (fragment!("lib/dst_f16_x4"), fragment!("lib/dst_f16_x4_int64")),
    (fragment!("lib/dst_bf16_x4"), fragment!("lib/dst_bf16_x4_int64")),
    (fragment!("lib/dst_w32_x4"), fragment!("lib/dst_w32_x4_int64")),
    (fragment!("lib/dst_w16_x4"), fragment!("lib/dst_w16_x4_int64")),
    (fragment!("lib/reload_x4"), fragment!("lib/reload_x4_int64")),
    (fragment!("lib/reload_f16_x4"), fragment!("lib/reload_f16_x4_int64")),
    (fragment!("lib/reload_bf16_x4"), fragment!("lib/reload_bf16_x4_int64")),
    (fragment!("lib/one_f32_x4"), fragment!("lib/one_f32_int64")),
    (fragment!("lib/one_half_x4"), fragment!("lib/one_half_int64")),
    (fragment!("lib/one_brain_x4"), fragment!("lib/one_brain_int64")),
    (fragment!("lib/router_bias_x4"), fragment!("lib/router_bias_int64")),
];

impl Program {
    /// The same for a device with these capabilities.
    pub fn on(&self, caps: &Caps) -> Self {
        let mut program = self.clone();
        if caps.int64 {
            program.exchange(&WIDER_PRODUCTS, "+int64");
        }
        if caps.int64 && caps.cpu {
            program.exchange(&WIDER_MOVES, "+wide");
        }
        program
    }

    fn exchange(&mut self, pairs: &[(Fragment, Fragment)], suffix: &str) {
        let mut changed = false;
        for fragment in &mut self.fragments {
            if let Some((_, other)) = pairs.iter().find(|(known, _)| known == fragment) {
                (*fragment, changed) = (*other, true);
            }
        }
        if changed {
            self.name.push_str(suffix);
        }
    }

    /// The whole text, and what its overrides are set to, for who reads it.
    pub fn text(&self, dialect: Dialect) -> String {
        let overrides: Vec<_> = self.overrides.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let text = link(dialect, &self.header, &self.fragments);
        if overrides.is_empty() { text } else { format!("// overrides: {}\n{text}", overrides.join(", ")) }
    }
}

impl Library {
    /// The kernels of `device`: nothing is compiled yet.
    ///
    /// # Errors
    /// When the device lacks compute shaders altogether.
    pub fn new(device: &wgpu::Device) -> Result<Self, BuildError> {
        Self::with_cache(device, None)
    }

    /// The same with a pipeline cache of the caller's, so that a later process need not compile again.
    ///
    /// # Errors
    /// As [`Library::new`].
    pub fn with_cache(device: &wgpu::Device, cache: Option<wgpu::PipelineCache>) -> Result<Self, BuildError> {
        Self::with_caps(device, Caps::of(device), cache)
    }

    /// The same for a device that is not what it says: without the subgroups that its driver gets wrong, for example.
    /// Claiming more than there is ends in [`BuildError::Device`] or in slow variants, never in wrong results.
    ///
    /// # Errors
    /// As [`Library::new`].
    pub fn with_caps(
        device: &wgpu::Device,
        caps: Caps,
        cache: Option<wgpu::PipelineCache>,
    ) -> Result<Self, BuildError> {
        if caps.max_invocations == 0 || caps.max_storage_buffers == 0 {
            return Err(BuildError::LimitTooLow {
                variant: "every kernel".into(),
                limit: "max_compute_invocations_per_workgroup",
                needed: 1,
                available: 0,
            });
        }
        let shared = Shared {
            device: device.clone(),
            caps,
            cache,
            built: Mutex::default(),
            #[cfg(feature = "conformance")]
            hook: None,
        };
        Ok(Self { shared: Arc::new(shared), tuning: None })
    }

    /// The same kernels, chosen by what was measured: where a specification names no variant, that of the tuning's nearest
    /// entry runs, if there is one that this device can run on the shape. Shares what has been built.
    ///
    /// ```
    /// use onesum::softmax::{Shape, Spec};
    /// use onesum::tuning::{Entry, Tuning};
    /// # let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    ///
    /// let mut tuning = Tuning::default(); // with the feature `tuning`: Tuning::from_toml(&text)?
    /// let variant = "softmax/stream/f32/baseline/w64/x4".parse()?;
    /// tuning.variants.softmax.push(Entry { rows: [1, 64], cols: [512, 2048], choices: None, variant });
    /// let library = onesum::Library::new(&device)?.with_tuning(tuning);
    /// assert_eq!(library.softmax(&Spec::new(Shape::new(32, 1000)))?.variant(), variant);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_tuning(&self, tuning: Tuning) -> Self {
        Self { shared: self.shared.clone(), tuning: Some(Arc::new(tuning)) }
    }

    /// What variants are chosen by, if anything but the selection.
    #[must_use]
    pub fn tuning(&self) -> Option<&Tuning> {
        self.tuning.as_deref()
    }

    /// The variant that a kernel of this specification is built with: the one that it names, the tuned one, or the one that is
    /// selected.
    #[must_use]
    pub fn choose<S: Tunable>(&self, spec: &S) -> S::Variant {
        let tuned = || self.tuning.as_ref()?.nearest(spec, self.caps());
        spec.named().or_else(tuned).unwrap_or_else(|| spec.select(self.caps()))
    }

    /// The kernels of the same device, built anew, as `hook` has them.
    #[cfg(feature = "conformance")]
    pub(crate) fn hooked(&self, caps: Caps, hook: Arc<Hook>) -> Self {
        let (device, built) = (self.shared.device.clone(), Mutex::default());
        let shared = Shared { device, caps, cache: None, built, hook: Some(hook) };
        Self { shared: Arc::new(shared), tuning: None }
    }

    /// What the device offers.
    #[must_use]
    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.shared.device
    }

    /// Softmax over the last axis: picks a variant unless `spec` names one, and compiles it, once.
    ///
    /// # Errors
    /// When the specification is contradictory or this device cannot run the variant.
    pub fn softmax(&self, spec: &softmax::Spec) -> Result<softmax::Softmax, BuildError> {
        softmax::Softmax::new(self, spec)
    }

    /// The first half of a softmax whose rows the caller has split: one partial sum per row.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn softmax_sum(&self, spec: &softmax::ShardSpec) -> Result<softmax::ShardSum, BuildError> {
        softmax::ShardSum::new(self, spec)
    }

    /// The second half: merges the partial sums of all shards and writes one shard's probabilities.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn softmax_scale(&self, spec: &softmax::ShardSpec) -> Result<softmax::ShardScale, BuildError> {
        softmax::ShardScale::new(self, spec)
    }

    /// Merges partial sums to one per row, and gives the log-sum-exp.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn softmax_merge(&self) -> Result<softmax::Merge, BuildError> {
        softmax::Merge::new(self)
    }

    /// Gumbel-Softmax: relaxed samples, one-hot rows, their index, perturbed logits, as asked for.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn gumbel(&self, spec: &gumbel::Spec) -> Result<gumbel::Gumbel, BuildError> {
        gumbel::Gumbel::new(self, spec)
    }

    /// Gumbel-max sampling of one column per row: picks a variant unless `spec` names one, and compiles it, once.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn sample(&self, spec: &sample::Spec) -> Result<sample::Sample, BuildError> {
        sample::Sample::new(self, spec)
    }

    /// MoE routing: experts and weights from a router's logits; picks a variant unless `spec` names one, and compiles it, once.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn router(&self, spec: &router::Spec) -> Result<router::Router, BuildError> {
        router::Router::new(self, spec)
    }

    /// Load statistics of a routed batch: picks a variant unless `spec` names one, and compiles it, once.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn stats(&self, spec: &stats::Spec) -> Result<stats::Stats, BuildError> {
        stats::Stats::new(self, spec)
    }

    /// Expert choice: each expert takes its best tokens. Picks a variant unless `spec` names one, and compiles it, once.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn expert_choice(&self, spec: &expert_choice::Spec) -> Result<expert_choice::ExpertChoice, BuildError> {
        expert_choice::ExpertChoice::new(self, spec)
    }

    /// Rows of tokens to the slots of their experts.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn dispatch(&self, spec: &permute::DispatchSpec) -> Result<permute::Dispatch, BuildError> {
        permute::Dispatch::new(self, spec)
    }

    /// Weighted sums of the experts' rows, one for each token.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn combine(&self, spec: &permute::CombineSpec) -> Result<permute::Combine, BuildError> {
        permute::Combine::new(self, spec)
    }

    /// The plan of grouped matrix products, from the experts that tokens have chosen.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn plan(&self, spec: &plan::Spec) -> Result<plan::Plan, BuildError> {
        plan::Plan::new(self, spec)
    }

    /// The copy kernel that speeds are compared with.
    ///
    /// # Errors
    /// As [`Library::softmax`].
    pub fn copy(&self, variant: copy::Variant) -> Result<copy::Copy, BuildError> {
        copy::Copy::new(self, variant)
    }

    /// How many pipelines have been built.
    #[cfg(feature = "conformance")]
    pub(crate) fn pipelines(&self) -> usize {
        self.shared.built.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The pipeline of `program`, compiled if it is asked for the first time.
    pub(crate) fn built(&self, program: &Program) -> Result<Built, BuildError> {
        let program = &program.on(self.caps());
        let place = {
            let mut built = self.shared.built.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(built.entry(program.name.clone()).or_default())
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*place {
            return Ok(known.clone());
        }
        Ok(place.insert(self.build(program)?).clone())
    }

    fn build(&self, program: &Program) -> Result<Built, BuildError> {
        let device = &self.shared.device;
        let label = Some(program.name.as_str());
        let text = program.text(Dialect::of(&device.adapter_info()));
        #[cfg(feature = "conformance")]
        let (text, program) = &self.changed(text, program);
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(text.as_str().into()),
        });
        let entries: Vec<_> = program.bindings.iter().map(|&(binding, access)| layout_entry(binding, access)).collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &program.overrides,
                zero_initialize_workgroup_memory: false,
            },
            cache: self.shared.cache.as_ref(),
        });
        if let Some(Some(error)) = ready(scope.pop()) {
            #[cfg(feature = "conformance")]
            self.refused(program, &error);
            return Err(BuildError::Device { variant: program.name.clone(), message: error.to_string() });
        }
        Ok(Built {
            pipeline: Arc::new(pipeline),
            layout: Arc::new(layout),
            #[cfg(feature = "conformance")]
            program: Arc::new(program.clone()),
        })
    }

    /// Text and program as the hook has them.
    #[cfg(feature = "conformance")]
    fn changed(&self, text: String, program: &Program) -> (String, Program) {
        match self.shared.hook.as_deref() {
            None => (text, program.clone()),
            Some(Hook::Survey(seen)) => {
                seen.lock().unwrap_or_else(PoisonError::into_inner).extend(&program.fragments);
                let program = Program { overrides: Vec::new(), ..program.clone() };
                ("@compute @workgroup_size(1) fn main() {}".into(), program)
            }
            Some(Hook::Patch(patch)) => match program.fragments.iter().find(|f| f.name == patch.file) {
                None => (text, program.clone()),
                Some(fragment) => {
                    patch.applied.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    // Heads of fragments are comments of the linker's, one of each in a text.
                    let head = |text: &str| format!("// ---- shaders/{}.wgsl\n{text}", patch.file);
                    (text.replacen(&head(fragment.text), &head(&patch.text), 1), program.clone())
                }
            },
        }
    }

    /// Notes that a program with the hook's text is no program.
    #[cfg(feature = "conformance")]
    fn refused(&self, program: &Program, error: &wgpu::Error) {
        if let Some(Hook::Patch(patch)) = self.shared.hook.as_deref()
            && program.fragments.iter().any(|f| f.name == patch.file)
        {
            *patch.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
    }
}

fn layout_entry(binding: u32, access: Access) -> wgpu::BindGroupLayoutEntry {
    let ty = match access {
        Access::Uniform => wgpu::BufferBindingType::Uniform,
        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

/// What a future has at once. Outside the browser an error scope's always has; in the browser the error
/// reaches the device's uncaptured-error handler instead, and nothing here may block.
pub(crate) fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use crate::copy::Variant;

    /// Threads that ask for the same pipelines in different order get the same ones.
    #[test]
    fn threads_share_pipelines() {
        let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let library = Library::new(&device).unwrap();
        let programs: Vec<_> = Variant::ALL.map(Variant::program).to_vec();
        let build = |thread: usize| {
            let library = library.clone();
            let mut programs: Vec<_> = programs.iter().enumerate().collect();
            programs.rotate_left(thread);
            let mut built: Vec<_> =
                programs.into_iter().map(|(i, program)| (i, library.built(program).unwrap().pipeline)).collect();
            built.sort_by_key(|(i, _)| *i);
            built
        };
        let by_thread: Vec<_> = std::thread::scope(|scope| {
            let build = &build;
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || build(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(library.pipelines(), programs.len());
        for built in &by_thread {
            assert!(built.iter().zip(&by_thread[0]).all(|((_, a), (_, b))| Arc::ptr_eq(a, b)));
        }
    }
}
