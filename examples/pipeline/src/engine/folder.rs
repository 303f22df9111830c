//! Reads the text files of a folder.

use std::path::Path;

use walkdir::WalkDir;

use super::corpus::CorpusError;

/// Larger files are skipped, in bytes: data, not documentation.
const LARGEST_FILE: u64 = 4 << 20;

/// A file's path below the folder, with forward slashes, and its text.
type Document = (String, String);

/// The text files below `folder` whose path there is wanted, and how many were skipped.
pub(super) fn read(
    folder: &Path,
    is_wanted_path: impl Fn(&Path) -> bool,
) -> Result<(Vec<Document>, usize), CorpusError> {
    let path = || folder.to_owned();
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(CorpusError::NotAFolder(path())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CorpusError::Missing(path()));
        }
        Err(source) => {
            return Err(CorpusError::Unreadable {
                path: path(),
                source,
            });
        }
    }
    std::fs::read_dir(folder).map_err(|source| CorpusError::Unreadable {
        path: path(),
        source,
    })?;

    let mut documents = Vec::new();
    let mut skipped = 0;
    for entry in WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || is_wanted(entry))
    {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
                if !is_wanted_path(name) {
                    continue;
                }
                let name: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
                match read_text(entry.path()) {
                    Some(text) => documents.push((name.join("/"), text)),
                    None => skipped += 1,
                }
            }
            Ok(_) => {}
            Err(_) => skipped += 1,
        }
    }
    if documents.is_empty() {
        return Err(CorpusError::NoTextFiles {
            path: path(),
            skipped,
        });
    }
    Ok((documents, skipped))
}

fn is_wanted(entry: &walkdir::DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_text = || {
        let ending = ending(entry.path());
        matches!(ending.as_deref(), Some("md" | "markdown" | "txt" | "rst"))
    };
    !name.starts_with('.')
        && if entry.file_type().is_dir() {
            name != "target"
        } else {
            is_text()
        }
}

pub(super) fn ending(path: &Path) -> Option<String> {
    path.extension()
        .map(|ending| ending.to_string_lossy().to_lowercase())
}

fn read_text(path: &Path) -> Option<String> {
    if std::fs::metadata(path).ok()?.len() > LARGEST_FILE {
        return None;
    }
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::corpus::Corpus;

    #[test]
    fn loads_text_files_and_counts_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("b.md", "\u{feff}# Title\n\nA sentence.".as_bytes());
        write("sub/a.TXT", b"Another one.");
        write("latin.txt", b"caf\xe9");
        write("binary.md", b"a\0b");
        write("code.rs", b"fn main() {}");
        write(".hidden/x.md", b"Not this.");
        write("target/doc.md", b"Nor this.");
        let corpus = Corpus::load(folder.path()).unwrap();
        let found: Vec<_> = corpus
            .passages()
            .iter()
            .map(|p| (p.path.as_str(), p.heading()))
            .collect();
        assert_eq!(
            found,
            [("b.md", "Title".to_owned()), ("sub/a.TXT", String::new())]
        );
        assert_eq!((corpus.files(), corpus.skipped()), (2, 2));
    }

    #[test]
    fn a_hidden_folder_named_by_the_user_is_read() {
        let folder = tempfile::Builder::new().prefix(".docs").tempdir().unwrap();
        fs::write(folder.path().join("a.md"), "Text.").unwrap();
        assert_eq!(Corpus::load(folder.path()).unwrap().files(), 1);
    }

    #[test]
    fn files_can_be_chosen_by_their_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("a.md"), "Text.").unwrap();
        fs::write(folder.path().join("sub/b.md"), "More.").unwrap();
        let corpus = Corpus::load_where(folder.path(), |path| path.starts_with("sub")).unwrap();
        assert_eq!(corpus.passages()[0].path, "sub/b.md");
        assert_eq!((corpus.files(), corpus.skipped()), (1, 0));
    }

    #[test]
    fn errors_say_what_was_wrong_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| Corpus::load(path).unwrap_err().to_string();
        let missing = message(&folder.path().join("nowhere"));
        assert!(
            missing.contains("nowhere does not exist: name a folder"),
            "{missing}"
        );
        let impossible = message(&folder.path().join("a\0b"));
        assert!(impossible.contains("cannot be read"), "{impossible}");
        assert!(message(folder.path()).contains("no text file"));

        let file = folder.path().join("blank.txt");
        fs::write(&file, "\n ... \n").unwrap();
        assert!(message(&file).contains("is not a folder"));
        assert!(message(folder.path()).contains("1 text files, all without a sentence"));

        fs::write(&file, b"\xff\xfe").unwrap();
        let skipped = message(folder.path());
        assert!(
            skipped.contains("1 files skipped") && skipped.contains("UTF-8"),
            "{skipped}"
        );
    }
}
