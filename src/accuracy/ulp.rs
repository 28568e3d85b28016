//! Units in the last place.

/// How many floats lie between two f32, counted along the number line; −0 and +0 are one. NaN is at distance 0 from
/// NaN and as far as can be from everything else.
#[must_use]
pub fn ulp_distance(a: f32, b: f32) -> u32 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => return 0,
        (true, false) | (false, true) => return u32::MAX,
        (false, false) => {}
    }
    let line = |x: f32| {
        let magnitude = i64::from(x.to_bits() & 0x7fff_ffff);
        if x.is_sign_negative() { -magnitude } else { magnitude }
    };
    (line(a) - line(b)).unsigned_abs() as u32
}

/// The distance from `x` to the next f32 away from zero, for the binade that `x` is in.
#[must_use]
pub fn f32_ulp(x: f64) -> f64 {
    ulp(x, 24, -126)
}

/// The same for IEEE 754 binary16.
#[must_use]
pub fn f16_ulp(x: f64) -> f64 {
    ulp(x, 11, -14)
}

/// The same for bfloat16.
#[must_use]
pub fn bf16_ulp(x: f64) -> f64 {
    ulp(x, 8, -126)
}

fn ulp(x: f64, digits: i32, least_exponent: i32) -> f64 {
    let exponent = if x == 0.0 || !x.is_finite() { least_exponent } else { exponent_of(x).max(least_exponent) };
    2f64.powi(exponent - digits + 1)
}

fn exponent_of(x: f64) -> i32 {
    // f64 numbers that matter here are normal: f32's subnormals are.
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_apart() {
        for x in [1.0f32, -1.0, 0.0, f32::MIN_POSITIVE, 3.0e38, -1e-45] {
            assert_eq!(ulp_distance(x, x.next_up()), 1);
            assert_eq!(ulp_distance(x, x), 0);
        }
        assert_eq!(ulp_distance(-0.0, 0.0), 0);
        assert_eq!(ulp_distance(f32::NAN, f32::NAN), 0);
        assert_eq!(ulp_distance(f32::NAN, 1.0), u32::MAX);
        assert_eq!(ulp_distance(f32::MAX, f32::INFINITY), 1);
    }

    #[test]
    fn ulps_are_the_types_own() {
        assert_eq!(f32_ulp(1.0), f64::from(f32::EPSILON));
        assert_eq!(f32_ulp(0.99), f64::from(f32::EPSILON) / 2.0);
        assert_eq!(f32_ulp(1e-44), 2f64.powi(-149));
        assert_eq!(f16_ulp(1.0), f64::from(half::f16::EPSILON));
        assert_eq!(f16_ulp(1e-7), 2f64.powi(-24));
        assert_eq!(bf16_ulp(1.0), f64::from(half::bf16::EPSILON));
    }
}
