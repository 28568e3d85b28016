//! `onesum bench plot`: bandwidth against columns, the limit drawn in.

use std::path::PathBuf;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::group::{Group, distinct, groups};
use super::record::{Record, Report};
use crate::failure::Failure;
use crate::plot::use_own_font;
use crate::run::paths::is_stdout;
use crate::tensor::Files;
use crate::terminal::say;

const HELP: &str = "\
Examples:
  onesum bench --preset paper --json paper.json
  onesum bench plot paper.json -o paper.svg
  onesum bench plot paper.json softmax/1x --output paper.png     only results whose names contain this (and the limit)

One chart for each definition, element type and options, and for each number of rows where several have the same
columns. Lines are algorithms (of several variants of one, the fastest); the wide pale band is the variant that is
chosen, the dashed line the copy's bandwidth in the same run, or the read's. Small bars are quartiles.";

/// Draw bandwidth against columns, as SVG or PNG
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A report of `onesum bench --json`
    #[arg(value_name = "REPORT.json")]
    report: PathBuf,
    /// Only results whose names contain this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// The picture, a file that ends in .svg or .png; - is SVG on standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// More are no picture any more.
const MOST: usize = 24;
/// Pixels.
const SIZE: (u32, u32) = (960, 460);
/// Pixels.
const LEGEND: u32 = 200;

/// Those that people with any kind of colour vision can tell apart (Okabe & Ito 2008), without black, which is the limit,
/// and with a grey for yellow, which paper swallows.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(96, 96, 96),
];
const BAND: RGBColor = RGBColor(0xd5, 0xdb, 0xe2);

/// In pixels around a point. Five and seven colours: 35 lines differ.
const MARKERS: [&[(i32, i32)]; 5] = [
    &[(-2, -4), (2, -4), (4, -2), (4, 2), (2, 4), (-2, 4), (-4, 2), (-4, -2)],
    &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
    &[(0, -5), (5, 4), (-5, 4)],
    &[(0, -6), (5, 0), (0, 6), (-5, 0)],
    &[(-5, -4), (5, -4), (0, 5)],
];

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let extension = args.output.extension().map(|e| e.to_string_lossy().to_lowercase());
    let stdout = is_stdout(&args.output);
    if !stdout && !matches!(extension.as_deref(), Some("svg" | "png")) {
        return Err(Failure::usage("expected an --output that ends in .svg or .png"));
    }
    let report = Report::read(&args.report)?;
    let filter = args.filter.as_deref().unwrap_or_default();
    let charts = charts(&report, filter);
    if charts.is_empty() {
        let named = if filter.is_empty() { String::new() } else { format!(" whose name contains {filter:?}") };
        return Err(Failure::error(format!("{}: no result{named} has a bandwidth", args.report.display())));
    }
    if charts.len() > MOST {
        let titles: Vec<_> = distinct(charts.iter().map(|chart| chart.title.as_str()));
        let titles = titles.join("; ");
        return Err(Failure::error(format!("{} charts are too many; a filter chooses: {titles}", charts.len())));
    }
    let picture = Picture { place: report.line(), charts };
    let mut files = Files::default();
    match extension.as_deref() {
        _ if stdout => return say(&picture.svg()?),
        Some("png") => files.bytes(&args.output, &picture.png()?)?,
        _ => files.text(&args.output, &picture.svg()?)?,
    }
    Ok(files.commit()?)
}

/// Bandwidth at a number of columns.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    cols: f64,
    /// GB/s.
    median: f64,
    low: f64,
    high: f64,
}

impl Point {
    fn of(record: &Record) -> Option<Self> {
        let (gb, ms) = (record.gb_per_s?, record.ms?);
        let at = |other: f64| gb * ms.median / other;
        let point = Self { cols: f64::from(record.cols), median: gb, low: at(ms.q3), high: at(ms.q1) };
        [gb, point.low, point.high].into_iter().all(|x| x.is_finite() && x > 0.0).then_some(point)
    }
}

/// Points of one name, by columns.
#[derive(Debug)]
struct Line {
    name: String,
    points: Vec<Point>,
}

impl Line {
    /// The fastest of those with the same columns.
    fn of<'a>(name: &str, records: impl Iterator<Item = &'a Record>) -> Self {
        let mut points: Vec<Point> = records.filter_map(Point::of).collect();
        points.sort_by(|a, b| a.cols.total_cmp(&b.cols).then(b.median.total_cmp(&a.median)));
        points.dedup_by_key(|point| point.cols);
        Self { name: name.to_owned(), points }
    }
}

/// What shares a pair of axes.
#[derive(Debug)]
struct Chart {
    title: String,
    /// Under the axis of columns.
    columns: String,
    limit: Line,
    chosen: Line,
    lines: Vec<Line>,
}

