//! Cuts a watch's body into lines as it streams in. Pure.

use bytes::Bytes;

/// A splitter that copies a line only when it spans chunks.
#[derive(Debug)]
pub(super) struct Lines {
    chunk: Bytes,
    /// The present line's bytes from earlier chunks.
    carried: Vec<u8>,
    oversized: bool,
    line_bytes_max: usize,
}

/// One line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes.
    Whole(Bytes),
    /// Larger than allowed, and passed over.
    Oversized,
}

impl Lines {
    /// Lines larger than `line_bytes_max` are passed over.
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self { chunk: Bytes::new(), carried: Vec::new(), oversized: false, line_bytes_max }
    }

    /// Takes in the next bytes. Take all lines out with [`Lines::next`] first.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "lines are left");
        self.chunk = chunk;
    }

    /// The next complete line.
    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') else {
                self.carry();
                return None;
            };
            let tail = self.chunk.split_to(end + 1).slice(..end);
            let line = self.complete(tail);
            if line != Line::Whole(Bytes::new()) {
                return Some(line);
            }
        }
    }

    fn complete(&mut self, tail: Bytes) -> Line {
        let carried = std::mem::take(&mut self.carried);
        if std::mem::take(&mut self.oversized) || carried.len() + tail.len() > self.line_bytes_max {
            Line::Oversized
        } else if carried.is_empty() {
            Line::Whole(tail)
        } else {
            let mut line = carried;
            line.extend_from_slice(&tail);
            Line::Whole(line.into())
        }
    }

    fn carry(&mut self) {
        let part = std::mem::take(&mut self.chunk);
        if self.oversized || self.carried.len() + part.len() > self.line_bytes_max {
            self.oversized = true;
            self.carried = Vec::new();
        } else {
            self.carried.extend_from_slice(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, chunk: usize, line_bytes_max: usize) -> Vec<String> {
        let mut lines = Lines::new(line_bytes_max);
        let mut found = Vec::new();
        for part in text.as_bytes().chunks(chunk) {
            lines.push(Bytes::copy_from_slice(part));
            while let Some(line) = lines.next() {
                found.push(match line {
                    Line::Whole(bytes) => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
                    Line::Oversized => "oversized".into(),
                });
            }
        }
        found
    }

    #[test]
    fn lines_are_whole_wherever_the_chunks_end() {
        let text = "{\"a\":1}\n\n{\"b\":2}\nxxxxxxxxxxxxxxxxxxxxxxxxx\n{\"c\":3}\nnever ended";
        for chunk in 1..=text.len() {
            assert_eq!(split(text, chunk, 20), ["{\"a\":1}", "{\"b\":2}", "oversized", "{\"c\":3}"], "by {chunk}");
        }
    }
}
