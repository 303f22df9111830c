//! The text files that are searched, loaded and cut into passages.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::folder::{self, ending};
use super::passage::{Passage, PassageId};
use super::{cutter, markdown, plain};

/// The passages of a folder of text files. Read only once loaded.
#[derive(Debug)]
pub struct Corpus {
    passages: Vec<Passage>,
    /// In how many passages a term occurs.
    frequencies: HashMap<String, usize>,
    files: usize,
    skipped: usize,
}

/// Why a corpus could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// There is nothing at that path.
    #[error("the corpus folder {} does not exist: name a folder that holds .md, .txt or .rst files", .0.display())]
    Missing(PathBuf),
    /// There is something else at that path.
    #[error("the corpus {} is not a folder: name the folder that holds the text files", .0.display())]
    NotAFolder(PathBuf),
    /// The operating system refused.
    #[error("the corpus folder {} cannot be read ({source}): check its name and its permissions", .path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The folder holds no text file.
    #[error("no text file in the corpus folder {} ({skipped} files skipped as unreadable, binary or over 4 MiB): it needs at least one .md, .txt or .rst file in UTF-8", .path.display())]
    NoTextFiles {
        /// The folder.
        path: PathBuf,
        /// Files that have the right ending but are not usable text.
        skipped: usize,
    },
    /// There are text files, but none says anything.
    #[error(
        "nothing to search in the corpus ({files} text files, all without a sentence): add files with some text in them"
    )]
    NoPassages {
        /// How many files were read.
        files: usize,
    },
}

impl Corpus {
    /// Loads all `.md`, `.markdown`, `.txt` and `.rst` files below `folder`.
    ///
    /// Hidden files and folders and folders named `target` are passed over, symbolic links
    /// are not followed. What is not text, cannot be read or is over 4 MiB is skipped and
    /// counted.
    ///
    /// # Errors
    /// When there is no such folder, it cannot be read, or there is no text in it.
    pub fn load(folder: &Path) -> Result<Self, CorpusError> {
        Self::load_where(folder, |_| true)
    }

    /// Like [`load`](Self::load), but only the files whose path below `folder` is wanted.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_where(
        folder: &Path,
        is_wanted_path: impl Fn(&Path) -> bool,
    ) -> Result<Self, CorpusError> {
        let (documents, skipped) = folder::read(folder, is_wanted_path)?;
        let mut corpus = Self::from_documents(&documents)?;
        corpus.skipped = skipped;
        Ok(corpus)
    }

    /// A corpus of `(path, text)` pairs; the path's ending says how the text is read.
    ///
    /// # Errors
    /// [`CorpusError::NoPassages`] when there is no word in them.
    pub fn from_documents<P, T>(documents: &[(P, T)]) -> Result<Self, CorpusError>
    where
        P: AsRef<str>,
        T: AsRef<str>,
    {
        let mut all = Vec::new();
        for (path, text) in documents {
            let (path, text) = (path.as_ref(), text.as_ref());
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let blocks = match ending(Path::new(path)).as_deref() {
                Some("md" | "markdown") => markdown::blocks(text),
                _ => plain::blocks(text),
            };
            all.extend(cutter::passages(path, blocks));
        }
        if all.is_empty() {
            return Err(CorpusError::NoPassages {
                files: documents.len(),
            });
        }
        let mut frequencies = HashMap::new();
        for (index, passage) in all.iter_mut().enumerate() {
            passage.id = PassageId::of_index(index);
            let terms: HashSet<_> = passage.heading_terms.iter().chain(&passage.terms).collect();
            for term in terms {
                *frequencies.entry(term.clone()).or_default() += 1;
            }
        }
        Ok(Self {
            passages: all,
            frequencies,
            files: documents.len(),
            skipped: 0,
        })
    }

    /// All passages, in the order of their ids.
    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }

    /// The passage with that id; `None` for an id from another corpus.
    pub fn passage(&self, id: PassageId) -> Option<&Passage> {
        self.passages.get(id.index())
    }

    /// How many files were read.
    pub fn files(&self) -> usize {
        self.files
    }

    /// How many files were skipped: not text, too large, or not readable.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// In how many passages `term` occurs, headings included.
    pub(super) fn frequency(&self, term: &str) -> usize {
        self.frequencies.get(term).copied().unwrap_or(0)
    }

    /// How much a term tells passages apart (inverse document frequency), above 0.
    pub(super) fn weight(&self, term: &str) -> f32 {
        let without = (self.passages.len() - self.frequency(term)) as f32;
        let with = self.frequency(term) as f32;
        ((without + 0.5) / (with + 0.5)).ln_1p()
    }

    /// The share (0 to 1, by weight) of `wanted` for which `is_found` holds.
    pub(super) fn coverage(&self, wanted: &[String], is_found: impl Fn(&str) -> bool) -> f32 {
        let (mut found, mut all) = (0.0, 0.0);
        for term in wanted {
            let weight = self.weight(term);
            all += weight;
            if is_found(term) {
                found += weight;
            }
        }
        if all > 0.0 { found / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_terms_weigh_more() {
        let documents = [("a.txt", "kafka consumer"), ("b.txt", "kafka producer")];
        let corpus = Corpus::from_documents(&documents).unwrap();
        assert!(corpus.weight("consum") > corpus.weight("kafka"));
        assert!(corpus.weight("unseen") > corpus.weight("consum"));
        let wanted = ["kafka".to_owned(), "consum".to_owned()];
        assert!(corpus.coverage(&wanted, |term| term == "consum") > 0.5);
        assert_eq!(corpus.coverage(&wanted, |_| true), 1.0);
        assert_eq!(corpus.coverage(&[], |_| true), 0.0);
    }
}
