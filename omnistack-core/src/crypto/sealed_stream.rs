//! Streams of any length, sealed in chunks.
//!
//! A sealed stream is a line with a key of its own, which a [`KeyRing`] has sealed, followed by chunks of AES-256-GCM. The
//! nonce of a chunk is its number and whether it is the last one (the STREAM construction of Hoang, Reyhanitabar, Rogaway
//! and Vizár), so chunks can't be changed, reordered, left out at the end or taken from another stream.

use std::io::{self, Read, Write};

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::Aead as _};
use secrecy::{ExposeSecret as _, SecretSlice};

use super::{Error, KeyRing, SealContext, random};

/// The beginning of a sealed stream. The sealed key and a line feed follow.
const STREAM_MAGIC: &[u8] = b"omnistack-sealed-stream 1 ";
/// The bytes of each chunk but the last, before they are sealed.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNK_TAG_BYTES: usize = 16;
const MAX_SEALED_KEY_BYTES: usize = 512;

/// The cipher of a stream, and the number of its next chunk.
struct ChunkCipher {
    cipher: Aes256Gcm,
    number: u64,
}

impl ChunkCipher {
    fn new(key: &[u8]) -> Result<Self, Error> {
        let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| Error::Malformed)?;
        Ok(Self { cipher, number: 0 })
    }

    fn next_nonce(&mut self, is_last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.number += 1;
        nonce
    }
}

/// A writer that seals what is written. [`finish`](Self::finish) seals the last chunk; without it, the stream is not
/// complete and can't be opened.
pub(crate) struct SealingWriter<W> {
    inner: W,
    chunks: ChunkCipher,
    buffer: Vec<u8>,
}

impl<W: Write> SealingWriter<W> {
    /// Begins a stream with a new key.
    ///
    /// # Errors
    /// The errors of the writer.
    pub(crate) fn new(mut inner: W, keys: &KeyRing, place: &SealContext) -> io::Result<Self> {
        let key = SecretSlice::from(random::<32>().to_vec());
        let sealed = keys.seal(key.expose_secret(), place).map_err(io::Error::other)?;
        inner.write_all(STREAM_MAGIC)?;
        inner.write_all(sealed.as_bytes())?;
        inner.write_all(b"\n")?;
        let chunks = ChunkCipher::new(key.expose_secret()).map_err(io::Error::other)?;
        Ok(Self { inner, chunks, buffer: Vec::with_capacity(2 * CHUNK_BYTES) })
    }

    fn seal(&mut self, bytes: usize, is_last: bool) -> io::Result<()> {
        let nonce = self.chunks.next_nonce(is_last);
        let sealed = self.chunks.cipher.encrypt(&nonce.into(), &self.buffer[..bytes]);
        self.inner.write_all(&sealed.map_err(|_| io::Error::other("a chunk can't be sealed"))?)?;
        self.buffer.drain(..bytes);
        Ok(())
    }

    /// Seals the last chunk, and returns the inner writer.
    ///
    /// # Errors
    /// The errors of the writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.seal(self.buffer.len(), true)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for SealingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = &bytes[..bytes.len().min(CHUNK_BYTES)];
        self.buffer.extend_from_slice(taken);
        // A full chunk stays in the buffer until more follows: it may be the last one.
        while self.buffer.len() > CHUNK_BYTES {
            self.seal(CHUNK_BYTES, false)?;
        }
        Ok(taken.len())
    }

    /// Flushes complete chunks only.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The beginning of a stream that may be sealed.
pub(crate) enum StreamStart {
    /// The sealed key of a sealed stream.
    Sealed(String),
    /// The first bytes of a stream that is not sealed.
    Plain(Vec<u8>),
}

impl StreamStart {
    /// Reads the beginning of a stream.
    ///
    /// # Errors
    /// The errors of the reader; [`io::ErrorKind::InvalidData`] if a sealed stream has no key.
    pub(crate) fn read(reader: &mut impl Read) -> io::Result<Self> {
        let mut first = vec![0; STREAM_MAGIC.len()];
        let count = read_full(reader, &mut first)?;
        first.truncate(count);
        if first != STREAM_MAGIC {
            return Ok(Self::Plain(first));
        }
        let mut key = Vec::new();
        let mut byte = [0];
        while key.len() < MAX_SEALED_KEY_BYTES && read_full(reader, &mut byte)? == 1 {
            match byte[0] {
                b'\n' => return String::from_utf8(key).map(Self::Sealed).map_err(|_| invalid("its key is not text")),
                byte => key.push(byte),
            }
        }
        Err(invalid("its key is cut off"))
    }
}

