//! UTF-8 from what PowerShell writes: with a byte order mark, or UTF-16.

use std::io::{self, Read};

/// What is read at once where it must be looked at before it is handed on.
const BLOCK: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Bytes are handed on as they are.
    Utf8,
    /// Two bytes each, the lower one first.
    Utf16,
}

/// A source without its byte order mark, in UTF-8.
#[derive(Debug)]
pub(super) struct Decoder<R> {
    source: R,
    /// Not known before something was read.
    encoding: Option<Encoding>,
    read: u64,
    /// What was read or decoded ahead, and how much of it was handed on.
    ahead: Vec<u8>,
    used: usize,
    /// The first byte of a pair of which the second has not been read.
    half: Option<u8>,
    /// The first unit of a surrogate pair of which the second has not been read.
    high: Option<u16>,
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(source: R) -> Self {
        Decoder { source, encoding: None, read: 0, ahead: Vec::new(), used: 0, half: None, high: None }
    }

    /// How many bytes of the source have been read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// What comes next, up to `length` bytes of it: fewer only where the source ends.
    pub(super) fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.ahead.len() - self.used < length && self.read_ahead()? {}
        let ahead = &self.ahead[self.used..];
        Ok(&ahead[..ahead.len().min(length)])
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(buffer) {
                Ok(length) => {
                    self.read += u64::try_from(length).unwrap_or(u64::MAX);
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads and decodes a block; `false` where the source has ended.
    fn read_ahead(&mut self) -> io::Result<bool> {
        self.ahead.drain(..self.used);
        self.used = 0;
        let before = self.ahead.len();
        let mut block = [0; BLOCK];
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None => {
                let (encoding, begin) = self.begin()?;
                self.encoding = Some(encoding);
                self.decode(encoding, &begin);
                if self.ahead.len() > before {
                    return Ok(true);
                }
                encoding
            }
        };
        let length = self.read_source(&mut block)?;
        self.decode(encoding, &block[..length]);
        if length == 0 && (self.half.take().is_some() || self.high.take().is_some()) {
            self.push(char::REPLACEMENT_CHARACTER);
        }
        Ok(length > 0 || self.ahead.len() > before)
    }

    /// The first bytes of the source without the mark, and what the mark says. One read need not give all of it.
    fn begin(&mut self) -> io::Result<(Encoding, Vec<u8>)> {
        let mut begin = [0; 3];
        let mut length = 0;
        while length < begin.len() {
            match self.read_source(&mut begin[length..])? {
                0 => break,
                more => length += more,
            }
        }
        Ok(match &begin[..length] {
            [0xff, 0xfe, rest @ ..] => (Encoding::Utf16, rest.to_vec()),
            [0xef, 0xbb, 0xbf] => (Encoding::Utf8, Vec::new()),
            begin => (Encoding::Utf8, begin.to_vec()),
        })
    }

    fn decode(&mut self, encoding: Encoding, bytes: &[u8]) {
        match encoding {
            Encoding::Utf8 => self.ahead.extend_from_slice(bytes),
            Encoding::Utf16 => {
                for byte in bytes {
                    match self.half.take() {
                        None => self.half = Some(*byte),
                        Some(low) => self.unit(u16::from_le_bytes([low, *byte])),
                    }
                }
            }
        }
    }

    /// Takes one unit of UTF-16. One that has lost its other half becomes the replacement character.
    fn unit(&mut self, unit: u16) {
        if let Some(high) = self.high.take() {
            if let Some(Ok(c)) = char::decode_utf16([high, unit]).next() {
                return self.push(c);
            }
            self.push(char::REPLACEMENT_CHARACTER);
        }
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            _ => self.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn push(&mut self, c: char) {
        self.ahead.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.ahead.len() {
            if self.encoding == Some(Encoding::Utf8) {
                return self.read_source(buffer);
            }
            // A block can be all of a character's first half.
            if !self.read_ahead()? {
                return Ok(0);
            }
        }
        let ahead = &self.ahead[self.used..];
        let length = ahead.len().min(buffer.len());
        buffer[..length].copy_from_slice(&ahead[..length]);
        self.used += length;
        Ok(length)
    }
}
