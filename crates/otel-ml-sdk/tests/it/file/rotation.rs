//! Files that grow.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry_sdk::trace::SpanExporter as _;
use otel_ml_sdk::file::{FileExporter, FileSpanExporter};
use tempfile::TempDir;

use super::{export, names, now, span, text};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("t.jsonl")
    }

    /// From the oldest to the one that is written.
    fn files(&self) -> Vec<PathBuf> {
        let old = |number: usize| self.0.path().join(format!("t.jsonl.{number}"));
        let mut files = vec![self.path()];
        files.extend((1..).map(old).take_while(|path| path.exists()));
        files.reverse();
        assert_eq!(self.0.path().read_dir().unwrap().count(), files.len());
        files
    }

    fn names(&self) -> Vec<String> {
        let files = self.files();
        let names = files.iter().flat_map(|path| names(path));
        names.flatten().collect()
    }
}

fn spans(path: &Path, max_bytes: u64, max_files: usize) -> FileSpanExporter {
    let file = FileExporter::builder(path)
        .max_bytes(max_bytes)
        .max_files(max_files);
    file.open().unwrap().spans()
}

fn export_numbers(exporter: &FileSpanExporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        now(exporter.export(vec![span(number.to_string())])).unwrap();
    }
}

fn length(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

fn line_length() -> u64 {
    let folder = Folder::new();
    export(&spans(&folder.path(), 1, 0), &["0"]).unwrap();
    length(&folder.path())
}

#[test]
fn lines_are_whole_and_in_order_over_files_within_the_limit() {
    let folder = Folder::new();
    export_numbers(&spans(&folder.path(), 1_000, 1_000), 0..500);
    let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(folder.names(), numbers);
    let files = folder.files();
    assert!(files.len() > 50, "{} files", files.len());
    let longest = line_length() + 2;
    let (current, old) = files.split_last().unwrap();
    for path in old {
        // Full: the next line would not have fitted.
        assert!((1_001 - longest..=1_000).contains(&length(path)));
    }
    assert!(length(current) <= 1_000);
}

#[test]
fn a_limit_is_reached_to_the_byte() {
    let line = line_length();
    for (max_bytes, files) in [(2 * line, 2), (2 * line - 1, 3)] {
        let folder = Folder::new();
        export_numbers(&spans(&folder.path(), max_bytes, 9), 0..3);
        assert_eq!(folder.files().len(), files);
    }
}

#[test]
fn so_many_old_files_are_kept() {
    for max_files in [0, 1, 3] {
        let folder = Folder::new();
        export_numbers(&spans(&folder.path(), 1, max_files), 0..9);
        let kept: Vec<String> = (8 - max_files..9).map(|n| n.to_string()).collect();
        assert_eq!(folder.names(), kept);
    }
}

#[test]
fn no_number_of_files_is_too_large() {
    let folder = Folder::new();
    export_numbers(&spans(&folder.path(), 1, usize::MAX), 0..9);
    assert_eq!(folder.files().len(), 9);
}

#[test]
fn old_files_beyond_a_lower_limit_go() {
    let folder = Folder::new();
    export_numbers(&spans(&folder.path(), 1, 9), 0..9);
    export_numbers(&spans(&folder.path(), 1, 2), 9..10);
    assert_eq!(folder.names(), ["7", "8", "9"]);
}

#[test]
fn a_removed_old_file_leaves_its_place() {
    let folder = Folder::new();
    let exporter = spans(&folder.path(), 1, 9);
    export_numbers(&exporter, 0..4);
    let first = folder.path().with_extension("jsonl.1");
    let third = folder.path().with_extension("jsonl.3");
    fs::remove_file(&first).unwrap();
    export_numbers(&exporter, 4..5);
    assert_eq!(names(&first), [["3"]]);
    // Its turn had not come.
    assert_eq!(names(&third), [["0"]]);
    assert_eq!(folder.names(), ["0", "1", "3", "4"]);
}

#[test]
fn a_line_over_the_limit_has_a_file_of_its_own() {
    let folder = Folder::new();
    let exporter = spans(&folder.path(), 600, 9);
    export(&exporter, &["a"]).unwrap();
    let long = "long".repeat(1_000);
    now(exporter.export(vec![span(long.clone())])).unwrap();
    export(&exporter, &["b"]).unwrap();
    let each: Vec<_> = folder.files().iter().map(|path| names(path)).collect();
    assert_eq!(each, [[["a"]], [[long.as_str()]], [["b"]]]);
}

#[test]
fn a_new_run_goes_on_where_the_last_ended() {
    let folder = Folder::new();
    for run in 0..6 {
        let exporter = spans(&folder.path(), 2 * line_length(), 9);
        export_numbers(&exporter, run..run + 1);
    }
    assert_eq!(folder.names(), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(folder.files().len(), 3);
}

#[test]
fn half_a_line_left_by_a_crash_is_not_continued() {
    let folder = Folder::new();
    fs::write(folder.path(), "{\"resourceSp").unwrap();
    export(&spans(&folder.path(), 1_000, 1), &["a"]).unwrap();
    let text = text(&folder.path());
    let (half, line) = text.split_once('\n').unwrap();
    assert_eq!(half, "{\"resourceSp");
    assert!(line.starts_with("{\"resourceSpans\":[") && line.ends_with("}\n"));
}

#[test]
fn a_file_moved_away_by_another_hand_is_left_alone() {
    let folder = Folder::new();
    let exporter = spans(&folder.path(), 10_000, 1);
    export(&exporter, &["a"]).unwrap();
    let moved = folder.0.path().join("moved");
    fs::rename(folder.path(), &moved).unwrap();
    export(&exporter, &["b"]).unwrap();
    assert_eq!(names(&moved), [["a"]]);
    assert_eq!(names(&folder.path()), [["b"]]);
}

#[cfg(unix)]
#[test]
fn the_file_behind_a_link_is_rotated() {
    let folder = Folder::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("data");
    std::os::unix::fs::symlink(&target, folder.path()).unwrap();
    export_numbers(&spans(&folder.path(), 1, 1), 0..2);
    assert!(folder.path().is_symlink());
    assert_eq!(names(&target), [["1"]]);
    assert_eq!(names(&target.with_extension("1")), [["0"]]);
}

/// Writers that share a file by clones, and writers that each opened it, as processes do.
#[test]
fn writers_at_the_same_time_mix_and_lose_nothing() {
    const WRITERS: usize = 8;
    const LINES: usize = 100;
    let folder = Folder::new();
    let shared = FileExporter::builder(folder.path())
        .max_bytes(5_000)
        .max_files(10_000);
    let shared = shared.open().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let exporter = match writer % 2 {
                0 => shared.spans(),
                _ => spans(&folder.path(), 5_000, 10_000),
            };
            scope.spawn(move || {
                let first = writer * LINES;
                export_numbers(&exporter, first..first + LINES);
            });
        }
    });
    let numbers: Vec<usize> = folder.names().iter().map(|n| n.parse().unwrap()).collect();
    assert_eq!(numbers.len(), WRITERS * LINES);
    let distinct: BTreeSet<usize> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), WRITERS * LINES);
    for writer in 0..WRITERS {
        let own = numbers.iter().filter(|n| **n / LINES == writer);
        assert!(own.is_sorted(), "a writer's lines keep their order");
    }
    assert!(folder.files().iter().all(|path| length(path) <= 5_000));
}
