//! What every contender has to provide, and the type-erased loops around it.
use crate::alloc;
use crate::frames::{Item, Ver};
use bytes::BytesMut;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

#[derive(Default, Debug, Clone, PartialEq)]
pub struct View {
    pub publish: Option<(String, usize, u8)>,
}
impl View {
    pub fn publish(topic: impl Into<String>, len: usize, qos: u8) -> View {
        View { publish: Some((topic.into(), len, qos)) }
    }
}

pub trait Codec: Sized + 'static {
    const NAME: &'static str;
    const VER: Ver;
    /// what a decode is given, and what an encode writes to
    const NOTE: &'static str;
    /// true: input must first be copied (or read by the socket) into the peer's own buffer type
    const FILLS: bool = false;
    const CHUNKED: bool = true;
    type Pkt<'a>;
    type Enc: 'static;
    type Out: 'static;
    fn new() -> Self;
    /// Decode one whole frame (including the fill for FILLS peers). Err("incomplete") = peer asks for more.
    fn dec<'a>(&mut self, frame: &'a [u8]) -> Result<Self::Pkt<'a>, String>;
    /// What is timed: a decode whose result the compiler must not know, and the drop of it.
    #[inline(always)]
    fn time_dec(&mut self, frame: &[u8]) {
        let p = self.dec(black_box(frame));
        black_box(&p);
    }
    fn view(p: &Self::Pkt<'_>) -> View;
    fn fill(&mut self, _data: &[u8]) {}
    /// Decode all frames of `data` (FILLS peers: of the own buffer filled before).
    fn drain(&mut self, data: &[u8]) -> usize;
    fn chunked(&mut self, buf: &[u8], chunk: usize) -> usize;
    fn enc_value(&mut self, frame: &'static [u8]) -> Option<Self::Enc>;
    fn out() -> Self::Out;
    /// Encode into `out` (cleared first), return the number of bytes.
    fn enc(&mut self, v: &Self::Enc, out: &mut Self::Out) -> usize;
    fn out_bytes(v: &Self::Enc, out: &mut Self::Out) -> Vec<u8>;
}

/// Type-erased contender.
pub trait Contender {
    fn name(&self) -> &'static str;
    fn ver(&self) -> Ver;
    fn note(&self) -> &'static str;
    fn fills(&self) -> bool;
    fn can_chunk(&self) -> bool;
    fn check(&mut self, it: &Item) -> Result<View, String>;
    fn check_enc(&mut self, it: &Item) -> Result<bool, String>;
    fn run_dec(&mut self, f: &[u8], iters: usize) -> f64;
    /// decode `n` prefilled frames; only the decode is timed. n frames per batch
    fn run_prefilled(&mut self, batch: &[u8], n: usize, batches: usize) -> f64;
    fn run_enc(&mut self, f: &'static [u8], iters: usize) -> Option<f64>;
    fn run_stream(&mut self, buf: &[u8], n: usize) -> f64;
    fn run_stream_prefilled(&mut self, buf: &[u8], n: usize) -> f64;
    fn run_chunked(&mut self, buf: &[u8], n: usize) -> f64;
    fn allocs_dec(&mut self, f: &'static [u8]) -> (f64, f64);
    fn allocs_enc(&mut self, f: &'static [u8]) -> Option<(f64, f64)>;
    /// 'A' accepted, 'R' rejected, 'I' asked for more bytes, 'P' panicked
    fn judge(&mut self, f: &[u8]) -> (char, String);
    fn try_dec(&mut self, f: &[u8]) -> bool;
    fn pkt_size(&self) -> usize;
}

pub struct Wrap<C: Codec>(C);
impl<C: Codec> Wrap<C> {
    pub fn boxed() -> Box<dyn Contender> {
        Box::new(Wrap(C::new()))
    }
}

impl<C: Codec> Contender for Wrap<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }
    fn ver(&self) -> Ver {
        C::VER
    }
    fn note(&self) -> &'static str {
        C::NOTE
    }
    fn fills(&self) -> bool {
        C::FILLS
    }
    fn can_chunk(&self) -> bool {
        C::CHUNKED
    }
    fn check(&mut self, it: &Item) -> Result<View, String> {
        self.0 = C::new();
        let r = catch_unwind(AssertUnwindSafe(|| {
            let p = self.0.dec(it.frame)?;
            Ok(C::view(&p))
        }));
        match r {
            Ok(r) => r,
            Err(_) => {
                self.0 = C::new();
                Err("panic".into())
            }
        }
    }
    fn check_enc(&mut self, it: &Item) -> Result<bool, String> {
        let r = catch_unwind(AssertUnwindSafe(|| {
            let v = self.0.enc_value(it.frame).ok_or("no encode value")?;
            let mut out = C::out();
            let n = self.0.enc(&v, &mut out);
            let n2 = self.0.enc(&v, &mut out);
            let b = C::out_bytes(&v, &mut out);
            if n != n2 || n != b.len() {
                return Err(format!("encode len {n} {n2} {}", b.len()));
            }
            if b.len() != it.frame.len() {
                return Err(format!("encoded {} bytes, frame {}", b.len(), it.frame.len()));
            }
            Ok(b == it.frame)
        }));
        match r {
            Ok(r) => r,
            Err(_) => Err("panic".into()),
        }
    }
    #[inline(never)]
    fn run_dec(&mut self, f: &[u8], iters: usize) -> f64 {
        let t = Instant::now();
        for _ in 0..iters {
            self.0.time_dec(f);
        }
        t.elapsed().as_nanos() as f64 / iters as f64
    }
    #[inline(never)]
    fn run_prefilled(&mut self, batch: &[u8], n: usize, batches: usize) -> f64 {
        let mut tot = 0u128;
        for _ in 0..batches {
            self.0.fill(batch);
            let t = Instant::now();
            let k = self.0.drain(black_box(batch));
            tot += t.elapsed().as_nanos();
            assert_eq!(black_box(k), n);
        }
        tot as f64 / (n * batches) as f64
    }
    #[inline(never)]
    fn run_enc(&mut self, f: &'static [u8], iters: usize) -> Option<f64> {
        let v = self.0.enc_value(f)?;
        let mut out = C::out();
        let t = Instant::now();
        for _ in 0..iters {
            let n = self.0.enc(black_box(&v), &mut out);
            black_box(n);
            black_box(&out);
        }
        Some(t.elapsed().as_nanos() as f64 / iters as f64)
    }
    #[inline(never)]
    fn run_stream(&mut self, buf: &[u8], n: usize) -> f64 {
        let t = Instant::now();
        self.0.fill(black_box(buf));
        let k = self.0.drain(black_box(buf));
        let e = t.elapsed().as_nanos() as f64;
        assert_eq!(k, n, "{}", C::NAME);
        e / n as f64
    }
    #[inline(never)]
    fn run_stream_prefilled(&mut self, buf: &[u8], n: usize) -> f64 {
        self.0.fill(black_box(buf));
        let t = Instant::now();
        let k = self.0.drain(black_box(buf));
        let e = t.elapsed().as_nanos() as f64;
        assert_eq!(k, n, "{}", C::NAME);
        e / n as f64
    }
    #[inline(never)]
    fn run_chunked(&mut self, buf: &[u8], n: usize) -> f64 {
        let t = Instant::now();
        let k = self.0.chunked(black_box(buf), 1460);
        let e = t.elapsed().as_nanos() as f64;
        assert_eq!(k, n, "{}", C::NAME);
        e / n as f64
    }
    fn allocs_dec(&mut self, f: &'static [u8]) -> (f64, f64) {
        for _ in 0..4 {
            drop(self.0.dec(f));
        }
        alloc::per(64, || drop(black_box(self.0.dec(black_box(f)))))
    }
    fn allocs_enc(&mut self, f: &'static [u8]) -> Option<(f64, f64)> {
        let v = self.0.enc_value(f)?;
        let mut out = C::out();
        for _ in 0..4 {
            self.0.enc(&v, &mut out);
        }
        Some(alloc::per(64, || {
            black_box(self.0.enc(black_box(&v), &mut out));
        }))
    }
    fn pkt_size(&self) -> usize {
        std::mem::size_of::<C::Pkt<'static>>()
    }
    fn try_dec(&mut self, f: &[u8]) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.0.dec(f).is_ok())).unwrap_or(false)
    }
    fn judge(&mut self, f: &[u8]) -> (char, String) {
        self.0 = C::new();
        let r = catch_unwind(AssertUnwindSafe(|| match self.0.dec(f) {
            Ok(_) => ('A', String::new()),
            Err(e) if e == "incomplete" => ('I', e),
            Err(e) => ('R', e),
        }));
        self.0 = C::new();
        r.unwrap_or(('P', "panic".into()))
    }
}

