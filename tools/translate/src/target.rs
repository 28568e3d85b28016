//! What naga translates to, and what it is known not to.

use std::fmt::Display;

use naga::back::{PipelineConstants, glsl, hlsl, msl, pipeline_constants, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ResourceBinding, ShaderStage};

use onesum::conformance::{Access, Linked};

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// SPIR-V 1.3: Vulkan 1.1.
    SpirV,
    /// GLSL ES 3.10: OpenGL ES 3.1.
    GlslEs,
    /// GLSL 4.50: OpenGL 4.5.
    Glsl,
    /// HLSL of shader model 6.2: DirectX 12.
    Hlsl,
    /// Metal 2.4.
    Msl,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::SpirV, Self::GlslEs, Self::Glsl, Self::Hlsl, Self::Msl];

    /// Its name, and the folder of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpirV => "spirv",
            Self::GlslEs => "glsl-es",
            Self::Glsl => "glsl",
            Self::Hlsl => "hlsl",
            Self::Msl => "msl",
        }
    }

    /// The ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            Self::SpirV => "spv",
            Self::GlslEs | Self::Glsl => "comp",
            Self::Hlsl => "hlsl",
            Self::Msl => "metal",
        }
    }

    /// Why a program cannot be translated to it, where that is known: what is listed here is counted, what is not is a failure.
    pub fn hole(self, program: &Linked) -> Option<&'static str> {
        let glsl = matches!(self, Self::GlslEs | Self::Glsl);
        match self {
            _ if glsl && program.header.f16 => Some("naga has no f16 in GLSL"),
            _ if glsl && program.int64 => Some("naga has no 64-bit integers in GLSL"),
            _ => None,
        }
    }
}

/// A program, its overrides resolved.
pub struct Resolved {
    module: Module,
    info: ModuleInfo,
}

fn said(error: impl Display) -> String {
    error.to_string()
}

impl Resolved {
    /// Parses, validates with the capabilities that the program names and no other, resolves the overrides.
    pub fn of(program: &Linked, text: &str) -> Result<Self, String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
        let mut capabilities = Capabilities::empty();
        capabilities.set(Capabilities::SHADER_FLOAT16, program.header.f16);
        capabilities.set(Capabilities::SUBGROUP, program.header.subgroups);
        capabilities.set(Capabilities::SHADER_INT64, program.int64);
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        let info = validator.validate(&module).map_err(|e| e.emit_to_string(text))?;
        let constants: PipelineConstants = program.overrides.iter().map(|&(name, x)| (name.to_string(), x)).collect();
        let entry = Some((ShaderStage::Compute, ENTRY));
        let resolved = pipeline_constants::process_overrides(&module, &info, entry, &constants);
        let (module, info) = resolved.map_err(said)?;
        Ok(Self { module: module.into_owned(), info: info.into_owned() })
    }

    /// The program in another language, as wgpu asks naga for it: accesses held within bounds where the language does not
    /// promise that, loops bounded.
    pub fn translate(&self, target: Target, bindings: &[(u32, Access)]) -> Result<Vec<u8>, String> {
        match target {
            Target::SpirV => self.spirv(bindings),
            Target::GlslEs => self.glsl(glsl::Version::new_gles(310), bindings),
            Target::Glsl => self.glsl(glsl::Version::Desktop(450), bindings),
            Target::Hlsl => self.hlsl(),
            Target::Msl => self.msl(bindings),
        }
    }

    fn spirv(&self, bindings: &[(u32, Access)]) -> Result<Vec<u8>, String> {
        let own = |(binding, _): &(u32, Access)| {
            (at(*binding), spv::BindingInfo { descriptor_set: 0, binding: *binding, binding_array_size: None })
        };
        let options = spv::Options {
            lang_version: (1, 3),
            flags: spv::WriterFlags::empty(),
            fake_missing_bindings: false,
            binding_map: bindings.iter().map(own).collect(),
            bounds_check_policies: RESTRICTED,
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            ..spv::Options::default()
        };
        let entry = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: ENTRY.into() };
        let words = spv::write_vec(&self.module, &self.info, &options, Some(&entry)).map_err(said)?;
        Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
    }

    fn glsl(&self, version: glsl::Version, bindings: &[(u32, Access)]) -> Result<Vec<u8>, String> {
        // Binding numbers are far below 256.
        let own = |(binding, _): &(u32, Access)| (at(*binding), *binding as u8);
        let options = glsl::Options {
            version,
            writer_flags: glsl::WriterFlags::empty(),
            binding_map: bindings.iter().map(own).collect(),
            zero_initialize_workgroup_memory: false,
        };
        let entry =
            glsl::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: ENTRY.into(), multiview: None };
        let mut text = String::new();
        let policies = BoundsCheckPolicies::default();
        let writer = glsl::Writer::new(&mut text, &self.module, &self.info, &options, &entry, policies);
        writer.map_err(said)?.write().map_err(said)?;
        Ok(text.into_bytes())
    }

    fn hlsl(&self) -> Result<Vec<u8>, String> {
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_2,
            zero_initialize_workgroup_memory: false,
            ..hlsl::Options::default()
        };
        let entry = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, ENTRY.into())) };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &entry).write(&self.module, &self.info, None).map_err(said)?;
        Ok(text.into_bytes())
    }

    fn msl(&self, bindings: &[(u32, Access)]) -> Result<Vec<u8>, String> {
        let own = |(binding, access): &(u32, Access)| {
            let target = msl::BindTarget {
                buffer: Some(*binding as u8),
                mutable: *access == Access::ReadWrite,
                ..msl::BindTarget::default()
            };
            (at(*binding), target)
        };
        let resources = msl::EntryPointResources {
            resources: bindings.iter().map(own).collect(),
            sizes_buffer: Some(30),
            ..msl::EntryPointResources::default()
        };
        let options = msl::Options {
            lang_version: (2, 4),
            per_entry_point_map: [(ENTRY.to_string(), resources)].into(),
            fake_missing_bindings: false,
            bounds_check_policies: RESTRICTED,
            zero_initialize_workgroup_memory: false,
            ..msl::Options::default()
        };
        let entry = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, ENTRY.into())),
            ..msl::PipelineOptions::default()
        };
        let (text, info) = msl::write_string(&self.module, &self.info, &options, &entry).map_err(said)?;
        for name in info.entry_point_names {
            name.map_err(said)?;
        }
        Ok(text.into_bytes())
    }
}

