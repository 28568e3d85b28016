//! A blocking convenience for programs that have no engine: pick an adapter, upload, run, download.
//!
//! An engine does not need it: it has a device, and gives that to [`Library::new`].

#[cfg(feature = "conformance")]
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "conformance")]
use crate::conformance::tape::{Loose, Tape};
use crate::noise::Stream;
use crate::softmax::{Operands, PARTIAL_BYTES, PerRow, Shape, Spec};
use crate::{BindError, Bound, BuildError, Caps, Library, Matrix, router, sample};

/// What can go wrong between a program and its adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// No adapter at all, or none of that name.
    #[error("{0}")]
    NoAdapter(String),
    /// The adapter gave no device.
    #[error("the adapter {adapter} gives no device: {message}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// What wgpu said.
        message: String,
    },
    /// More memory than the device lets one buffer have, or than there is.
    #[error("a buffer of {needed} bytes is too large: this device allows {available}")]
    TooLarge {
        /// Bytes wanted.
        needed: u64,
        /// Bytes allowed.
        available: u64,
    },
    /// The data are not the shape.
    #[error("{rows} x {cols} wants {expected} values, got {got}")]
    Length {
        /// Rows.
        rows: u32,
        /// Columns.
        cols: u32,
        /// Rows times columns.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// The device was lost, or ran out of memory, while it worked.
    #[error("the device failed: {0}")]
    Device(String),
    /// The kernel cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The operands cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// An adapter's device with its queue and kernels.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// What the adapter says of itself.
    pub info: wgpu::AdapterInfo,
    /// The device, with all the limits and the useful features of its adapter.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Its kernels.
    pub library: Library,
    /// What is noted of all that follows, where cases are exported.
    #[cfg(feature = "conformance")]
    pub(crate) tape: Option<Arc<Mutex<Tape>>>,
}

/// The adapters of this machine that can compute, best first as wgpu orders them. `WGPU_BACKEND` limits which backends are asked.
#[must_use]
pub fn adapters() -> Vec<wgpu::Adapter> {
    let instance = instance();
    let all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    all.into_iter()
        .filter(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
        .collect()
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// The adapter that a wgpu program would take: `name`, or the variable `WGPU_ADAPTER_NAME`, selects by a part of the
/// name or driver, or by the number in [`adapters`]; `WGPU_BACKEND` limits the backends; `WGPU_POWER_PREF` prefers. A real GPU goes
/// before one that runs on the CPU. A blank variable is as good as none; a blank `name` is no adapter's.
///
/// # Errors
/// When there is none; the message says what to install on this system.
pub fn adapter(name: Option<&str>) -> Result<wgpu::Adapter, HostError> {
    let set = || std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.trim().is_empty());
    let wanted = name.map(str::to_owned).or_else(set);
    let Some(wanted) = wanted else {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::from_env().unwrap_or(wgpu::PowerPreference::HighPerformance),
            ..wgpu::RequestAdapterOptions::default()
        };
        let found = pollster::block_on(instance().request_adapter(&options)).ok();
        let computes =
            |a: &wgpu::Adapter| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS);
        return found.filter(computes).ok_or_else(|| HostError::NoAdapter(advice()));
    };
    let mut all = adapters();
    position(&all, &wanted).map(|index| all.swap_remove(index))
}

/// Which of these adapters [`adapter`] takes by this name or number.
///
/// # Errors
/// When there is none; the message says what there is.
pub fn position(all: &[wgpu::Adapter], wanted: &str) -> Result<usize, HostError> {
    let describe = |a: &wgpu::Adapter| {
        let i = a.get_info();
        format!("{} {} {} {:?}", i.name, i.driver, i.driver_info, i.backend).to_lowercase()
    };
    let found = match wanted.parse::<usize>() {
        Ok(index) => (index < all.len()).then_some(index),
        // A part of every name, and meant to be none.
        Err(_) if wanted.trim().is_empty() => None,
        Err(_) => all.iter().position(|a| describe(a).contains(&wanted.to_lowercase())),
    };
    if let Some(index) = found {
        return Ok(index);
    }
    if all.is_empty() {
        return Err(HostError::NoAdapter(advice()));
    }
    let line = |a: &wgpu::Adapter| format!("{} ({:?})", a.get_info().name, a.get_info().backend);
    let names: Vec<_> = all.iter().enumerate().map(|(i, a)| format!("{i}: {}", line(a))).collect();
    Err(HostError::NoAdapter(format!("no adapter matches {wanted:?}; these are here: {}", names.join(", "))))
}

