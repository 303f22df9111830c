//! Bars of eighth blocks, so that a bar is true to its times to an eighth of a cell.

use super::chain::Window;

/// Filled from the left by this many eighths of the cell.
const LEFT: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// One cell of a bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// To be drawn as it is.
    Plain(char),
    /// To be drawn with foreground and background exchanged: Unicode has no eighths
    /// from the right.
    Inverse(char),
}

impl Cell {
    pub(super) fn char(self) -> char {
        match self {
            Self::Plain(char) | Self::Inverse(char) => char,
        }
    }
}

/// The bar of `window` where `trace` nanoseconds take `width` cells. With `inverse` the
/// left edge is as exact as the right one, else it is rounded to a half.
pub(super) fn bar(window: Window, trace: u64, width: usize, inverse: bool) -> Vec<Cell> {
    let start = eighths(window.start, trace, width);
    let end = eighths(window.end, trace, width);
    let mut cells = vec![Cell::Plain(' '); width];
    if start == end {
        // Too short to be seen: a line where it was.
        let cell = (start / 8).min(width.saturating_sub(1));
        if let Some(slot) = cells.get_mut(cell) {
            *slot = Cell::Plain(hairline(start - cell * 8));
        }
        return cells;
    }
    for (cell, slot) in cells.iter_mut().enumerate() {
        let from = start.clamp(cell * 8, cell * 8 + 8) - cell * 8;
        let to = end.clamp(cell * 8, cell * 8 + 8) - cell * 8;
        *slot = part(from, to, inverse);
    }
    cells
}

/// `time` on a scale of eighths of cells, rounded to the nearest.
fn eighths(time: u64, trace: u64, width: usize) -> usize {
    let scale = width as u128 * 8;
    let trace = u128::from(trace).max(1);
    let rounded = (u128::from(time) * scale + trace / 2) / trace;
    usize::try_from(rounded.min(scale)).unwrap_or(usize::MAX)
}

/// A cell filled from one eighth to another.
fn part(from: usize, to: usize, inverse: bool) -> Cell {
    let left = |eighths: usize| LEFT.get(eighths).copied().unwrap_or('█');
    match (from, to) {
        (0, to) => Cell::Plain(left(to)),
        (from, to) if from == to => Cell::Plain(' '),
        (from, 8) if inverse => Cell::Inverse(left(from)),
        (1 | 2, 8) => Cell::Plain('█'),
        (3..=5, 8) => Cell::Plain('▐'),
        (_, 8) => Cell::Plain('▕'),
        (from, to) if to - from < 3 => Cell::Plain(hairline((from + to) / 2)),
        (from, to) if from + to <= 8 => Cell::Plain('▌'),
        _ => Cell::Plain('▐'),
    }
}

fn hairline(eighth: usize) -> char {
    match eighth {
        0..=2 => '▏',
        3..=5 => '│',
        _ => '▕',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(start: u64, end: u64, trace: u64, width: usize) -> String {
        let cells = bar(Window { start, end }, trace, width, false);
        cells.into_iter().map(Cell::char).collect()
    }

    #[test]
    fn a_bar_ends_within_a_cell() {
        let bars = [
            "▏   ", "▎   ", "▍   ", "▌   ", "▋   ", "▊   ", "▉   ", "█   ", "█▏  ",
        ];
        for (bar, end) in bars.into_iter().zip(1..) {
            assert_eq!(drawn(0, end, 32, 4), bar);
        }
        assert_eq!(drawn(0, 32, 32, 4), "████");
    }

    #[test]
    fn a_bar_starts_within_a_cell() {
        let bars = [
            "████",
            "████",
            "████",
            "▐███",
            "▐███",
            "▐███",
            "▕███",
            "▕███",
            " ███",
        ];
        for (bar, start) in bars.into_iter().zip(0..) {
            assert_eq!(drawn(start, 32, 32, 4), bar);
        }
        let exact = bar(Window { start: 3, end: 16 }, 32, 4, true);
        let plain = Cell::Plain;
        assert_eq!(
            exact,
            [Cell::Inverse('▍'), plain('█'), plain(' '), plain(' ')]
        );
    }

    #[test]
    fn a_bar_within_one_cell_stands_where_it_was() {
        assert_eq!(drawn(8, 9, 32, 4), " ▏  ");
        assert_eq!(drawn(11, 13, 32, 4), " │  ");
        assert_eq!(drawn(13, 15, 32, 4), " ▕  ");
        assert_eq!(drawn(9, 13, 32, 4), " ▌  ");
        assert_eq!(drawn(11, 15, 32, 4), " ▐  ");
    }

    #[test]
    fn what_took_no_time_is_a_hairline() {
        assert_eq!(drawn(0, 0, 32, 4), "▏   ");
        assert_eq!(drawn(12, 12, 32, 4), " │  ");
        assert_eq!(drawn(32, 32, 32, 4), "   ▕");
        assert_eq!(drawn(0, 0, 0, 4), "▏   ");
        assert_eq!(drawn(1, 1, 1, 0), "");
    }

    #[test]
    fn times_are_rounded_and_never_overflow() {
        assert_eq!(drawn(0, 187, 1000, 1), "▏");
        assert_eq!(drawn(0, 188, 1000, 1), "▎");
        assert_eq!(drawn(0, u64::MAX, u64::MAX, 3), "███");
        assert_eq!(drawn(u64::MAX / 2, u64::MAX, u64::MAX, 2), " █");
    }
}
