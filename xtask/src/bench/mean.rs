//! Means over seeds, and how sure they are.
//!
//! Enters: a figure of each seed. Leaves: their mean with its interval. Refuses none at all.

/// A mean over seeds and the half width of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    pub(crate) mean: f64,
    /// `None` of one value.
    pub(crate) half: Option<f64>,
}

impl Mean {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        /// Student's t at 97.5 % for 1, 2, … degrees of freedom; the last holds beyond.
        const T: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
        let n = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = (values.len() > 1).then(|| T[(values.len() - 2).min(T.len() - 1)] * (variance / n).sqrt());
        Some(Self { mean, half })
    }

    pub(crate) fn shown(self, digits: usize) -> String {
        match self.half {
            Some(half) => format!("{:+.digits$} ± {half:.digits$}", self.mean),
            None => format!("{:+.digits$}", self.mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let mean = Mean::of(&[1.0, 2.0, 3.0]).unwrap();
        assert!((mean.half.unwrap() - 4.303 / 3f64.sqrt()).abs() < 1e-6);
        assert_eq!(Mean::of(&[1.0]).unwrap().half, None);
        assert_eq!(Mean::of(&[]), None);
    }
}
