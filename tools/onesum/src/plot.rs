//! Pictures. Of draws: of each row the likeliest columns, how often they should be drawn and how often they were. Of a
//! routed batch: the load of each expert.

use onesum::sample::Status;
use plotters::prelude::*;
use plotters::style::register_font;

use crate::draws::{Drawn, Draws};
use crate::failure::Failure;

/// Rows that are shown, one above the other.
const ROWS: usize = 4;
/// Columns of a row that are shown.
const COLUMNS: usize = 24;
/// Pixels.
const LEGEND: u32 = 18;
/// Pixels.
const SIZE: (u32, u32) = (960, 300);

const EXPECTED: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const DRAWN: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);

/// The font whose sizes all pictures are laid out by, and which those in pixels show: a system need not have any.
pub fn use_own_font() -> Result<(), Failure> {
    let font = include_bytes!("../assets/DejaVuSans-latin1.ttf");
    register_font("sans-serif", FontStyle::Normal, font).map_err(|_| Failure::error("the built-in font is not a font"))
}

/// The load of each expert as SVG, beside what each would have if all had the same.
pub fn load(title: &str, counts: &[u64]) -> Result<String, Failure> {
    use_own_font()?;
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
    let experts = counts.len().max(1);
    let mean = counts.iter().sum::<u64>() as f64 / experts as f64;
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    // What the marks mean stands above the bars: it must not hide any.
    let (legend, bars) = panel.titled(title, ("sans-serif", 16))?.split_vertically(LEGEND);
    legend_of(&legend)?;
    // Bars stand over whole numbers.
    let (left, right) = (-0.5, experts as f64 - 0.5);
    let mut chart = ChartBuilder::on(&bars)
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(left..right, 0.0..most as f64 * 1.05)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .x_labels(experts.min(20) + 1)
        .y_labels(most.min(10) as usize + 1)
        .x_label_formatter(&|x| whole(*x))
        .y_label_formatter(&|x| whole(*x))
        .x_desc("expert")
        .y_desc("choices")
        .label_style(("sans-serif", 11))
        .draw()?;
    // Bars touch where there are many.
    let half = if experts > 64 { 0.5 } else { 0.4 };
    let bars = (0..).map(f64::from).zip(counts);
    chart.draw_series(bars.map(|(x, &n)| Rectangle::new([(x - half, 0.0), (x + half, n as f64)], DRAWN.filled())))?;
    chart.draw_series(std::iter::once(PathElement::new(vec![(left, mean), (right, mean)], BLACK)))?;
    Ok(())
}

/// A whole number; nothing between them.
fn whole(x: f64) -> String {
    if (x - x.round()).abs() < 1e-6 { format!("{:.0}", x.round() + 0.0) } else { String::new() }
}

fn legend_of(area: &Panel<'_>) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let font = ("sans-serif", 11).into_font();
    area.draw(&Rectangle::new([(73, 4), (83, 14)], DRAWN.filled()))?;
    area.draw(&Text::new("choices of each expert", (88, 4), font.clone()))?;
    area.draw(&PathElement::new(vec![(233, 9), (243, 9)], BLACK))?;
    area.draw(&Text::new("their mean", (248, 4), font))
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
    use_own_font()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// All numbers that an attribute of elements has, where they hold `mark`.
    fn numbers(svg: &str, mark: &str, attribute: &str) -> Vec<f64> {
        let value = |line: &str| line.split(&format!(" {attribute}=\"")).nth(1)?.split('"').next()?.parse().ok();
        svg.lines().filter(|line| line.contains(mark)).filter_map(value).collect()
    }

    /// The lines of text.
    fn texts(svg: &str) -> Vec<&str> {
        svg.lines().map(str::trim).filter(|line| line.parse::<f64>().is_ok()).collect()
    }

    #[test]
    fn nothing_hides_a_bar() {
        let svg = load("title", &[1, 2, 3, 4000]).unwrap();
        let tops = numbers(&svg, "#1F6FB2", "y");
        // The first is the mark of the legend.
        assert_eq!(tops.len(), 5);
        assert!(tops[1..].iter().all(|top| *top > tops[0] + 10.0), "{tops:?}");
        assert!(texts(&svg).contains(&"4000"), "{svg}");
    }

    #[test]
    fn labels_are_whole_numbers() {
        for counts in [&[1][..], &[0], &[2, 1, 0], &[7; 300], &[1_000_000, 3]] {
            let svg = load("title", counts).unwrap();
            let shown = texts(&svg);
            assert!(shown.iter().all(|text| text.parse::<u64>().is_ok()), "{shown:?}");
            let experts = shown.iter().filter(|text| **text == "0").count();
            assert_eq!(experts, 2, "{shown:?}");
        }
        let svg = load("title", &[1]).unwrap();
        assert_eq!(texts(&svg), ["0", "1", "0"]);
    }
}