/// What to do on this system when there is no adapter.
fn advice() -> String {
    let how = if cfg!(target_os = "linux") {
        let debian = std::path::Path::new("/etc/debian_version").exists();
        if debian {
            "install the software Vulkan driver: apt-get install mesa-vulkan-drivers libvulkan1"
        } else {
            "install a Vulkan driver; Mesa's lavapipe runs on any CPU"
        }
    } else if cfg!(target_os = "windows") {
        "install the graphics driver of your GPU's vendor; WARP comes with Windows"
    } else {
        "install a driver for Vulkan, Metal or DirectX 12"
    };
    format!("no adapter that can compute was found: {how}")
}

impl Gpu {
    /// Opens the adapter that [`adapter`] picks.
    ///
    /// # Errors
    /// When there is none, or it gives no device.
    pub fn open(name: Option<&str>) -> Result<Self, HostError> {
        Self::of(&adapter(name)?)
    }

    /// Opens this adapter.
    ///
    /// # Errors
    /// When it gives no device.
    pub fn of(adapter: &wgpu::Adapter) -> Result<Self, HostError> {
        let extra = wgpu::Features::TIMESTAMP_QUERY;
        let features = adapter.features() & (Caps::useful_features() | extra);
        Self::with(adapter, features, adapter.limits())
    }

