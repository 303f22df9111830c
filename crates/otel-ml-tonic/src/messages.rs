//! Counting the messages in a body, as its pieces pass by.

use std::io::IoSlice;

use bytes::Buf;

/// Before each message: a flag for compression, and its length in four bytes.
const PREFIX: usize = 5;

/// The messages that a body was seen to hold. Its pieces begin and end where they like: what is
/// kept is how much of the current message is still to come, and never any of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Messages {
    count: u64,
    /// Bytes of the current message still to come.
    left: usize,
    prefix: [u8; PREFIX],
    filled: usize,
}

impl Messages {
    /// How many were whole so far.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Takes in a piece of the body, without consuming it.
    pub(crate) fn add<D: Buf>(&mut self, data: &D) {
        let chunk = data.chunk();
        if chunk.len() == data.remaining() {
            self.add_slice(chunk);
            return;
        }
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = data.chunks_vectored(&mut slices);
        for slice in slices.iter().take(filled) {
            self.add_slice(slice);
        }
    }

    fn add_slice(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.filled < PREFIX {
                let wanted = PREFIX - self.filled;
                let (now, rest) = piece.split_at(wanted.min(piece.len()));
                if let Some(room) = self.prefix.get_mut(self.filled..self.filled + now.len()) {
                    room.copy_from_slice(now);
                }
                self.filled += now.len();
                piece = rest;
                if self.filled < PREFIX {
                    return;
                }
                let [_, a, b, c, d] = self.prefix;
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            }
            let now = self.left.min(piece.len());
            piece = piece.split_at(now).1;
            self.left -= now;
            if self.left == 0 {
                self.count += 1;
                self.filled = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn framed(sizes: &[usize]) -> Vec<u8> {
        let mut all = Vec::new();
        for &size in sizes {
            all.push(0);
            all.extend(u32::try_from(size).unwrap().to_be_bytes());
            all.extend(std::iter::repeat_n(7, size));
        }
        all
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let sizes = [0, 1, 300, 0, 5, 70_000];
        let all = framed(&sizes);
        for cut in [1, 2, 4, 5, 6, 7, 299, 4096, all.len()] {
            let mut messages = Messages::default();
            for piece in all.chunks(cut) {
                messages.add(&Bytes::copy_from_slice(piece));
            }
            assert_eq!(messages.count(), 6, "in pieces of {cut}");
        }
    }

    #[test]
    fn a_message_counts_once_it_is_whole() {
        let all = framed(&[10, 10]);
        let mut messages = Messages::default();
        messages.add(&&all[..14]);
        assert_eq!(messages.count(), 0);
        messages.add(&&all[14..16]);
        assert_eq!(messages.count(), 1);
    }

    #[test]
    fn a_piece_of_several_parts_is_counted_where_it_tells_them() {
        let all = framed(&[3, 4]);
        let (first, last) = all.split_at(9);
        let mut messages = Messages::default();
        messages.add(&first.chain(last));
        assert_eq!(messages.count(), 2);
    }

    #[test]
    fn a_length_beyond_all_measure_is_waited_for() {
        let mut messages = Messages::default();
        messages.add(&&[0, 255, 255, 255, 255, 1, 2, 3][..]);
        assert_eq!(messages.count(), 0);
    }
}
