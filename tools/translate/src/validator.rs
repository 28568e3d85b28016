//! The compilers that are at hand: `spirv-val` of SPIRV-Tools and `glslangValidator` of glslang.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::target::Target;

/// Asks the compiler of `target` about files: which it refuses, and why. `None` where there is no compiler for it.
pub fn refused(target: Target, files: &[PathBuf]) -> Result<Option<Vec<(PathBuf, String)>>, String> {
    match target {
        Target::SpirV => {
            let each = files.iter().map(|file| Ok((file, spirv_val(file)?)));
            let answers: Result<Vec<_>, String> = each.collect();
            Ok(Some(refusals(answers?)))
        }
        Target::GlslEs | Target::Glsl => {
            // One process for many files; one for each where something is wrong.
            if files.is_empty() || glslang(files)?.status.success() {
                return Ok(Some(Vec::new()));
            }
            let each = files.iter().map(|file| Ok((file, glslang(std::slice::from_ref(file))?)));
            let answers: Result<Vec<_>, String> = each.collect();
            Ok(Some(refusals(answers?)))
        }
        Target::Hlsl | Target::Msl => Ok(None),
    }
}

fn refusals(answers: Vec<(&PathBuf, Output)>) -> Vec<(PathBuf, String)> {
    let bad = answers.into_iter().filter(|(_, output)| !output.status.success());
    bad.map(|(file, output)| (file.clone(), first_error(&output))).collect()
}

/// The first line that says what is wrong.
fn first_error(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let error = text.lines().find(|line| line.to_lowercase().contains("error"));
    error.or(text.lines().next()).unwrap_or("no reason given").trim().to_string()
}

fn spirv_val(file: &Path) -> Result<Output, String> {
    run(Command::new("spirv-val").args(["--target-env", "vulkan1.1"]).arg(file))
}

fn glslang(files: &[PathBuf]) -> Result<Output, String> {
    run(Command::new("glslangValidator").args(files))
}

fn run(command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))
}

/// A file of each kind that its compiler must refuse: one that accepts everything checks nothing.
pub fn check_the_checkers(folder: &Path) -> Result<(), String> {
    // A header of SPIR-V and nothing after it; an undeclared name.
    let spirv: Vec<u8> = [0x0723_0203_u32, 0x0001_0300, 0, 1, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    let glsl =
        |version: &str| format!("#version {version}\nlayout(local_size_x = 1) in;\nvoid main() {{ int x = y; }}\n");
    for (target, code) in [
        (Target::SpirV, spirv),
        (Target::GlslEs, glsl("310 es").into_bytes()),
        (Target::Glsl, glsl("450 core").into_bytes()),
    ] {
        let file = folder.join(format!("{}-broken.{}", target.name(), target.ending()));
        std::fs::write(&file, code).map_err(|e| format!("{}: {e}", file.display()))?;
        let found = refused(target, std::slice::from_ref(&file))?;
        if found.is_none_or(|found| found.len() != 1) {
            return Err(format!("the compiler of {} accepts what is broken", target.name()));
        }
        std::fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}
