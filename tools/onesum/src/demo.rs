//! `onesum demo`: a language model's real logits become its likeliest next tokens. A batch is routed, too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use onesum::conformance::Adapter;
use onesum::host::Gpu;
use onesum::plan;
use onesum::router::Preset;
use onesum::softmax::Shape;
use serde::Deserialize;

use crate::bench::contest::{Contest, random_logits};
use crate::bench::definitions::{SoftmaxOptions, Types};
use crate::bench::rounds::{Plan, Standing, Timing};
use crate::check::{self, Verdict};
use crate::device;
use crate::draws::{Drawn, Draws};
use crate::failure::Failure;
use crate::job::{Job, Outcome};
use crate::routing::{Buffers, Routing, balance, compare_plan, planned};
use crate::tensor::Tensor;
use crate::terminal::say;

const HELP: &str = "\
Example:
  onesum demo --logits data/gemma3_270m_logits.npy --tokens data/gemma3_270m_tokens.json

The file of tokens holds, for each row of logits, the prompt and the texts of its likeliest
tokens: {\"model\": \"...\", \"rows\": [{\"prompt\": \"...\", \"tokens\": {\"47422\": \" Armstrong\"}}]}";

/// Turn a language model's real logits into its likeliest next tokens.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Logits: one row per prompt, one column per token of the vocabulary
    #[arg(long, value_name = "FILE")]
    logits: PathBuf,
    /// Prompts, and the texts of tokens
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// How many tokens to show for each prompt
    #[arg(long, value_name = "N", default_value_t = 8)]
    top: usize,
    /// How many tokens to draw for each prompt
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    draws: u32,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
}

/// The file of tokens.
#[derive(Deserialize)]
struct Tokens {
    model: String,
    rows: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    prompt: String,
    /// Text by number, for some of the vocabulary.
    tokens: BTreeMap<usize, String>,
}

/// Characters of a prompt that are shown: its end, where the next token follows.
const PROMPT_SHOWN: usize = 72;

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (job, tokens) = read(args)?;
    let gpu = device::open(args.adapter.as_deref())?;
    let outcome = job.run(&gpu)?;
    let verdict = check::check(&job, &outcome);
    say(&format!("Next tokens of {}\non {}\n", tokens.model, Adapter::new(&gpu.info).line()))?;
    let (draws, drawn) = draw(&gpu, &job, args.draws)?;
    let rows = outcome.dst.chunks_exact(job.cols).zip(drawn.words.chunks(args.draws as usize));
    for (prompt, (row, words)) in tokens.rows.iter().zip(rows) {
        say(&prompt.text(row, args.top, words))?;
    }
    if let Some(wrong) = &verdict.wrong {
        return Err(Failure::OutsideBudget(format!(
            "row {} column {} is outside its error budget: got {:e}, the reference has {:e}",
            wrong.row,
            wrong.column.unwrap_or_default(),
            wrong.got,
            wrong.want
        )));
    }
    let timing = timing(&gpu, &job, &outcome)?;
    say(&summary(&outcome, &verdict, &timing))?;
    let compared = draws.compare(&drawn)?;
    say(&format!("draws    {compared} of {} compared with the CPU's: the same\n", drawn.words.len()))?;
    say(&routed(&gpu)?)
}

/// Tokens of the batch that is routed.
const ROUTED: u32 = 4096;

/// A batch of random tokens, routed as DeepSeek-V3 does, planned and counted; all of it checked.
fn routed(gpu: &Gpu) -> Result<String, Failure> {
    let preset = Preset::DeepseekV3;
    let spec = preset.spec(ROUTED);
    let (experts, choices) = (spec.shape.cols, spec.choices);
    let small = |count: u32, scale: f32| {
        let values = random_logits(count as usize);
        values.into_iter().map(move |x| x * scale).collect::<Vec<_>>()
    };
    // Some experts are better liked than others, and the bias works against that a little.
    let liked = small(experts, 0.05);
    let logits = small(ROUTED * experts, 0.2).iter().zip(liked.iter().cycle()).map(|(x, liked)| x + liked).collect();
    let bias = liked.iter().map(|liked| -0.01 * liked).collect();
    let job = Routing { bias: Some(bias), ..Routing::new(spec, logits) };
    let buffers = Buffers::new(gpu, &job)?;
    let routed = job.route(gpu, &buffers)?;
    let plan_spec = plan::Spec::new(ROUTED, choices, experts);
    let plan = planned(gpu, &buffers, &plan_spec)?;
    let load = job.load(gpu, &buffers, &job.load_spec())?;
    let wrong = |what: String| Failure::OutsideBudget(what);
    job.compare_most(&routed).map_err(wrong)?;
    compare_plan(&plan.plan, &plan_spec, &routed.experts, &routed.weights).map_err(wrong)?;
    job.compare_load(&load.state, &routed.experts, &routed.weights).map_err(wrong)?;
    Ok(format!(
        "\nrouting  {ROUTED} random tokens to {choices} of {experts} experts each, as {preset}\n\
         variant  {}, {}, {}\n\
         check    experts, weights and plan as on the CPU, to the bit; load within its error budget\n\
         time     {:.3} ms to route, {:.3} ms to plan, {:.3} ms to count\n{}\n",
        routed.variant,
        plan.variant,
        load.variant,
        routed.seconds * 1e3,
        plan.seconds * 1e3,
        load.seconds * 1e3,
        balance(&load.state),
    ))
}

