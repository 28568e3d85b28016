//! `onesum wgsl`: the linked WGSL of a variant.

use onesum::shader::Dialect;
use onesum::softmax::{self, Shape, Spec, Variant};
use onesum::{expert_choice, gumbel, permute, plan, router, sample, stats};

use crate::failure::{Failure, variant};
use crate::terminal::say;

const EXAMPLES: &str = "\
Examples:
  onesum wgsl --list                                     all names
  onesum wgsl --list split/f32                           those that contain split/f32
  onesum wgsl softmax/stream/f32/baseline/w256/x4        the text that wgpu compiles
  onesum wgsl gumbel/stream/f32/baseline/w256/x4         all dispatches of Gumbel-Softmax with every output
  onesum wgsl router/row/f32/baseline/w256l32/x4         MoE routing; plan/.., stats/.., expert_choice/.., permute/.. too
  onesum wgsl --browser softmax/stream/f32/subgroup/w256/x4
                                                         the text that a browser wants

A name says: kernel / schedule / element type (or input-output) / tier / w = invocations of a workgroup,
l = of a row, k = quads that each keeps on chip / x = elements moved at a time.";

/// Print the WGSL of a variant.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The variant; with --list, a part of the names to list
    #[arg(value_name = "VARIANT", required_unless_present = "list")]
    variant: Option<String>,
    /// List the names of variants
    #[arg(long)]
    list: bool,
    /// For browsers and Dawn, which want `enable subgroups;` where naga refuses it
    #[arg(long, conflicts_with = "list")]
    browser: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let name = args.variant.as_deref().unwrap_or_default();
    if args.list { list(name) } else { print(name, args.browser) }
}

fn list(filter: &str) -> Result<(), Failure> {
    let relaxed = Variant::all().filter(|v| !v.schedule.is_rival());
    let all = (Variant::all().map(|v| v.to_string()))
        .chain(sample::Variant::all().map(|v| v.to_string()))
        .chain(relaxed.map(|v| v.to_string().replacen("softmax", "gumbel", 1)))
        .chain(router::Variant::all().map(|v| v.to_string()))
        .chain(plan::Variant::ALL.iter().map(plan::Variant::to_string))
        .chain(stats::Variant::all().map(|v| v.to_string()))
        .chain(expert_choice::Variant::all().map(|v| v.to_string()))
        .chain(permute::Variant::all().map(|v| v.to_string()));
    let names: String = all.filter(|name| name.contains(filter)).map(|name| name + "\n").collect();
    if names.is_empty() {
        return Err(Failure::usage(format!("no variant's name contains {filter:?}")));
    }
    say(&names)
}

fn print(name: &str, browser: bool) -> Result<(), Failure> {
    let dialect = if browser { Dialect::Browser } else { Dialect::Naga };
    // The text does not depend on the shape.
    let shape = Shape::new(1, 4);
    let texts = if name.starts_with("sample/") {
        let variant: sample::Variant = variant(name)?;
        sample::wgsl(&sample::Spec { input: variant.input, ..sample::Spec::new(shape) }, &variant, dialect)
    } else if let Some(rest) = name.strip_prefix("gumbel/") {
        let variant: Variant = variant(&format!("softmax/{rest}"))?;
        straight_through(variant, shape, dialect)
    } else if let Some(texts) = routing(name, dialect)? {
        texts
    } else {
        let variant: Variant = variant(name)?;
        softmax::wgsl(&Spec { input: variant.input, output: variant.output, ..Spec::new(shape) }, &variant, dialect)
    };
    let count = texts.len();
    for (i, text) in texts.iter().enumerate() {
        // Directives must come first in WGSL; comments may come before them.
        say(&format!("// {name}, dispatch {} of {count}\n{text}\n", i + 1))?;
    }
    Ok(())
}

/// Those of `MoE` routing, if it is one: of 8 experts a token.
fn routing(name: &str, dialect: Dialect) -> Result<Option<Vec<String>>, Failure> {
    Ok(Some(match name.split('/').next() {
        Some("router") => {
            let variant: router::Variant = variant(name)?;
            let spec = router::Spec { input: variant.input, ..router::Spec::new(Shape::new(1, 256), 8) };
            vec![router::wgsl(&spec, &variant, dialect)]
        }
        Some("plan") => plan::wgsl(&plan::Spec::new(4096, 8, 256), &variant(name)?, dialect),
        Some("stats") => {
            let variant: stats::Variant = variant(name)?;
            let spec = stats::Spec { input: variant.input, ..stats::Spec::new(Shape::new(1, 256)) };
            stats::wgsl(&spec, &variant, dialect)
        }
        Some("expert_choice") => {
            let variant: expert_choice::Variant = variant(name)?;
            let spec = expert_choice::Spec { input: variant.input, ..expert_choice::Spec::new(4096, 256, 128) };
            expert_choice::wgsl(&spec, &variant, dialect)
        }
        Some("permute") => vec![permute::wgsl(&variant(name)?, 8, dialect)],
        _ => return Ok(None),
    }))
}

/// Everything that Gumbel-Softmax can write; the index by the plainest variant there is.
fn straight_through(variant: Variant, shape: Shape, dialect: Dialect) -> Vec<String> {
    let outputs = gumbel::Outputs { soft: true, lse: true, index: true, hard: true, perturbed: true };
    let spec = gumbel::Spec { input: variant.input, output: variant.output, outputs, ..gumbel::Spec::new(shape) };
    let index = sample::Variant::all().find(|v| v.input == variant.input && v.quads == variant.quads);
    gumbel::wgsl(&spec, &variant, index, dialect)
}