/// A reader of a sealed stream. It fails with [`io::ErrorKind::InvalidData`] if the stream was changed or cut off.
pub(crate) struct OpeningReader<R> {
    inner: R,
    chunks: ChunkCipher,
    /// The next sealed chunk. It is the last one if none follows.
    next: Vec<u8>,
    open: Vec<u8>,
    position: usize,
    is_finished: bool,
}

impl<R: Read> OpeningReader<R> {
    /// Opens a stream whose [start](StreamStart) was read.
    ///
    /// # Errors
    /// The errors of [`KeyRing::open`].
    pub(crate) fn new(inner: R, sealed_key: &str, keys: &KeyRing, place: &SealContext) -> Result<Self, Error> {
        let key = keys.open(sealed_key, place)?;
        let chunks = ChunkCipher::new(key.expose_secret())?;
        Ok(Self { inner, chunks, next: Vec::new(), open: Vec::new(), position: 0, is_finished: false })
    }

    fn open_next(&mut self) -> io::Result<()> {
        if self.chunks.number == 0 {
            self.next = read_chunk(&mut self.inner)?;
        }
        let following = read_chunk(&mut self.inner)?;
        self.is_finished = following.is_empty();
        let sealed = std::mem::replace(&mut self.next, following);
        let nonce = self.chunks.next_nonce(self.is_finished);
        let open = self.chunks.cipher.decrypt(&nonce.into(), sealed.as_slice());
        self.open = open.map_err(|_| invalid("a sealed part was changed or cut off"))?;
        self.position = 0;
        Ok(())
    }
}

impl<R: Read> Read for OpeningReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.open.len() && !self.is_finished {
            self.open_next()?;
        }
        let left = &self.open[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}

fn read_chunk(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK_BYTES + CHUNK_TAG_BYTES];
    let count = read_full(reader, &mut chunk)?;
    chunk.truncate(count);
    Ok(chunk)
}

/// Reads until the buffer is full or the reader ends, and returns the number of bytes.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match reader.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> KeyRing {
        KeyRing::new_key("2030").parse().unwrap()
    }

    fn place() -> SealContext {
        SealContext::row("test", "stream", 1)
    }

    fn seal(keys: &KeyRing, content: &[u8]) -> Vec<u8> {
        let mut writer = SealingWriter::new(Vec::new(), keys, &place()).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn open(keys: &KeyRing, mut sealed: &[u8]) -> io::Result<Vec<u8>> {
        let StreamStart::Sealed(key) = StreamStart::read(&mut sealed)? else { return Err(invalid("not sealed")) };
        let mut content = Vec::new();
        OpeningReader::new(sealed, &key, keys, &place()).map_err(io::Error::other)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn streams_of_all_lengths_are_opened() {
        let keys = keys();
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7] {
            let content: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            assert_eq!(open(&keys, &seal(&keys, &content)).unwrap(), content, "{length}");
        }
    }

    #[test]
    fn changed_and_cut_streams_are_refused() {
        let keys = keys();
        let sealed = seal(&keys, &vec![7; 3 * CHUNK_BYTES]);
        for cut in [sealed.len() - 1, sealed.len() - CHUNK_BYTES - CHUNK_TAG_BYTES, 200, 30, 10] {
            assert!(open(&keys, &sealed[..cut]).is_err(), "{cut}");
        }
        for index in [0, 40, 300, sealed.len() / 2, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(open(&keys, &changed).is_err(), "{index}");
        }
        assert!(open(&self::keys(), &sealed).is_err());
    }

    #[test]
    fn other_streams_are_returned_as_they_are() {
        let StreamStart::Plain(first) = StreamStart::read(&mut b"plain".as_slice()).unwrap() else { panic!() };
        assert_eq!(first, b"plain");
    }
}
