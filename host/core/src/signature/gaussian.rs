//! A multivariate normal distribution by its Cholesky factor.

/// A symmetric, positive definite matrix, row by row.
#[derive(Debug, Clone)]
pub(super) struct Covariance {
    pub(super) size: usize,
    pub(super) entries: Vec<f64>,
}

impl Covariance {
    /// With this diagonal and nothing beside it.
    pub(super) fn diagonal(diagonal: &[f64]) -> Self {
        let size = diagonal.len();
        let mut entries = vec![0.0; size * size];
        for (i, value) in diagonal.iter().enumerate() {
            entries[i * size + i] = *value;
        }
        Self { size, entries }
    }

    /// Adds `weight · v vᵀ`.
    pub(super) fn add_square(&mut self, v: &[f64], weight: f64) {
        for (i, a) in v.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            let row = &mut self.entries[i * self.size..(i + 1) * self.size];
            for (entry, b) in row.iter_mut().zip(v) {
                *entry += weight * a * b;
            }
        }
    }

    /// `self · a + other · b`.
    pub(super) fn mixed(&self, a: f64, other: &Self, b: f64) -> Self {
        Self {
            size: self.size,
            entries: self
                .entries
                .iter()
                .zip(&other.entries)
                .map(|(x, y)| x * a + y * b)
                .collect(),
        }
    }

    /// Keeps `keep` of what stands beside the diagonal, and adds `more` to the diagonal.
    pub(super) fn shrunk(mut self, keep: f64, more: f64) -> Self {
        for i in 0..self.size {
            for j in 0..self.size {
                let entry = &mut self.entries[i * self.size + j];
                *entry = if i == j { *entry + more } else { *entry * keep };
            }
        }
        self
    }
}

/// A normal distribution that points can be compared with.
#[derive(Debug, Clone)]
pub(super) struct Gaussian {
    mean: Vec<f64>,
    /// Lower triangle, row by row.
    factor: Vec<f64>,
    log_determinant: f64,
}

impl Gaussian {
    /// None when the covariance is not positive definite.
    pub(super) fn new(mean: Vec<f64>, covariance: &Covariance) -> Option<Self> {
        let n = covariance.size;
        let mut factor = covariance.entries.clone();
        let mut log_determinant = 0.0;
        for i in 0..n {
            for j in 0..=i {
                let (row_i, row_j) = (&factor[i * n..i * n + j], &factor[j * n..j * n + j]);
                let dot: f64 = row_i.iter().zip(row_j).map(|(a, b)| a * b).sum();
                let rest = factor[i * n + j] - dot;
                if i == j {
                    if rest <= 0.0 || !rest.is_finite() {
                        return None;
                    }
                    log_determinant += rest.ln();
                    factor[i * n + i] = rest.sqrt();
                } else {
                    factor[i * n + j] = rest / factor[j * n + j];
                }
            }
        }
        Some(Self {
            mean,
            factor,
            log_determinant,
        })
    }

    /// The squared Mahalanobis distance of a point from the mean.
    pub(super) fn distance(&self, point: &[f64]) -> f64 {
        let n = self.mean.len();
        let mut solved: Vec<f64> = Vec::with_capacity(n);
        for (i, (value, mean)) in point.iter().zip(&self.mean).enumerate() {
            let row = &self.factor[i * n..i * n + i];
            let dot: f64 = row.iter().zip(&solved).map(|(a, b)| a * b).sum();
            solved.push((value - mean - dot) / self.factor[i * n + i]);
        }
        solved.iter().map(|z| z * z).sum()
    }

    /// The logarithm of the density at a point with this distance, up to a constant.
    pub(super) fn log_density(&self, distance: f64) -> f64 {
        -0.5 * (self.log_determinant + distance)
    }
}
