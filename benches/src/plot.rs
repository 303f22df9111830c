//! The measured costs as a picture.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle};
use serde::Deserialize;

/// What is drawn: a suite, and a panel for each of these conditions of it.
const SUITE: &str = "http-server";
const PANELS: [(&str, &str); 3] = [
    ("a", "nothing installed"),
    ("b", "caller not sampled"),
    (SORTED_BY, "sampled"),
];
const SORTED_BY: &str = "c";
const TITLE: &str = "What a request to an axum server costs more: instructions · allocations";

// Read on white and on near-black alike: there is no background.
const OURS: RGBColor = RGBColor(0x3b, 0x82, 0xf6);
const OTHERS: RGBColor = RGBColor(0x9a, 0xa4, 0xaf);
const INK: RGBColor = RGBColor(0x76, 0x7e, 0x88);

/// Pixels: the names of variants, a panel, what a panel leaves for the longest bar's label.
const NAMES: i32 = 320;
const PANEL: i32 = 230;
const LABEL: i32 = 96;
const WIDTH: i32 = NAMES + 3 * PANEL;
const TOP: i32 = 58;
const BAR: i32 = 22;

/// What the JSON says of a line.
#[derive(Debug, Deserialize)]
struct Line {
    suite: String,
    variant: String,
    condition: String,
    added_instructions: Option<f64>,
    added_allocations: f64,
}

impl Line {
    fn cost(&self) -> f64 {
        self.added_instructions.unwrap_or_default()
    }
}

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// It is not what the bench writes.
    #[error("the measurements can't be read")]
    Json(#[from] serde_json::Error),
    /// None of them is in the picture.
    #[error("there are no instructions of {SUITE} among the measurements")]
    Empty,
    /// The drawing failed.
    #[error("the picture can't be drawn")]
    Draw(#[from] DrawingAreaErrorKind<std::io::Error>),
}

/// The picture, as SVG, of what the bench wrote as JSON: instructions and allocations that each
/// variant adds to a request.
///
/// # Errors
/// When the JSON is not the bench's, or holds nothing to be drawn.
pub fn plot(json: &str) -> Result<String, PlotError> {
    let mut lines: Vec<Line> = serde_json::from_str(json)?;
    lines.retain(|line| line.suite == SUITE && line.added_instructions.is_some());
    let mut rows: Vec<Vec<&Line>> = lines
        .iter()
        .filter(|line| line.condition == SORTED_BY)
        .filter_map(|line| panels_of(&lines, &line.variant))
        .collect();
    let cost = |row: &[&Line]| row.last().map_or(0.0, |line| line.cost());
    rows.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
    let most = rows.last().ok_or(PlotError::Empty)?;
    let per_pixel = cost(most) / f64::from(PANEL - LABEL);
    let height = TOP + BAR * i32::try_from(rows.len()).unwrap_or_default() + BAR / 2;
    let mut svg = String::new();
    let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    write(&area, TITLE, (0, 12), HPos::Left)?;
    for (column, (condition, meaning)) in (0..).zip(PANELS) {
        let text = format!("{condition}: {meaning}");
        write(&area, &text, (NAMES + PANEL * column, 44), HPos::Left)?;
    }
    for (number, row) in (0..).zip(&rows) {
        let y = TOP + BAR * number;
        for (column, line) in (0..).zip(row) {
            if column == 0 {
                write(&area, &line.variant, (NAMES - 8, y + BAR / 2), HPos::Right)?;
            }
            bar(&area, line, (NAMES + PANEL * column, y), per_pixel)?;
        }
    }
    area.present()?;
    drop(area);
    Ok(svg)
}

/// A variant's lines, one for each panel; `None` when one is missing.
fn panels_of<'a>(lines: &'a [Line], variant: &str) -> Option<Vec<&'a Line>> {
    let line = |condition| {
        let mut of_variant = lines.iter().filter(|line| line.variant == variant);
        of_variant.find(|line| line.condition == condition)
    };
    PANELS
        .iter()
        .map(|(condition, _)| line(*condition))
        .collect()
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn write(area: &Area<'_>, text: &str, at: (i32, i32), side: HPos) -> Result<(), PlotError> {
    let style = TextStyle::from(("sans-serif", 16).into_font())
        .color(&INK)
        .pos(Pos::new(side, VPos::Center));
    Ok(area.draw(&Text::new(text, at, style))?)
}

fn bar(area: &Area<'_>, line: &Line, (x, y): (i32, i32), per_pixel: f64) -> Result<(), PlotError> {
    let color = if line.variant.starts_with("otel-ml") {
        OURS
    } else {
        OTHERS
    };
    #[allow(clippy::cast_possible_truncation, reason = "it fits in the picture")]
    let end = x + (line.cost() / per_pixel).max(1.0) as i32;
    let corners = [(x, y + 3), (end, y + BAR - 3)];
    area.draw(&Rectangle::new(corners, color.filled()))?;
    let label = format!("{:.0} · {:.0}", line.cost(), line.added_allocations);
    write(area, &label, (end + 6, y + BAR / 2), HPos::Left)
}
