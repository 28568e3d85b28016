//! Asking the device: one dispatch, words in, words out.

use crate::host::{Gpu, HostError};
use crate::library::{Access, Program};
use crate::shader::{Fragment, Header, fragment};

use super::{functions, questions};

/// Floats of the elementwise programs go through workgroups of this many.
const WIDTH: u32 = 64;

/// A device that is asked.
pub(super) struct Bench<'a> {
    pub gpu: &'a Gpu,
}

/// A program of the probe.
struct Ask<'a> {
    fragment: Fragment,
    header: Header,
    overrides: Vec<(&'static str, f64)>,
    uniform: Option<&'a wgpu::Buffer>,
    input: Option<&'a wgpu::Buffer>,
    output: &'a wgpu::Buffer,
    groups: u32,
}

/// A name is a constant of its index.
fn constants(names: &[&'static str]) -> Vec<(&'static str, u32)> {
    names.iter().zip(0..).map(|(&name, i)| (name, i)).collect()
}

impl Bench<'_> {
    fn ask(&self, ask: Ask<'_>) -> Result<(), HostError> {
        let numbers: Vec<String> = ask.overrides.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut bindings = Vec::new();
        let mut buffers = Vec::new();
        for (buffer, access) in
            [(ask.uniform, Access::Uniform), (ask.input, Access::Read), (Some(ask.output), Access::ReadWrite)]
        {
            if let Some(buffer) = buffer {
                bindings.push((bindings.len() as u32, access));
                buffers.push(buffer);
            }
        }
        let program = Program {
            name: [ask.fragment.name, &numbers.join(",")].join(" "),
            header: ask.header,
            fragments: vec![ask.fragment],
            overrides: ask.overrides,
            bindings,
        };
        let built = self.gpu.library.built(&program)?;
        let entries: Vec<_> = (buffers.iter().zip(0..))
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let device = &self.gpu.device;
        let label = Some(program.name.as_str());
        let group =
            device.create_bind_group(&wgpu::BindGroupDescriptor { label, layout: &built.layout, entries: &entries });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&built.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(ask.groups, 1, 1);
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.wait()
    }

    /// Runs a program over `input` and gives `words` words of what it wrote.
    fn words(&self, ask: impl Fn(&wgpu::Buffer) -> Result<(), HostError>, words: usize) -> Result<Vec<u32>, HostError> {
        let output = self.gpu.allocate(words as u64 * 4)?;
        ask(&output)?;
        Ok(bytemuck::pod_collect_to_vec(&self.gpu.download(&output, words as u64 * 4)?))
    }

    /// A function of `functions::NAMES` of these arguments.
    pub fn function(&self, which: u32, arguments: &[[f32; 2]]) -> Result<Vec<f32>, HostError> {
        let uniform = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("onesum probe"),
            size: 16,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.gpu.queue.write_buffer(&uniform, 0, bytemuck::bytes_of(&[which, 0, 0, 0]));
        let input = self.gpu.upload(bytemuck::cast_slice(arguments))?;
        let ask = |output: &wgpu::Buffer| {
            self.ask(Ask {
                fragment: fragment!("probe/functions"),
                header: Header { constants: constants(&functions::NAMES), ..Header::default() },
                overrides: Vec::new(),
                uniform: Some(&uniform),
                input: Some(&input),
                output,
                groups: (arguments.len() as u32).div_ceil(WIDTH),
            })
        };
        Ok(self.words(ask, arguments.len())?.into_iter().map(f32::from_bits).collect())
    }

    /// Elementwise programs: as many results as elements of `element` bytes.
    fn elements(
        &self,
        fragment: Fragment,
        header: &Header,
        bytes: &[u8],
        element: usize,
    ) -> Result<Vec<u32>, HostError> {
        let input = self.gpu.upload(bytes)?;
        let count = bytes.len() / element;
        let ask = |output: &wgpu::Buffer| {
            self.ask(Ask {
                fragment,
                header: header.clone(),
                overrides: Vec::new(),
                uniform: None,
                input: Some(&input),
                output,
                groups: (count as u32).div_ceil(WIDTH),
            })
        };
        self.words(ask, count)
    }

    /// The answers to questions: an operation of `questions::OPERATIONS` and the bits of three operands each.
    pub fn answers(&self, asked: &[[u32; 4]]) -> Result<Vec<u32>, HostError> {
        let header = Header { constants: constants(questions::OPERATIONS), ..Header::default() };
        self.elements(fragment!("probe/operations"), &header, bytemuck::cast_slice(asked), 16)
    }

    /// Words that went through a load and a store of f32.
    pub fn copied(&self, words: &[u32]) -> Result<Vec<u32>, HostError> {
        self.elements(fragment!("probe/copy"), &Header::default(), bytemuck::cast_slice(words), 4)
    }

    /// Products (low half of a word) and sums of pairs of f16, by the device's own f16 type.
    pub fn half(&self, pairs: &[[u16; 2]]) -> Result<Vec<u32>, HostError> {
        let header = Header { f16: true, ..Header::default() };
        self.elements(fragment!("probe/half"), &header, bytemuck::cast_slice(pairs), 4)
    }

    fn sized(
        &self,
        fragment: Fragment,
        subgroups: bool,
        overrides: &[(&'static str, u32)],
        groups: u32,
        words: usize,
    ) -> Result<Vec<u32>, HostError> {
        let ask = |output: &wgpu::Buffer| {
            self.ask(Ask {
                fragment,
                header: Header { subgroups, ..Header::default() },
                overrides: overrides.iter().map(|&(name, n)| (name, f64::from(n))).collect(),
                uniform: None,
                input: None,
                output,
                groups,
            })
        };
        self.words(ask, words)
    }

    /// Of each invocation of two workgroups: the subgroup's size, its lane, active lanes, and where the first of them stands.
    pub fn subgroups(&self, width: u32) -> Result<Vec<[u32; 4]>, HostError> {
        let words = self.sized(fragment!("probe/subgroup"), true, &[("WIDTH", width)], 2, width as usize * 2 * 4)?;
        Ok(words.as_chunks().0.to_vec())
    }

    /// Of each invocation of two workgroups, how many words of workgroup memory it read right.
    pub fn workgroup(&self, width: u32, words: u32) -> Result<Vec<u32>, HostError> {
        let overrides = [("WIDTH", width), ("WORDS", words)];
        self.sized(fragment!("probe/workgroup"), false, &overrides, 2, width as usize * 2)
    }

    /// The numbers, from 1, that workgroups left.
    pub fn groups(&self, groups: u32) -> Result<Vec<u32>, HostError> {
        self.sized(fragment!("probe/groups"), false, &[], groups, groups as usize)
    }

    /// How many iterations so many loops of so many each have made, all together.
    pub fn iterations(&self, loops: u32, each: u32) -> Result<u32, HostError> {
        let input = self.gpu.upload(bytemuck::bytes_of(&[loops, each]))?;
        let ask = |output: &wgpu::Buffer| {
            self.ask(Ask {
                fragment: fragment!("probe/loops"),
                header: Header::default(),
                overrides: Vec::new(),
                uniform: None,
                input: Some(&input),
                output,
                groups: 1,
            })
        };
        Ok(self.words(ask, 2)?[0])
    }
}
