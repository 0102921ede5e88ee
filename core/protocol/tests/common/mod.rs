//! Values for tests, the same on every machine.

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

#[allow(dead_code, reason = "each test uses what it needs")]
impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.bits() % below
    }

    /// From 0 to below 1, in steps of 2^-24: exact in f32.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// Nearly normal: four sums of uniforms.
    pub(crate) fn normal(&mut self) -> f32 {
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * 1.732
    }

    /// With tails as heavy as gradients have: Student's t of about four degrees of freedom.
    pub(crate) fn heavy(&mut self) -> f32 {
        let squares: f32 = (0..4).map(|_| self.normal()).map(|x| x * x).sum();
        self.normal() / (squares / 4.0 + 1e-3).sqrt()
    }

    /// A value as training makes them, or one at the edge of f32. At most 1e30, so that no sum leaves
    /// f32: NaN is the one value whose bits differ between machines, and the format refuses it.
    pub(crate) fn value(&mut self) -> f32 {
        match self.below(16) {
            0 => f32::from_bits(self.bits() as u32 & 0x807f_ffff),
            1 => (self.unit() - 0.5) * 1e30,
            2 => (self.unit() - 0.5) * 1e-30,
            3 => [0.0, -0.0, f32::MIN_POSITIVE, 1e30, -1e30][self.below(5) as usize],
            _ => (self.unit() - 0.5) * 0.1,
        }
    }

    pub(crate) fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}