fn charts(report: &Report, filter: &str) -> Vec<Chart> {
    let shown = report.results.iter().filter(|r| r.is_yardstick() || r.name.contains(filter));
    let groups = groups(shown);
    let charts = groups.iter().flat_map(|group| {
        let shapes = group.shapes();
        let clash = |a: &(u32, u32, Option<u32>)| shapes.iter().any(|b| a.1 == b.1 && a != b);
        if !shapes.iter().any(clash) {
            return vec![chart(group, |_| true)];
        }
        let kinds = distinct(shapes.iter().map(|&(rows, _, choices)| (rows, choices)));
        kinds.into_iter().map(|kind| chart(group, |r| (r.rows, r.choices) == kind)).collect()
    });
    charts.filter(|chart| chart.lines.iter().any(|line| !line.points.is_empty())).collect()
}

fn chart(group: &Group<'_>, belongs: impl Fn(&Record) -> bool) -> Chart {
    let own: Vec<_> = group.records.iter().copied().filter(|r| belongs(r)).collect();
    let rivals = || own.iter().copied().filter(|r| !r.is_yardstick());
    let units = || own.iter().copied().filter(|r| r.is_yardstick());
    let limit = units().next().map_or(String::new(), |unit| format!("{}: the limit", unit.role));
    // Where each algorithm has but one variant, all of them are chosen.
    let contested = rivals().any(|r| r.role != "chosen");
    let line = |name: &str| Line::of(name, rivals().filter(|r| group.algorithm(r) == name));
    let mut lines: Vec<_> = group.algorithms().into_iter().map(line).collect();
    lines.retain(|line| !line.points.is_empty());
    Chart {
        title: group.title(),
        columns: columns(&own),
        limit: Line::of(&limit, units()),
        chosen: Line::of("chosen", rivals().filter(|r| contested && r.role == "chosen")),
        lines,
    }
}

/// `columns; 1 to 16,384 rows, 8 choices`.
fn columns(records: &[&Record]) -> String {
    let span = |values: Vec<u32>, one: &str, many: &str| {
        let (least, most) = (values.iter().min()?, values.iter().max()?);
        Some(match least == most {
            true if *most == 1 => format!("1 {one}"),
            true => format!("{} {many}", thousands(f64::from(*most))),
            false => format!("{} to {} {many}", thousands(f64::from(*least)), thousands(f64::from(*most))),
        })
    };
    let rows = span(records.iter().map(|r| r.rows).collect(), "row", "rows");
    let choices = span(records.iter().filter_map(|r| r.choices).collect(), "choice", "choices");
    let parts: Vec<_> = rows.into_iter().chain(choices).collect();
    format!("columns ({})", parts.join(", "))
}

