//! Pictures. Of draws: of each row the likeliest columns, how often they should be drawn and how often they were. Of a
//! routed batch: the load of each expert.

use onesum::sample::Status;
use plotters::prelude::*;

use crate::draws::{Drawn, Draws};
use crate::failure::Failure;

/// Rows that are shown, one above the other.
const ROWS: usize = 4;
/// Columns of a row that are shown.
const COLUMNS: usize = 24;
/// Pixels.
const SIZE: (u32, u32) = (960, 300);

const EXPECTED: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const DRAWN: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);

/// The load of each expert as SVG, beside what each would have if all had the same.
pub fn load(title: &str, counts: &[u64]) -> Result<String, Failure> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let fail = |e: &dyn std::fmt::Display| Failure::error(format!("--histogram: {e}"));
        area.fill(&WHITE).map_err(|e| fail(&e))?;
        loads_of(&area, title, counts).map_err(|e| fail(&e))?;
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(text)
}

fn loads_of(panel: &Panel<'_>, title: &str, counts: &[u64]) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let experts = counts.len().max(1) as f64;
    let mean = counts.iter().sum::<u64>() as f64 / experts;
    let top = counts.iter().copied().max().unwrap_or(0).max(1) as f64 * 1.05;
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..experts, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("expert")
        .y_desc("choices")
        .label_style(("sans-serif", 11))
        .draw()?;
    // Bars touch where there are many.
    let margin = if counts.len() > 64 { 0.0 } else { 0.1 };
    let bars = (0..).map(f64::from).zip(counts);
    chart
        .draw_series(
            bars.map(|(x, &n)| Rectangle::new([(x + margin, 0.0), (x + 1.0 - margin, n as f64)], DRAWN.filled())),
        )?
        .label("choices of each expert")
        .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], DRAWN.filled()));
    chart
        .draw_series(std::iter::once(PathElement::new(vec![(0.0, mean), (experts, mean)], BLACK)))?
        .label("their mean")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 10, y)], BLACK));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(EXPECTED)
        .background_style(WHITE)
        .label_font(("sans-serif", 11))
        .draw()
}

/// One column of a row.
struct Bar {
    column: usize,
    expected: f64,
    drawn: f64,
    /// Two standard errors of a share of so many draws.
    spread: f64,
}

/// The picture as SVG. Of several columns to a draw, the first counts: it has the distribution of a single one.
pub fn svg(job: &Draws, drawn: &Drawn) -> Result<String, Failure> {
    let rows = job.rows.clamp(1, ROWS);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (SIZE.0, SIZE.1 * rows as u32)).into_drawing_area();
        let fail = |e: &dyn std::fmt::Display| Failure::error(format!("--plot: {e}"));
        area.fill(&WHITE).map_err(|e| fail(&e))?;
        for (row, panel) in area.split_evenly((rows, 1)).iter().enumerate().take(job.rows) {
            panel_of(panel, row, job.rows, job.count, &bars(job, drawn, row)).map_err(|e| fail(&e))?;
        }
        area.present().map_err(|e| fail(&e))?;
    }
    Ok(text)
}

fn bars(job: &Draws, drawn: &Drawn, row: usize) -> Vec<Bar> {
    let probabilities = job.probabilities(row);
    let (count, k) = (job.count as usize, job.k as usize);
    let mut counts = vec![0_u32; job.cols];
    for word in drawn.words[row * count * k..][..count * k].iter().step_by(k) {
        if let Status::Column(column) = Status::of(*word) {
            counts[column as usize] += 1;
        }
    }
    let mut order: Vec<usize> = (0..job.cols).filter(|&c| probabilities[c] > 0.0).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let n = count as f64;
    let bar = |column: usize| {
        let expected = probabilities[column];
        let spread = 2.0 * (expected * (1.0 - expected) / n).sqrt();
        Bar { column, expected, drawn: f64::from(counts[column]) / n, spread }
    };
    order.into_iter().take(COLUMNS).map(bar).collect()
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel_of(
    panel: &Panel<'_>,
    row: usize,
    rows: usize,
    count: u32,
    bars: &[Bar],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let draws = if count == 1 { "1 draw".to_owned() } else { format!("{count} draws") };
    let title = match bars.len() {
        0 => format!("row {row} of {rows}: nothing to draw"),
        n => format!("row {row} of {rows}, {draws}: the {n} likeliest columns"),
    };
    let top = bars.iter().map(|b| b.drawn.max(b.expected + b.spread)).fold(1e-9, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..bars.len().max(1) as f64, 0.0..top)?;
    let name = |x: &f64| bars.get(*x as usize).map_or(String::new(), |b| b.column.to_string());
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .x_labels(bars.len() + 1)
        .x_label_formatter(&name)
        .x_label_offset(SIZE.0 as i32 * 7 / 16 / bars.len().max(1) as i32)
        .x_desc("column")
        .y_desc("share of draws")
        .label_style(("sans-serif", 11))
        .draw()?;
    let columns = || (0..).map(f64::from).zip(bars);
    let side = |x: f64, from: f64, to: f64, y: f64, color: RGBColor| {
        Rectangle::new([(x + from, 0.0), (x + to, y)], color.filled())
    };
    chart
        .draw_series(columns().map(|(x, b)| side(x, 0.1, 0.5, b.expected, EXPECTED)))?
        .label("expected, with two standard errors")
        .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], EXPECTED.filled()));
    chart
        .draw_series(columns().map(|(x, b)| side(x, 0.5, 0.9, b.drawn, DRAWN)))?
        .label("drawn")
        .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], DRAWN.filled()));
    chart.draw_series(columns().map(|(x, b)| {
        let (low, high) = ((b.expected - b.spread).max(0.0), b.expected + b.spread);
        PathElement::new(vec![(x + 0.3, low), (x + 0.3, high)], BLACK)
    }))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(EXPECTED)
        .background_style(WHITE)
        .label_font(("sans-serif", 11))
        .draw()
}