const ENTRY: &str = "main";

const RESTRICTED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Unchecked,
};

fn at(binding: u32) -> ResourceBinding {
    ResourceBinding { group: 0, binding }
}

#[cfg(test)]
mod tests {
    use onesum::conformance::{programs, representatives};
    use onesum::shader::Dialect;

    use super::*;

    fn program() -> (Linked, String) {
        let linked = programs().find(|linked| linked.name == "softmax/onchip/f32/baseline/w256k4/x4").unwrap();
        let text = linked.text(Dialect::Naga);
        (linked, text)
    }

    #[test]
    fn a_program_is_translated_to_everything() {
        let (linked, text) = program();
        let resolved = Resolved::of(&linked, &text).unwrap();
        for (target, beginning) in [
            (Target::SpirV, &[3, 2, 35, 7][..]),
            (Target::GlslEs, b"#version 310 es"),
            (Target::Glsl, b"#version 450 core"),
            (Target::Hlsl, b"struct"),
            (Target::Msl, b"// language: metal2.4"),
        ] {
            let code = resolved.translate(target, &linked.bindings).unwrap();
            assert!(code.starts_with(beginning), "{target:?}: {:?}", String::from_utf8_lossy(&code[..40]));
        }
    }

    /// The width that a program asks for is the width that comes out.
    #[test]
    fn overrides_are_resolved() {
        let (linked, text) = program();
        let code = Resolved::of(&linked, &text).unwrap().translate(Target::Glsl, &linked.bindings).unwrap();
        assert!(String::from_utf8(code).unwrap().contains("layout(local_size_x = 256, local_size_y = 1"));
        let mut narrow = linked;
        narrow.overrides[0].1 = 32.0;
        let code = Resolved::of(&narrow, &text).unwrap().translate(Target::Glsl, &narrow.bindings).unwrap();
        assert!(String::from_utf8(code).unwrap().contains("layout(local_size_x = 32, local_size_y = 1"));
    }

    #[test]
    fn broken_programs_are_refused() {
        let (linked, text) = program();
        let refused = |linked: &Linked, text: &str| Resolved::of(linked, text).err();
        assert_eq!(refused(&linked, &text), None);
        assert!(refused(&linked, &text.replacen("fn run(", "fn ruin(", 1)).is_some());
        assert!(refused(&linked, &text.replacen("step /= 2u", "step /= 2.0", 1)).is_some());
        assert!(refused(&linked, "").is_some());
        let mut other = linked.clone();
        other.overrides.push(("NOTHING", 1.0));
        assert!(refused(&other, &text).is_some());

        // What is missing from the layout is missing from the bindings.
        let resolved = Resolved::of(&linked, &text).unwrap();
        for target in [Target::SpirV, Target::Msl] {
            assert!(resolved.translate(target, &linked.bindings[1..]).is_err(), "{target:?}");
        }
    }

    /// A hole that is named is one.
    #[test]
    fn holes_are_holes() {
        for extension in ["f16", "int64"] {
            let mut all = representatives();
            let linked =
                all.find(|l| if extension == "f16" { l.header.f16 } else { l.int64 && !l.header.f16 }).unwrap();
            let resolved = Resolved::of(&linked, &linked.text(Dialect::Naga)).unwrap();
            for target in Target::ALL {
                let translated = resolved.translate(target, &linked.bindings);
                assert_eq!(translated.is_err(), target.hole(&linked).is_some(), "{extension}, {target:?}");
            }
        }
    }
}