    /// Opens this adapter with these features and limits.
    ///
    /// # Errors
    /// When it gives no such device.
    pub fn with(adapter: &wgpu::Adapter, features: wgpu::Features, limits: wgpu::Limits) -> Result<Self, HostError> {
        let info = adapter.get_info();
        let no_device = |message: String| HostError::NoDevice { adapter: info.name.clone(), message };
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("onesum"),
            required_features: features,
            required_limits: limits,
            ..wgpu::DeviceDescriptor::default()
        }))
        .map_err(|e| no_device(e.to_string()))?;
        let library = Library::new(&device)?;
        Ok(Self {
            info,
            device,
            queue,
            library,
            #[cfg(feature = "conformance")]
            tape: None,
        })
    }

    #[cfg(feature = "conformance")]
    fn note(&self, note: impl FnOnce(&mut Tape)) {
        if let Some(tape) = &self.tape {
            note(&mut tape.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Says what a buffer is, and which of its bytes another implementation may give otherwise than this one. Asked for only
    /// where a tape runs.
    #[cfg(feature = "conformance")]
    pub(crate) fn describe(&self, buffer: &wgpu::Buffer, what: &'static str, loose: impl FnOnce() -> Vec<Loose>) {
        self.note(|tape| tape.describe(buffer, what, loose()));
    }

    /// A device that the caller has made, with its queue.
    ///
    /// # Errors
    /// When the device lacks compute shaders altogether.
    pub fn from_parts(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Self, HostError> {
        Ok(Self {
            info: device.adapter_info(),
            device: device.clone(),
            queue: queue.clone(),
            library: Library::new(device)?,
            #[cfg(feature = "conformance")]
            tape: None,
        })
    }

    /// A storage buffer with these bytes, padded with zeros to whole words.
    ///
    /// # Errors
    /// When it would be larger than the device allows.
    pub fn upload(&self, bytes: &[u8]) -> Result<wgpu::Buffer, HostError> {
        let buffer = self.allocate(bytes.len() as u64)?;
        let whole = bytes.len() / 4 * 4;
        self.write(&buffer, 0, &bytes[..whole]);
        if whole < bytes.len() {
            let mut last = [0; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.write(&buffer, whole as u64, &last);
        }
        Ok(buffer)
    }

    /// Puts whole words into a buffer, before all that is run later.
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.queue.write_buffer(buffer, offset, bytes);
        #[cfg(feature = "conformance")]
        self.note(|tape| tape.written(buffer, offset, bytes));
    }

    /// A storage buffer of so many bytes, rounded up to whole words, filled with zeros.
    ///
    /// # Errors
    /// When it would be larger than the device allows.
    pub fn allocate(&self, bytes: u64) -> Result<wgpu::Buffer, HostError> {
        let limits = self.device.limits();
        let available = limits.max_buffer_size;
        let size = bytes.max(4).checked_next_multiple_of(4).filter(|&s| s <= available);
        let size = size.ok_or(HostError::TooLarge { needed: bytes, available })?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("onesum data"),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(HostError::Device(error.to_string())),
            None => Ok(buffer),
        }
    }

    /// Records, submits and waits.
    ///
    /// # Errors
    /// When the device fails.
    pub fn run(&self, steps: &[&Bound]) -> Result<(), HostError> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for step in steps {
                step.record(&mut pass);
            }
        }
        self.queue.submit([encoder.finish()]);
        #[cfg(feature = "conformance")]
        self.note(|tape| tape.ran(steps));
        self.wait()
    }

    /// Waits until all that was submitted is done.
    ///
    /// # Errors
    /// When the device fails.
    pub fn wait(&self) -> Result<(), HostError> {
        self.device.poll(wgpu::PollType::wait_indefinitely()).map(|_| ()).map_err(|e| HostError::Device(e.to_string()))
    }

    /// The first `bytes` bytes of a buffer.
    ///
    /// # Errors
    /// When the device fails.
    pub fn download(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, HostError> {
        let size = bytes.next_multiple_of(4).min(buffer.size());
        if size == 0 {
            return Ok(Vec::new());
        }
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("onesum download"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        let (tell, told) = std::sync::mpsc::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver waits below; if it is gone, nobody asks.
            let _ = tell.send(result);
        });
        self.wait()?;
        let failed = |message: String| HostError::Device(message);
        told.recv().map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        let view = staging.slice(..).get_mapped_range().map_err(|e| failed(e.to_string()))?;
        let mut data = view.to_vec();
        #[cfg(feature = "conformance")]
        self.note(|tape| tape.read(buffer, &data));
        data.truncate(bytes as usize);
        Ok(data)
    }

    /// Softmax of `rows` rows of `cols` logits: the whole way in one call.
    ///
    /// ```no_run
    /// let gpu = onesum::host::Gpu::open(None)?;
    /// let y = gpu.softmax(&[1.0, 2.0, 3.0, 4.0], 1, 4)?;
    /// assert!((y.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    /// # Ok::<(), onesum::host::HostError>(())
    /// ```
    ///
    /// # Errors
    /// When the data are not the shape, or the device cannot do it.
    pub fn softmax(&self, logits: &[f32], rows: u32, cols: u32) -> Result<Vec<f32>, HostError> {
        let expected = u64::from(rows) * u64::from(cols);
        if logits.len() as u64 != expected {
            return Err(HostError::Length { rows, cols, expected, got: logits.len() as u64 });
        }
        let kernel = self.library.softmax(&Spec::new(Shape::new(rows, cols)))?;
        let src = self.upload(bytemuck::cast_slice(logits))?;
        let dst = self.allocate(expected * 4)?;
        let scratch = self.allocate(kernel.scratch_bytes(rows, cols).max(PARTIAL_BYTES))?;
        let words = u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX);
        let operands = Operands {
            scratch: Some(Matrix::new(&scratch, 1, words)),
            ..Operands::new(Matrix::new(&src, rows, cols), Matrix::new(&dst, rows, cols))
        };
        self.run(&[&kernel.bind_with(&operands)?])?;
        let bytes = self.download(&dst, expected * 4)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// One column of each of `rows` rows of `cols` logits, drawn with the probabilities of softmax(logits / temperature) by the
    /// noise of the row's stream; at temperature 0 the arg max. The whole way in one call.
    ///
    /// ```no_run
    /// use onesum::noise::Stream;
    ///
    /// let gpu = onesum::host::Gpu::open(None)?;
    /// let drawn = gpu.sample(&[1.0, 2.0, 3.0, 4.0], 1, 4, 0.7, &[Stream { seed: 42, position: 0 }])?;
    /// println!("{:?}", drawn[0]); // Column(3), on every device
    /// # Ok::<(), onesum::host::HostError>(())
    /// ```
    ///
    /// # Errors
    /// When the data are not the shape, there is not one stream a row, or the device cannot do it.
    pub fn sample(
        &self,
        logits: &[f32],
        rows: u32,
        cols: u32,
        temperature: f32,
        streams: &[Stream],
    ) -> Result<Vec<sample::Status>, HostError> {
        let expected = u64::from(rows) * u64::from(cols);
        for (cols, expected, got) in [(cols, expected, logits.len()), (1, u64::from(rows), streams.len())] {
            if got as u64 != expected {
                return Err(HostError::Length { rows, cols, expected, got: got as u64 });
            }
        }
        let options = sample::Options { temperature: true, ..sample::Options::default() };
        let kernel = self.library.sample(&sample::Spec { options, ..sample::Spec::new(Shape::new(rows, cols)) })?;
        let words: Vec<[u32; 4]> = streams.iter().map(Stream::words_of_seed).collect();
        let (src, seeds) = (self.upload(bytemuck::cast_slice(logits))?, self.upload(bytemuck::cast_slice(&words))?);
        let (hot, dst) = (self.upload(bytemuck::bytes_of(&temperature))?, self.allocate(u64::from(rows) * 4)?);
        let scratch = self.allocate(kernel.scratch_bytes(rows, cols).max(PARTIAL_BYTES))?;
        let operands = sample::Operands {
            temperature: Some(PerRow::one(Matrix::new(&hot, 1, 1))),
            scratch: Some(Matrix::new(&scratch, 1, u32::try_from(scratch.size() / 4).unwrap_or(u32::MAX))),
            ..sample::Operands::new(
                Matrix::new(&src, rows, cols),
                Matrix::new(&dst, rows, 1),
                PerRow::each(Matrix::new(&seeds, rows, 4)),
            )
        };
        self.run(&[&kernel.bind(&operands)?])?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&self.download(&dst, u64::from(rows) * 4)?);
        Ok(words.into_iter().map(sample::Status::of).collect())
    }

    /// The experts of each token and their weights, `[tokens, spec.width()]` each, from logits `[tokens, experts]` of the shape
    /// that `spec` names. `bias` is empty unless the specification asks for one. The whole way in one call, for f32 logits and
    /// the options that take no other operand.
    ///
    /// ```no_run
    /// use onesum::router::Preset;
    ///
    /// let gpu = onesum::host::Gpu::open(None)?;
    /// let (experts, weights) = gpu.route(&Preset::Mixtral.spec(1), &[0.1, 2.0, -1.0, 0.3, 0.0, 1.5, 0.2, -0.4], &[])?;
    /// assert_eq!(experts, [1, 5]); // on every device
    /// # Ok::<(), onesum::host::HostError>(())
    /// ```
    ///
    /// # Errors
    /// When the data are not the shape, the specification asks for more, or the device cannot do it.
    pub fn route(&self, spec: &router::Spec, logits: &[f32], bias: &[f32]) -> Result<(Vec<u32>, Vec<f32>), HostError> {
        let (tokens, experts, width) = (spec.shape.rows, spec.shape.cols, spec.width());
        let biases = u32::from(spec.options.bias.is_some());
        for (rows, got) in [(tokens, logits.len()), (biases, bias.len())] {
            let expected = u64::from(rows) * u64::from(experts);
            if got as u64 != expected {
                return Err(HostError::Length { rows, cols: experts, expected, got: got as u64 });
            }
        }
        let kernel = self.library.router(spec)?;
        let (src, offsets) = (self.upload(bytemuck::cast_slice(logits))?, self.upload(bytemuck::cast_slice(bias))?);
        let bytes = u64::from(tokens) * u64::from(width) * 4;
        let (chosen, weights) = (self.allocate(bytes)?, self.allocate(bytes)?);
        let operands = router::Operands {
            bias: spec.options.bias.map(|_| Matrix::new(&offsets, 1, experts)),
            ..router::Operands::new(
                Matrix::new(&src, tokens, experts),
                Matrix::new(&chosen, tokens, width),
                Matrix::new(&weights, tokens, width),
            )
        };
        self.run(&[&kernel.bind(&operands)?])?;
        let (chosen, weights) = (self.download(&chosen, bytes)?, self.download(&weights, bytes)?);
        Ok((bytemuck::pod_collect_to_vec(&chosen), bytemuck::pod_collect_to_vec(&weights)))
    }
}
