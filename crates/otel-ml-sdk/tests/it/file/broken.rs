//! Files that can't be written, or are none.

use std::fs;
use std::path::Path;

use opentelemetry_sdk::error::OTelSdkError;
use otel_ml_sdk::ErrorKind;
use otel_ml_sdk::file::FileExporter;

use super::{export, names};
use crate::alone::alone;

#[test]
fn a_file_that_cannot_be_opened_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/t.jsonl");
    for path in [folder.path(), &missing, Path::new("")] {
        let error = FileExporter::builder(path).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File);
        let message = error.to_string();
        assert!(message.contains(&format!("{path:?}")), "{message}");
        assert!(message.contains("name a file, in a folder that exists"));
        assert!(std::error::Error::source(&error).is_some());
    }
    assert!(!missing.parent().unwrap().exists());
}

#[test]
fn a_folder_that_goes_is_an_error_until_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("logs");
    let path = inner.join("t.jsonl");
    fs::create_dir(&inner).unwrap();
    let exporter = FileExporter::builder(&path).open().unwrap().spans();
    export(&exporter, &["a"]).unwrap();
    fs::remove_dir_all(&inner).unwrap();
    for _ in 0..2 {
        let error = export(&exporter, &["lost"]).unwrap_err();
        let OTelSdkError::InternalFailure(message) = error else {
            panic!("{error:?}");
        };
        assert!(message.contains(&format!("{path:?}")), "{message}");
    }
    fs::create_dir(&inner).unwrap();
    export(&exporter, &["b"]).unwrap();
    assert_eq!(names(&path), [["b"]]);
}

#[test]
fn a_rotation_that_fails_loses_no_line_and_is_tried_again() {
    for max_files in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let old = |number: usize| folder.path().join(format!("t.jsonl.{number}"));
        let file = FileExporter::builder(&path).max_bytes(1);
        let exporter = file.max_files(max_files).open().unwrap().spans();
        export(&exporter, &["a"]).unwrap();
        // What a file can't be renamed to.
        for number in 1..=max_files {
            fs::create_dir_all(old(number).join("in the way")).unwrap();
        }
        for name in ["b", "c"] {
            export(&exporter, &[name]).unwrap();
        }
        assert_eq!(names(&path), [["a"], ["b"], ["c"]]);
        for number in 1..=max_files {
            fs::remove_dir_all(old(number)).unwrap();
        }
        export(&exporter, &["d"]).unwrap();
        assert_eq!(names(&old(1)), [["a"], ["b"], ["c"]]);
        assert_eq!(names(&path), [["d"]]);
    }
}

#[test]
fn a_rotation_that_fails_is_said_until_one_succeeds() {
    let said = alone("file::broken::failing_to_rotate", &[]);
    let told = said.matches("t.jsonl\" can't be rotated").count();
    assert_eq!(told, 2, "{said}");
}

#[test]
#[ignore = "run by the test above"]
fn failing_to_rotate() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("t.jsonl.1");
    let file = FileExporter::builder(folder.path().join("t.jsonl")).max_bytes(1);
    let exporter = file.max_files(1).open().unwrap().spans();
    export(&exporter, &["a"]).unwrap();
    for _ in 0..2 {
        fs::create_dir_all(old.join("in the way")).unwrap();
        for name in ["b", "c"] {
            export(&exporter, &[name]).unwrap();
        }
        fs::remove_dir_all(&old).unwrap();
        export(&exporter, &["d"]).unwrap();
        fs::remove_file(&old).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_without_space_is_an_error_each_time() {
    let exporter = FileExporter::builder("/dev/full").open().unwrap().spans();
    for _ in 0..2 {
        let error = export(&exporter, &["lost"]).unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_written_to_and_left_in_its_place() {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::FileTypeExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let file = FileExporter::builder(&path).max_bytes(1);
    let exporter = file.open().unwrap().spans();
    let mut lines = BufReader::new(fs::File::open(&path).unwrap()).lines();
    for name in ["a", "b"] {
        export(&exporter, &[name]).unwrap();
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains(&format!("\"name\":\"{name}\"")), "{line}");
    }
    assert!(path.symlink_metadata().unwrap().file_type().is_fifo());
}

/// Runs itself in a process whose files can't grow past a limit, which is how a disk fills up: the
/// last write is taken in part.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_cuts_no_line() {
    use std::process::Command;

    let Some(path) = std::env::var_os("OTEL_ML_TEST_FULL_DISK") else {
        let folder = tempfile::tempdir().unwrap();
        let limited = "trap '' XFSZ; ulimit -f 20; exec \"$@\"";
        let output = Command::new("sh")
            .args(["-c", limited, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "file::broken::a_disk_that_fills_up_cuts_no_line"])
            .env("OTEL_ML_TEST_FULL_DISK", folder.path().join("t.jsonl"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("1 passed"), "{text}");
        return;
    };
    let path = Path::new(&path);
    let exporter = FileExporter::builder(path).open().unwrap().spans();
    let mut written = 0;
    while export(&exporter, &["a"]).is_ok() {
        written += 1;
        assert!(written < 10_000, "there is no limit");
    }
    export(&exporter, &["a"]).unwrap_err();
    // Reads each line: none is cut off.
    assert_eq!(names(path), vec![["a"]; written]);
    fs::remove_file(path).unwrap();
    export(&exporter, &["b"]).unwrap();
    assert_eq!(names(path), [["b"]]);
}