/// Tokens drawn from each row.
fn draw(gpu: &Gpu, job: &Job, count: u32) -> Result<(Draws, Drawn), Failure> {
    let draws = Draws::new(job.src.clone(), job.rows, job.cols, count);
    let drawn = draws.draw(gpu)?;
    Ok((draws, drawn))
}

fn read(args: &Args) -> Result<(Job, Tokens), Failure> {
    let logits = Tensor::read(&args.logits, None)?;
    let [rows, cols] = logits.shape[..] else {
        return Err(about(&args.logits, format!("expected logits of shape [prompts, tokens], got {:?}", logits.shape)));
    };
    if rows == 0 || cols == 0 {
        return Err(about(&args.logits, format!("there are no logits in shape {:?}", logits.shape)));
    }
    let text = std::fs::read_to_string(&args.tokens).map_err(|e| about(&args.tokens, format!("cannot read: {e}")))?;
    let tokens: Tokens =
        serde_json::from_str(&text).map_err(|e| about(&args.tokens, format!("not a file of tokens: {e}")))?;
    if tokens.rows.len() != rows {
        return Err(about(
            &args.tokens,
            format!("expected {rows} prompts, one per row of logits, got {}", tokens.rows.len()),
        ));
    }
    Ok((Job::new(logits.data, rows, cols), tokens))
}

fn about(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::Error(format!("{}: {what}", path.display()))
}

impl Prompt {
    /// The prompt and its likeliest next tokens, how probable they are and how often they were drawn. Texts are escaped as in JSON, so that line breaks show.
    fn text(&self, probabilities: &[f32], top: usize, drawn: &[u32]) -> String {
        let mut text = format!("\n{}\n  probable      drawn of {}\n", shortened(&self.prompt), drawn.len());
        for column in likeliest(probabilities, top) {
            let token = match self.tokens.get(&column) {
                Some(token) => quoted(token),
                None => format!("token {column}"),
            };
            // Writing to a String cannot fail.
            let count = drawn.iter().filter(|&&word| word as usize == column).count();
            let share = count as f64 / drawn.len() as f64;
            let _ = writeln!(text, "  {:>7.3} %  {:>7.3} %  {token}", probabilities[column] * 100.0, share * 100.0);
        }
        text
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn shortened(prompt: &str) -> String {
    let length = prompt.chars().count();
    let end: String = prompt.chars().skip(length.saturating_sub(PROMPT_SHOWN)).collect();
    let dots = if length > PROMPT_SHOWN { "..." } else { "" };
    format!("{dots}{}", quoted(&end))
}

/// The columns of the greatest probabilities, greatest first, lower column first on ties, NaN last.
fn likeliest(probabilities: &[f32], top: usize) -> Vec<usize> {
    let key = |&c: &usize| if probabilities[c].is_nan() { -1.0 } else { probabilities[c] };
    let order = |a: &usize, b: &usize| key(b).total_cmp(&key(a)).then(a.cmp(b));
    let mut columns: Vec<usize> = (0..probabilities.len()).collect();
    let top = top.min(columns.len());
    if top > 0 && top < columns.len() {
        columns.select_nth_unstable_by(top - 1, order);
    }
    columns.truncate(top);
    columns.sort_unstable_by(order);
    columns
}

/// The chosen variant's time beside the copy's, on these very logits.
fn timing(gpu: &Gpu, job: &Job, outcome: &Outcome) -> Result<Timing, Failure> {
    let plan = Plan::new(gpu, true, None)?;
    let shape = Shape::new(u32::try_from(job.rows)?, u32::try_from(job.cols)?);
    let mut contest = Contest::new(gpu, &plan, shape, Types::F32, SoftmaxOptions::default(), &job.src)?;
    contest.enter(outcome.variant)?;
    let entrants = contest.run(|| ())?.entrants;
    match entrants.into_iter().next().map(|e| e.standing) {
        Some(Standing::Timed(timing)) => Ok(*timing),
        Some(Standing::Wrong(why)) => Err(Failure::OutsideBudget(why)),
        Some(Standing::Refused(why)) => Err(Failure::Error(why)),
        None => Err(Failure::error("nothing was timed")),
    }
}

fn summary(outcome: &Outcome, verdict: &Verdict, timing: &Timing) -> String {
    format!(
        "\nvariant  {}\ncheck    every probability within its error budget: {} rows, {} elements, worst {} ULP\n\
         time     {:.3} ms, {:.2} GB/s: {:.0} % of the speed of a copy (taking turns, median; quartiles {:.0} to {:.0} %)\n",
        outcome.variant,
        verdict.rows,
        verdict.elements,
        verdict.worst_ulp.unwrap_or(0.0),
        timing.seconds.median * 1e3,
        timing.bandwidth * 1e-9,
        100.0 / timing.ratio.median,
        100.0 / timing.ratio.q3,
        100.0 / timing.ratio.q1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeliest_come_first_and_ties_in_order() {
        assert_eq!(likeliest(&[0.1, 0.4, f32::NAN, 0.4, 0.05], 3), [1, 3, 0]);
        assert_eq!(likeliest(&[0.1, f32::NAN], 9), [0, 1]);
        assert!(likeliest(&[], 3).is_empty());
        assert!(likeliest(&[1.0], 0).is_empty());
    }

    #[test]
    fn line_breaks_show() {
        assert_eq!(shortened("a\nb"), "\"a\\nb\"");
        assert_eq!(shortened(&"x".repeat(100)), format!("...\"{}\"", "x".repeat(PROMPT_SHOWN)));
    }
}
