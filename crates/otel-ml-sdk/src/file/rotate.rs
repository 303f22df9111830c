//! A file of lines that is rotated by size and may have other writers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use same_file::Handle;

use crate::say::say;

/// How often a file may be replaced by other writers before a line is given up.
const ATTEMPTS: usize = 64;

#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    max_files: usize,
    open: Mutex<Option<Handle>>,
    /// Whether the last rotation failed: that is said once.
    is_stuck: AtomicBool,
}

/// What became of a line.
enum Attempt {
    Written,
    /// In a file that is too long by now.
    WrittenPastLimit(io::Error),
    /// The file isn't, or isn't any more, the one at the path.
    Moved,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, max_bytes: u64, max_files: usize) -> io::Result<Self> {
        // Absolute: the working directory may change.
        let path = std::path::absolute(path)?;
        let open = Mutex::new(Some(open(&path)?));
        Ok(Self {
            path,
            max_bytes,
            max_files,
            open,
            is_stuck: AtomicBool::new(false),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a whole line, its end included, or none of it. After an error the file is opened
    /// anew.
    pub(super) fn append(&self, line: &[u8]) -> io::Result<()> {
        let not_rotated = self.append_locked(line)?;
        let Some(error) = not_rotated else {
            self.is_stuck.store(false, Ordering::Relaxed);
            return Ok(());
        };
        if !self.is_stuck.swap(true, Ordering::Relaxed) {
            let path = &self.path;
            say(&format!(
                "telemetry file {path:?} can't be rotated, and grows past its limit: {error}"
            ));
        }
        Ok(())
    }

    /// Why the file was not rotated, if it should have been.
    fn append_locked(&self, line: &[u8]) -> io::Result<Option<io::Error>> {
        let mut open_file = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let file = match open_file.take() {
                Some(file) => file,
                None => open(&self.path)?,
            };
            let not_rotated = match self.attempt(&file, line)? {
                Attempt::Moved => continue,
                Attempt::Written => None,
                Attempt::WrittenPastLimit(error) => Some(error),
            };
            *open_file = Some(file);
            return Ok(not_rotated);
        }
        Err(io::Error::other("other writers replace it all the time"))
    }

    fn attempt(&self, handle: &Handle, line: &[u8]) -> io::Result<Attempt> {
        let mut file = handle.as_file();
        let _locked = Locked::new(file)?;
        if !is_at(&self.path, handle)? {
            return Ok(Attempt::Moved);
        }
        let metadata = file.metadata()?;
        // A pipe or a device is never full: what some systems tell is what lies in it.
        let length = if metadata.is_file() {
            metadata.len()
        } else {
            0
        };
        // A process that died in the middle of a line may have left it.
        let lead: &[u8] = if ends_a_line(file, length)? {
            b""
        } else {
            b"\n"
        };
        let mut becomes = Attempt::Written;
        if length > 0 && length + (lead.len() + line.len()) as u64 > self.max_bytes {
            match self.rotate() {
                Ok(()) => return Ok(Attempt::Moved),
                // A file that is too long is better than a line that is lost.
                Err(error) => becomes = Attempt::WrittenPastLimit(error),
            }
        }
        let written = file.write_all(lead).and_then(|()| file.write_all(line));
        if written.is_err() {
            // A full disk takes half a line: not to be kept. Where that fails the next line
            // starts on one of its own.
            let _ = file.set_len(length);
        }
        written.map(|()| becomes)
    }

    /// Makes the path free. Whoever does it holds the lock of the file there.
    fn rotate(&self) -> io::Result<()> {
        // The file, not a link to it.
        let path = fs::canonicalize(&self.path)?;
        for last in self.max_files..usize::MAX {
            // Left by a run that kept more.
            if fs::remove_file(numbered(&path, last + 1)).is_err() {
                break;
            }
        }
        if self.max_files == 0 {
            return fs::remove_file(path);
        }
        let mut last = 1;
        while last < self.max_files && fs::exists(numbered(&path, last))? {
            last += 1;
        }
        for number in (1..last).rev() {
            fs::rename(numbered(&path, number), numbered(&path, number + 1))?;
        }
        fs::rename(&path, numbered(&path, 1))
    }
}

fn open(path: &Path) -> io::Result<Handle> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    Handle::from_file(options.open(path)?)
}

fn is_at(path: &Path, file: &Handle) -> io::Result<bool> {
    match Handle::from_path(path) {
        Ok(there) => Ok(there == *file),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn ends_a_line(mut file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut byte)?;
    Ok(byte == *b"\n")
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Keeps other writers out, those in other processes too.
struct Locked<'a>(&'a File);

impl<'a> Locked<'a> {
    fn new(file: &'a File) -> io::Result<Self> {
        match file.lock() {
            Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
            _ => Ok(Self(file)),
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file would do it as well.
        let _ = self.0.unlock();
    }
}