/// `131,072`.
fn thousands(x: f64) -> String {
    let digits = format!("{x:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// Charts one below the other.
struct Picture {
    /// Where and when it was measured.
    place: String,
    charts: Vec<Chart>,
}

type Area<DB> = DrawingArea<DB, Shift>;
type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

impl Picture {
    fn size(&self) -> (u32, u32) {
        (SIZE.0, SIZE.1 * self.charts.len() as u32)
    }

    fn svg(&self) -> Result<String, Failure> {
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, self.size()).into_drawing_area())?;
        Ok(text)
    }

    fn png(&self) -> Result<Vec<u8>, Failure> {
        let (width, height) = self.size();
        let mut pixels = vec![0; width as usize * height as usize * 3];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(bytes)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Failure> {
        use_own_font()?;
        let names = distinct(self.charts.iter().flat_map(|chart| &chart.lines).map(|line| line.name.as_str()));
        let draw = || -> Drawn<DB> {
            area.fill(&WHITE)?;
            for (chart, panel) in self.charts.iter().zip(area.split_evenly((self.charts.len(), 1))) {
                chart.draw(&panel, &self.place, &names)?;
            }
            area.present()
        };
        draw().map_err(|e| Failure::error(format!("cannot draw: {e}")))
    }
}

/// Of the line that is the `index`th of the picture: all its charts show an algorithm alike.
fn look(index: usize) -> (RGBColor, &'static [(i32, i32)]) {
    (COLORS[index % COLORS.len()], MARKERS[index % MARKERS.len()])
}

impl Chart {
    fn draw<DB: DrawingBackend>(&self, panel: &Area<DB>, place: &str, names: &[&str]) -> Drawn<DB> {
        let title = format!("{}: bandwidth of ideal traffic by columns", self.title);
        let panel = panel.margin(8, 0, 0, 0).titled(&title, ("sans-serif", 18))?.titled(place, ("sans-serif", 12))?;
        let (left, right) = panel.split_horizontally(SIZE.0 - LEGEND);
        let index = |line: &Line| names.iter().position(|name| *name == line.name).unwrap_or(0);
        self.legend(&right, index)?;

        let all = || self.lines.iter().chain([&self.limit, &self.chosen]).flat_map(|line| &line.points);
        let ticks = distinct(all().map(|point| point.cols));
        let (least, most) = ticks.iter().fold((f64::INFINITY, 1.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
        let (least, most) = (least / 1.25, most * 1.25);
        // A round that was disturbed must not make the rest small.
        let top = all().map(|p| p.high.min(p.median * 1.3)).fold(0.0, f64::max) * 1.06;
        let mut chart = ChartBuilder::on(&left)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d((least..most).log_scale().with_key_points(apart(ticks, least, most)), 0.0..top)?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .x_label_formatter(&|x| thousands(*x))
            .y_label_formatter(&|y| ((y * 100.0).round() / 100.0).to_string())
            .x_desc(&self.columns)
            .y_desc("GB/s")
            .label_style(("sans-serif", 12))
            .axis_desc_style(("sans-serif", 14))
            .bold_line_style(BLACK.mix(0.12))
            .draw()?;
        let path = |line: &Line| line.points.iter().map(|p| (p.cols, p.median)).collect::<Vec<_>>();
        chart.draw_series(LineSeries::new(path(&self.chosen), BAND.stroke_width(11)))?;
        // Of a line of one point, the band is a spot.
        chart.draw_series(path(&self.chosen).into_iter().map(|at| Circle::new(at, 8, BAND.filled())))?;
        chart.draw_series(DashedLineSeries::new(path(&self.limit), 7, 5, BLACK.stroke_width(2)))?;
        chart.draw_series(path(&self.limit).into_iter().map(|at| Circle::new(at, 2, BLACK.filled())))?;
        for line in &self.lines {
            let (color, marker) = look(index(line));
            let bars = line.points.iter().map(|p| vec![(p.cols, p.low), (p.cols, p.high.min(top))]);
            chart.draw_series(bars.map(|bar| PathElement::new(bar, color.mix(0.6))))?;
            chart.draw_series(LineSeries::new(path(line), color.stroke_width(2)))?;
            let marks = path(line).into_iter();
            chart.draw_series(marks.map(|at| EmptyElement::at(at) + Polygon::new(marker, color.filled())))?;
        }
        Ok(())
    }

    /// From the top down, beside the lines: it must not hide any.
    fn legend<DB: DrawingBackend>(&self, area: &Area<DB>, index: impl Fn(&Line) -> usize) -> Drawn<DB> {
        let (left, right, step) = (8, 40, 20);
        let mut y = 24;
        let mut name = |text: &str| {
            let at = y;
            y += step;
            let style = TextStyle::from(("sans-serif", 12)).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(text.to_owned(), (right + 8, at), style)).map(|()| at)
        };
        if !self.limit.points.is_empty() {
            let y = name(&self.limit.name)?;
            let dash = |from: i32| PathElement::new(vec![(from, y), (from + 7, y)], BLACK.stroke_width(2));
            (0..3).try_for_each(|i| area.draw(&dash(left + i * 12)))?;
        }
        if !self.chosen.points.is_empty() {
            let y = name("chosen")?;
            area.draw(&PathElement::new(vec![(left, y), (right, y)], BAND.stroke_width(11)))?;
        }
        for line in &self.lines {
            let y = name(&line.name)?;
            let (color, marker) = look(index(line));
            area.draw(&PathElement::new(vec![(left, y), (right, y)], color.stroke_width(2)))?;
            area.draw(&(EmptyElement::at((left.midpoint(right), y)) + Polygon::new(marker, color.filled())))?;
        }
        Ok(())
    }
}

/// Those whose labels do not touch.
fn apart(mut ticks: Vec<f64>, least: f64, most: f64) -> Vec<f64> {
    ticks.sort_by(f64::total_cmp);
    let place = |x: f64| (x / least).ln() / (most / least).ln();
    let mut kept = Vec::<f64>::new();
    for tick in ticks {
        // A label of seven digits, in parts of the axis.
        if kept.last().is_none_or(|last| place(tick) - place(*last) > 0.09) {
            kept.push(tick);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::record::made_up;
    use super::*;

    fn picture(results: Vec<Record>, filter: &str) -> Picture {
        let report = made_up::report(results);
        Picture { place: report.line(), charts: charts(&report, filter) }
    }

    /// The lines of text.
    fn texts(svg: &str) -> Vec<String> {
        let tree = roxmltree::Document::parse(svg).unwrap();
        let texts = tree.descendants().filter(|node| node.has_tag_name("text"));
        texts.map(|node| node.text().unwrap().trim().to_owned()).collect()
    }

    #[test]
    fn lines_are_algorithms() {
        let picture = picture(made_up::softmaxes(), "");
        let [chart] = &picture.charts[..] else { panic!("{} charts", picture.charts.len()) };
        let names: Vec<_> = chart.lines.iter().map(|line| (line.name.as_str(), line.points.len())).collect();
        assert_eq!(names, [("onchip", 1), ("online", 2), ("stream", 1)]);
        assert_eq!((chart.limit.name.as_str(), chart.limit.points.len()), ("copy: the limit", 2));
        assert_eq!(chart.chosen.points.iter().map(|p| p.cols).collect::<Vec<_>>(), [1024.0, 32_768.0]);
        assert_eq!(chart.columns, "columns (512 to 4,096 rows)");
        let point = chart.lines[0].points[0];
        assert!((point.median - 10.0 / 1.5).abs() < 1e-9 && (point.high / point.median - 1.0 / 0.99).abs() < 1e-9);
    }

    /// Of several variants of one algorithm the fastest counts.
    #[test]
    fn a_line_has_one_point_for_a_number_of_columns() {
        let mut results = made_up::softmaxes();
        results.push(made_up::record(512, 32_768, "softmax/online/f32/subgroup/w64/x4", "other", 1.25));
        let picture = picture(results, "");
        let online = &picture.charts[0].lines[1];
        assert_eq!(online.points.iter().map(|p| p.median).collect::<Vec<_>>(), [5.0, 8.0]);
    }

    #[test]
    fn rows_that_share_columns_have_charts_of_their_own() {
        let mut results = made_up::softmaxes();
        results.extend([
            made_up::record(8, 1024, "copy/f32/baseline/w8q128/x4", "copy", 1.0),
            made_up::record(8, 1024, "softmax/onchip/f32/shuffle/w8k32/x4", "chosen", 1.5),
        ]);
        let under: Vec<_> = picture(results.clone(), "").charts.into_iter().map(|chart| chart.columns).collect();
        assert_eq!(under, ["columns (4,096 rows)", "columns (512 rows)", "columns (8 rows)"]);
        assert_eq!(picture(results.clone(), "softmax/8x").charts.len(), 1);
        assert!(picture(results, "nonsense").charts.is_empty());
    }

    #[test]
    fn what_has_no_bandwidth_is_not_drawn() {
        let results = made_up::softmaxes().into_iter();
        let refused = |r| made_up::untimed(super::super::record::Status::Refused, "no", r);
        let results = results.map(|r| if r.role == "rival" { refused(r) } else { r });
        let picture = picture(results.collect(), "");
        assert!(picture.charts[0].lines.iter().all(|line| line.name != "online"));
    }

    #[test]
    fn the_picture_says_what_it_shows() {
        let picture = picture(made_up::softmaxes(), "");
        let svg = picture.svg().unwrap();
        let texts = texts(&svg);
        for text in [
            "softmax, f32: bandwidth of ideal traffic by columns",
            "GB/s",
            "columns (512 to 4,096 rows)",
            "1,024",
            "32,768",
            "copy: the limit",
            "chosen",
            "online",
        ] {
            assert!(texts.iter().any(|t| t == text), "{text} is not in {texts:?}");
        }
        assert!(texts.iter().any(|t| t.contains("Some GPU") && t.ends_with("2026-01-31")), "{texts:?}");
    }

    /// Without any font of the system's.
    #[test]
    fn pixels_have_text_too() {
        let picture = picture(made_up::softmaxes(), "");
        let decoder = png::Decoder::new(std::io::Cursor::new(picture.png().unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), SIZE);
        // Nothing but the title is so high up.
        let row = info.width as usize * 3;
        let dark = |rows: std::ops::Range<usize>| {
            pixels[rows.start * row..rows.end * row].chunks(3).filter(|p| p.iter().all(|&c| c < 0x60)).count()
        };
        assert!((200..4000).contains(&dark(0..26)), "{}", dark(0..26));
        let colors: Vec<_> = pixels.chunks(3).filter(|p| **p == [0, 114, 178]).collect();
        assert!(colors.len() > 20, "{}", colors.len());
    }

    #[test]
    fn labels_do_not_touch() {
        let ticks: Vec<f64> = (7..=20).map(|n| f64::from(1 << n)).collect();
        let kept = apart(ticks.clone(), 100.0, 1.3e6);
        assert_eq!(kept[..2], [128.0, 512.0]);
        assert_eq!(apart(vec![1024.0, 1025.0], 800.0, 1300.0), [1024.0]);
        assert_eq!([thousands(7.0), thousands(128.0), thousands(1_048_576.0)], ["7", "128", "1,048,576"]);
    }
}