/// Peers that read frames off a `bytes::BytesMut` need only this.
pub trait BmCodec: Sized + 'static {
    const NAME: &'static str;
    const VER: Ver;
    const NOTE: &'static str;
    type Pkt: 'static;
    fn new() -> Self;
    fn read(&mut self, b: &mut BytesMut) -> Result<Option<Self::Pkt>, String>;
    fn view(p: &Self::Pkt) -> View;
    fn write(&mut self, p: &Self::Pkt, b: &mut BytesMut);
}
pub struct Bm<T: BmCodec> {
    t: T,
    buf: BytesMut,
}
impl<T: BmCodec> Codec for Bm<T> {
    const NAME: &'static str = T::NAME;
    const VER: Ver = T::VER;
    const NOTE: &'static str = T::NOTE;
    const FILLS: bool = true;
    type Pkt<'a> = T::Pkt;
    type Enc = T::Pkt;
    type Out = BytesMut;
    fn new() -> Self {
        Bm { t: T::new(), buf: BytesMut::with_capacity(64 * 1024) }
    }
    #[inline]
    fn dec<'a>(&mut self, frame: &'a [u8]) -> Result<T::Pkt, String> {
        self.buf.extend_from_slice(frame);
        match self.t.read(&mut self.buf) {
            Ok(Some(p)) => Ok(p),
            Ok(None) => Err("incomplete".into()),
            Err(e) => Err(e),
        }
    }
    fn view(p: &T::Pkt) -> View {
        T::view(p)
    }
    fn fill(&mut self, data: &[u8]) {
        self.buf.extend_from_slice(data);
    }
    #[inline]
    fn drain(&mut self, _data: &[u8]) -> usize {
        let mut n = 0;
        while let Some(p) = self.t.read(&mut self.buf).unwrap() {
            black_box(&p);
            n += 1;
        }
        n
    }
    fn chunked(&mut self, buf: &[u8], chunk: usize) -> usize {
        let mut n = 0;
        for c in buf.chunks(chunk) {
            self.fill(c);
            n += self.drain(c);
        }
        n
    }
    fn enc_value(&mut self, frame: &'static [u8]) -> Option<T::Pkt> {
        // own storage, so that by-value clones and shared handles never alias the read buffer
        let mut b = BytesMut::from(frame);
        self.t.read(&mut b).ok().flatten()
    }
    fn out() -> BytesMut {
        BytesMut::with_capacity(128 * 1024)
    }
    #[inline]
    fn enc(&mut self, v: &T::Pkt, out: &mut BytesMut) -> usize {
        out.clear();
        self.t.write(v, out);
        out.len()
    }
    fn out_bytes(_: &T::Pkt, out: &mut BytesMut) -> Vec<u8> {
        out.to_vec()
    }
}
#[cold]
#[inline(never)]
pub fn es<E: std::fmt::Debug>(e: E) -> String {
    format!("{e:?}")
}
